"""Who calls whom, how often and how well: the calls of many traces, put together by caller and callee."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .spans import Dependency, Span, Trace

_OUTGOING = ("client", "producer")


@dataclass(frozen=True)
class ServiceEdge:
    """All calls from one service to another; `seconds` are how long each took the callee, in ascending order.

    Without a `callee` nobody has told of the other side: it was not reached, or is not instrumented. Then `seconds`
    are those of the caller. `errors` is None, and `seconds` are empty, when only the number of calls is known.
    """

    caller: str
    callee: str | None
    calls: int
    errors: int | None = None
    seconds: tuple[float, ...] = ()


def edges_of(traces: Iterable[Trace]) -> tuple[ServiceEdge, ...]:
    """Return the edges of these traces, by the names of caller and callee; the unseen callee comes last."""
    found: dict[tuple[str, str | None], list[Span]] = {}
    for trace in traces:
        for caller, callee, span in _calls(trace):
            found.setdefault((caller, callee), []).append(span)
    return tuple(
        ServiceEdge(
            caller, callee, len(spans), sum(each.error for each in spans), tuple(sorted(each.seconds for each in spans))
        )
        for (caller, callee), spans in sorted(found.items(), key=_in_order)
    )


def edges_from(dependencies: Iterable[Dependency]) -> tuple[ServiceEdge, ...]:
    """Return the edges of what a store has counted: neither errors nor times are known of them."""
    return tuple(
        ServiceEdge(one.parent, one.child, one.calls) for one in sorted(dependencies, key=lambda d: (d.parent, d.child))
    )


def _calls(trace: Trace) -> Iterator[tuple[str, str | None, Span]]:
    for span in trace.spans:
        above = trace.parent_of(span)
        if above and above.process != span.process:
            yield above.service, span.service, span
        if span.kind in _OUTGOING and not trace.children_of(span):
            yield span.service, None, span


def _in_order(item: tuple[tuple[str, str | None], list[Span]]) -> tuple[str, bool, str]:
    caller, callee = item[0]
    return caller, callee is None, callee or ""
