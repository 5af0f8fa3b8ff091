"""RED panels and error budgets: words that stay the same, figures that are right, pictures that can be compared."""

from __future__ import annotations

import pytest

from lab_services.telemetry.budget import BudgetFacts, Window
from lab_services.telemetry.red import RedFacts
from lab_services.views import ErrorBudget, RedPanels
from lab_services.views.red_panels import SHARES, order
from tests.views.both_forms import soup_of, text_cells

NAN = float("nan")


def rides(failing: float = 1.0, seconds: float = 0.02) -> RedFacts:
    """Return a service with ten calls a second, some of which fail."""
    durations = tuple((q, ((100.0, NAN), (101.0, seconds * q), (102.0, seconds * q))) for q in (0.5, 0.9, 0.99))
    return RedFacts("rides", ((100.0, 8.0), (101.0, 12.0)), ((100.0, 0.0), (101.0, 2 * failing)), durations)


IDLE = RedFacts("displays", (), (), ())


def test_the_words_give_orders_and_stay_the_same_in_the_next_run() -> None:
    """A few calls more or fewer, a few milliseconds more or less: the same words."""
    view = RedPanels("The city", (rides(), IDLE))
    assert text_cells(view)[1:] == [
        ["rides", "yes", "1 to 10 %", "10 to 100 ms", "10 to 100 ms"],
        ["displays", "no", "-", "-", "-"],
    ]
    assert repr(view) == repr(RedPanels("The city", (rides(0.7, 0.05), IDLE)))
    assert repr(view) != repr(RedPanels("The city", (rides(0.0), IDLE)))


def test_the_figures_of_red_are_means_and_middles() -> None:
    """Calls a second, the share that failed, and quantiles in ms; moments without calls (NaN) do not count."""
    [row, idle] = RedPanels("The city", (rides(), IDLE)).numbers().rows
    assert row == ("rides", 10.0, pytest.approx(10.0), *map(pytest.approx, (10.0, 18.0, 19.8)))
    assert idle == ("displays", 0.0, None, None, None, None)


def test_panels_have_one_scale_for_all_services_and_a_twin() -> None:
    """Nine panels for three services; the twin names what is drawn and holds no figure, the alternative text does."""
    slow = RedFacts("map", ((100.0, 100.0),), (), ((0.99, ((100.0, 2.0),)),))
    chart = RedPanels("The city", (rides(), slow, IDLE)).picture()
    axes = chart.figure.axes
    assert len(axes) == 9 and len({one.get_ylim() for one in axes[0::3]}) == 1
    assert axes[0].get_ylim()[0] == 0 and axes[0].get_ylim()[1] >= 100
    assert repr(chart).endswith("a row for each of rides, map, displays") and "10 % failed" in chart.alt
    assert soup_of(chart).find("img")["src"].startswith("data:image/png")
    with pytest.raises(ValueError, match="at least one service"):
        RedPanels("nothing", ()).picture()


def test_a_budget_says_what_is_spent_and_how_fast_it_burns() -> None:
    """Of 99 % good, one bad event in ten burns ten times as fast as allowed, and one in 200 half as fast."""
    facts = BudgetFacts(0.99, (Window("5s", 10, 1), Window("1m", 0, 0), Window("1h", 200, 1)))
    assert facts.good_share == 0.995 and facts.spent == pytest.approx(0.5)
    assert [facts.burn_rate(window) for window in facts.windows] == [pytest.approx(10), None, pytest.approx(0.5)]
    view = ErrorBudget("Rides", facts)
    assert "99 % good; budget: spent in part" in repr(view)
    assert [row[1] for row in text_cells(view)[1:]][1:] == ["no events", "slower than allowed"]
    assert "50 % of the budget spent" in repr(view.numbers())
    assert "5s 10, 1m 0, 1h 0.5" in view.picture().alt


@pytest.mark.parametrize(
    ("bad", "word"), [(0, "untouched"), (1, "spent in part"), (3, "overspent"), (200, "overspent")]
)
def test_the_words_for_a_budget(bad: float, word: str) -> None:
    """Untouched, spent in part, overspent: told apart at none and at all of it."""
    assert f"budget: {word}" in repr(ErrorBudget("Rides", BudgetFacts(0.99, (Window("1h", 200, bad),))))


@pytest.mark.parametrize("objective", [0.0, 1.0, -1.0, 99.0, NAN])
def test_an_objective_without_a_budget_is_refused(objective: float) -> None:
    """100 % leaves nothing to spend, 0 % asks for nothing, 99 was meant as 0.99."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        BudgetFacts(objective, (Window("1h", 1, 0),))
    with pytest.raises(ValueError, match="at least one window"):
        BudgetFacts(0.9, ())


def test_each_order_has_a_word() -> None:
    """The border belongs to the smaller order; more than all is the last word."""
    assert [order(value, SHARES) for value in (0.0, 0.01, 0.011, 1.0, 2.0)] == [
        "none", "under 1 %", "1 to 10 %", "over 50 %", "over 50 %",
    ]  # fmt: skip
