"""What a trace can be asked."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from lab_services.telemetry.service_edges import ServiceEdge, edges_from, edges_of
from lab_services.telemetry.spans import Dependency, Span, Trace

GATEWAY = Span("gateway", "gateway-1", "POST /rides", "server", 0.0, 1.0, span_id="1")
CALL = Span("gateway", "gateway-1", "POST", "client", 0.1, 0.8, span_id="2", parent="1")
RIDES = Span("rides", "rides-2", "POST /rides", "server", 0.2, 0.6, span_id="3", parent="2", error=True)
LOST = Span("rides", "rides-2", "GET", "client", 0.3, 0.2, span_id="4", parent="3", error=True)
TELL = Span("rides", "rides-2", "trip.ended send", "producer", 0.5, 0.1, span_id="5", parent="3")
BILL = Span("billing", "billing-1", "trip.ended process", "consumer", 2.0, 0.3, span_id="6", parent="5")
STRAY = Span("billing", "billing-1", "late", "internal", 3.0, 0.1, span_id="7", parent="99")
WHOLE = Trace("a", (GATEWAY, CALL, RIDES, LOST, TELL, BILL))


def test_a_whole_trace_has_one_root_and_no_orphan() -> None:
    """A span whose parent was never told is an orphan and no root."""
    assert WHOLE.roots() == (GATEWAY,) and WHOLE.orphans() == ()
    broken = Trace("a", (*WHOLE.spans, STRAY))
    assert broken.roots() == (GATEWAY,) and broken.orphans() == (STRAY,)
    assert Trace("a").roots() == Trace("a").orphans() == ()


def test_edges_are_the_calls_between_processes() -> None:
    """Each call once, with the kind of the span on the other side; a call that nobody else has told of is none."""
    assert WHOLE.edges() == [("gateway", "server", "rides"), ("rides", "consumer", "billing")]
    again = replace(RIDES, span_id="8")
    assert Trace("a", (*WHOLE.spans, again)).edges().count(("gateway", "server", "rides")) == 2
    replica = replace(GATEWAY, instance="gateway-2", span_id="9", parent="2")
    assert ("gateway", "server", "gateway") in Trace("a", (*WHOLE.spans, replica)).edges()


def test_spans_are_found_by_their_service_and_by_each_other() -> None:
    """Services in the order in which they come in, and the way up and down."""
    assert WHOLE.services() == ("gateway", "rides", "billing")
    assert WHOLE.spans_of("rides") == (RIDES, LOST, TELL) and WHOLE.spans_of("nobody") == ()
    assert WHOLE.parent_of(BILL) == TELL and WHOLE.parent_of(GATEWAY) is None
    assert WHOLE.children_of(RIDES) == (LOST, TELL)


def test_a_walk_passes_every_span_once_behind_its_parent() -> None:
    """Depths tell the nesting; orphans, spans with one id, and circles are passed too, and it ends."""
    walked = [(step.span, step.depth) for step in WHOLE.walk()]
    assert walked == [(GATEWAY, 0), (CALL, 1), (RIDES, 2), (LOST, 3), (TELL, 3), (BILL, 4)]
    one, two = replace(GATEWAY, span_id="x", parent="y"), replace(CALL, span_id="y", parent="x")
    own = replace(RIDES, span_id="z", parent="z")
    twin = replace(CALL, service="other")
    spans = (GATEWAY, CALL, twin, STRAY, one, two, own)
    steps = list(Trace("a", spans).walk())
    assert sorted(map(id, (step.span for step in steps))) == sorted(map(id, spans))
    assert [step.depth for step in steps] == [0, 1, 1, 0, 0, 1, 0]


def test_a_trace_of_5000_spans_in_each_other_is_walked() -> None:
    """Depth costs no recursion."""
    spans = [replace(CALL, span_id=str(at), parent=str(at - 1) if at else "") for at in range(5000)]
    assert [step.depth for step in Trace("a", tuple(reversed(spans))).walk()] == list(range(5000))


def test_the_calls_of_many_traces_are_put_together() -> None:
    """Calls, errors and times by caller and callee; calls into the dark have no callee, and come last."""
    assert edges_of([WHOLE, WHOLE]) == (
        ServiceEdge("gateway", "rides", 2, 2, (0.6, 0.6)),
        ServiceEdge("rides", "billing", 2, 0, (0.3, 0.3)),
        ServiceEdge("rides", None, 2, 2, (0.2, 0.2)),
    )
    counted = [Dependency("b", "c", 1), Dependency("a", "b", 3)]
    assert edges_from(counted) == (ServiceEdge("a", "b", 3), ServiceEdge("b", "c", 1))


def test_facts_are_frozen_and_can_be_kept_in_a_set() -> None:
    """What was read does not change, and a trace is the same fact as its copy."""
    with pytest.raises(FrozenInstanceError):
        GATEWAY.name = "x"  # type: ignore[misc]
    assert len({WHOLE, replace(WHOLE)}) == 1
