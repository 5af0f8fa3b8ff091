"""The view of what sidecars cost: ratios to the first way, the middle of the rounds, published figures with source."""

from __future__ import annotations

from lab_services.measuring import Costs, Round, WayCosts
from lab_services.views import MeshCostsView
from tests.views.both_forms import soup_of, unsafe_characters


def way(name: str, sidecars: int, rates: list[int], factor: float) -> WayCosts:
    """Return a way whose calls take `factor` times 1 to 100 ms; a round takes a second."""
    times = tuple(factor * number for number in range(1, 101))
    rounds = tuple(Round(rate, 1.0, rate * 200e-6, rate * sidecars * 150e-6) for rate in rates)
    return WayCosts(name, sidecars, 30.0, 16.0 * sidecars, times, (10.0 + factor,), rounds)


COSTS = Costs((way("none", 0, [1000, 100, 2000], 1.0), way("both", 2, [500, 60, 400], 3.0)))


def test_the_plain_form_is_the_table_of_ratios() -> None:
    """A learner without pictures reads the same ratios."""
    lines = repr(MeshCostsView(COSTS)).splitlines()
    assert "times as much as without a sidecar" in lines[0]
    assert lines[-1].split() == ["both", "3", "3", "1.18", "0.5", "2.5"]


def test_each_published_figure_has_its_source_and_date() -> None:
    """One sidecar here stands beside one sidecar there: 150 microseconds of 200, 16 MB of 60."""
    rows = {str(row[0]): row[1:] for row in MeshCostsView(COSTS).published().rows}
    work, memory, added = rows.values()
    assert (round(float(str(work[0]))), work[1]) == (150, 200.0) and memory[:2] == (16.0, 60.0)
    assert added[:2] == (3 * 91 - 91, 2.65)
    assert all("Istio" in str(row[2]) and "20" in str(row[2]) and "istio.io" in str(row[2]) for row in rows.values())


def test_the_picture_says_in_words_what_it_shows() -> None:
    """Its twin is the same at each run and names the source; what was measured is in the alternative text."""
    picture = MeshCostsView(COSTS).picture()
    assert picture.png().startswith(b"\x89PNG")
    assert "none, both" in repr(picture) and "Istio 1.24, November 2024" in repr(picture)
    other = MeshCostsView(Costs((COSTS.ways[0], way("both", 2, [5, 6, 7], 9.0)))).picture()
    assert repr(other) == repr(picture) and other.alt != picture.alt
    assert "both: p50 3.00" in picture.alt and "application 200 and sidecars 300 microseconds; 32 MB" in picture.alt


def test_a_strange_name_is_shown_and_does_nothing() -> None:
    """A name that is markup, or endless, is text in the picture's twin, made visible and cut."""
    name = "<b>$x$\u202e" + "x" * 10_000
    picture = MeshCostsView(Costs((COSTS.ways[0], way(name, 1, [5, 6, 7], 2.0)))).picture()
    assert not soup_of(picture).find_all("b") and not unsafe_characters(picture.html())
    assert "more characters" in repr(picture) and "x" * 600 not in repr(picture)
