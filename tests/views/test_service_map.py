"""Who calls whom, drawn from traces and from what a store has counted."""

from __future__ import annotations

import re
from dataclasses import replace

from lab_services.telemetry.spans import Dependency, Span, Trace
from lab_services.views import ServiceMap
from tests.views.both_forms import HOSTILE, html_cells, text_cells

ROOT = Span("gateway", "gateway-1", "POST /rides", "server", 0.0, 0.2, span_id="1")
CALL = Span("gateway", "gateway-1", "POST", "client", 0.01, 0.1, span_id="2", parent="1")
RIDES = Span("rides", "rides-1", "POST /rides", "server", 0.02, 0.05, span_id="3", parent="2")
DARK = Span("rides", "rides-1", "GET", "client", 0.03, 0.01, error=True, span_id="4", parent="3")
ALONE = Span("relay", "relay-1", "look", "internal", 0.0, 0.01, span_id="9")
GOOD = Trace("a", (ROOT, CALL, RIDES))
BAD = Trace("b", (ROOT, CALL, replace(RIDES, error=True, seconds=0.15), DARK, ALONE))
TEXT = """\
Who calls whom: 3 services, 2 arrows
  gateway -> rides: 4 calls, 1 error (25.0 %)
  rides -> told by nobody: 1 call, 1 error (100.0 %)
  relay: neither calls nor is called"""


def arrows(view: ServiceMap) -> list[str]:
    return [line.strip() for line in view.mermaid().split("\n") if re.match(r"    s\d+ -", line)]


def test_the_text_says_calls_and_errors_and_no_time() -> None:
    """Counts are put together over all traces; a call that nobody else tells of leads to nobody."""
    assert repr(ServiceMap([GOOD, GOOD, GOOD, BAD])) == TEXT


def test_the_picture_has_the_arrows_of_the_text() -> None:
    """A box for each service, a dashed arrow into the dark, and the text as its description."""
    view = ServiceMap([GOOD, GOOD, GOOD, BAD])
    assert arrows(view) == [
        's0 -->|"4 calls, 1 error (25.0 \uff05)"| s2',
        's2 -.->|"1 call, 1 error (100.0 \uff05)"| unseen',
    ]
    assert 's0["gateway"]' in view.mermaid() and 'unseen(["told by nobody"])' in view.mermaid()
    assert "accTitle: Who calls whom: 3 services, 2 arrows" in view.mermaid()
    assert "unseen" not in ServiceMap([GOOD]).mermaid()


def test_times_are_given_when_asked_for() -> None:
    """The callee's half and its slowest twentieth, in ms, as a table in both forms and on the arrows."""
    view = ServiceMap([GOOD, GOOD, GOOD, BAD], latencies=True)
    assert text_cells(view.times()) == html_cells(view.times())
    assert text_cells(view.times())[1:] == [
        ["gateway", "rides", "4", "1", "50", "150"],
        ["rides", "told by nobody", "1", "1", "10", "10"],
    ]
    assert "4 calls, 1 error (25.0 %), p50 50 ms, p95 150 ms" in repr(view) and "p95 150 ms" in arrows(view)[0]


def test_what_a_store_has_counted_is_drawn_too() -> None:
    """Of dependencies neither errors nor times are known, and neither is claimed."""
    view = ServiceMap((Dependency("rides", "wallet", 1200),), "The city", latencies=True)
    assert repr(view) == "The city: 2 services, 1 arrow\n  rides -> wallet: 1,200 calls"
    assert text_cells(view.times())[1] == ["rides", "wallet", "1,200", "-", "-", "-"]


def test_nothing_is_said_in_words() -> None:
    """Where no span has arrived there is nothing to draw."""
    assert repr(ServiceMap([])) == repr(ServiceMap([Trace("a")])) == "Who calls whom: no span has arrived"
    assert ServiceMap([])._repr_mimebundle_().keys() == {"text/plain"}


def test_hostile_names_neither_break_nor_add_to_the_picture() -> None:
    """Whatever a service calls itself, there are two boxes and one arrow."""
    for text in HOSTILE:
        one = Dependency(text, f"{text}b", 1)
        source = ServiceMap([one], text).mermaid()
        body = source.partition("\n    }\n")[2].split("\n")
        assert len(body) == 3 and re.fullmatch(r'    s\d -->\|"1 call"\| s\d', body[2])
        assert all(re.fullmatch(r'    s\d\["[^"]*"\]', line) for line in body[:2])


def test_a_map_of_very_many_services_is_cut_and_counted() -> None:
    """The headline tells of all arrows."""
    view = ServiceMap([Dependency("hub", f"s{at:04}", 1) for at in range(500)])
    assert repr(view).startswith("Who calls whom: 101 services, 500 arrows, the first 100 shown\n")
    assert len(arrows(view)) == 100
