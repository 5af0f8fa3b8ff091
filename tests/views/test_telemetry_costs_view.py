"""The view of what watching costs: orders by default, the numbers of one run where they are asked for."""

from __future__ import annotations

import re

from lab_services.measuring import Costs, Round, WayCosts
from lab_services.views import TelemetryCostsView


def way(name: str, factor: float, megabytes: float) -> WayCosts:
    """Return a way whose calls and processor time take `factor` times as long."""
    rounds = (Round(round(1000 / factor), 1.0, 0.2, 0.0),)
    return WayCosts(name, 0, megabytes, 0.0, tuple(factor * number for number in range(1, 101)), (), rounds)


def costs(factor: float, megabytes: float) -> Costs:
    """Return the costs of two ways."""
    return Costs((way("nothing", 1.0, 20.0), way("traced", factor, megabytes)))


def test_words_are_the_same_for_runs_that_differ_a_little() -> None:
    """They hold no number that was measured."""
    views = [TelemetryCostsView(costs(*numbers)) for numbers in ((0.8, 20.0), (2.0, 25.0), (5.0, 40.0))]
    assert len({repr(view) for view in views}) == 1 == len({view._repr_html_() for view in views})
    said = re.split(r"\s{2,}", repr(views[0]).splitlines()[-1])
    assert said == ["traced", "up to 5 times", "up to 5 times", "up to 2 times"]


def test_words_say_when_a_way_costs_much() -> None:
    """Five times is the edge of latency and processor time, twice that of memory."""
    text = repr(TelemetryCostsView(costs(6.0, 41.0)))
    assert text.count("more than 5 times") == 2 and "more than 2 times" in text


def test_numbers_are_those_of_the_run() -> None:
    """Milliseconds, calls, microseconds, megabytes, and two ratios."""
    rows = TelemetryCostsView(costs(2.0, 25.0)).numbers().rows
    assert list(rows[0]) == ["nothing", 51.0, 100.0, 1000, 200, 20.0, 1.0, 1.0]
    assert list(rows[1]) == ["traced", 102.0, 200.0, 500, 400, 25.0, 2.0, 0.5]


def test_the_picture_says_in_words_what_it_shows() -> None:
    """Its twin is the same at each run; what was measured is in the alternative text."""
    one, other = (TelemetryCostsView(costs(*numbers)).picture() for numbers in ((2.0, 25.0), (3.0, 26.0)))
    assert one.png().startswith(b"\x89PNG") and repr(one) == repr(other) and one.alt != other.alt
    assert "nothing; traced" in repr(one) and "traced: p50 2.00, p99 2.00, processor time 2.00; 25 MB" in one.alt
