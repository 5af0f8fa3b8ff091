"""What a trace store knows, as plain frozen facts: read by `reading`, drawn by the views, asked by checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple


class Link(NamedTuple):
    """Another span that a span has to do with, though it is not its child."""

    trace_id: str
    span_id: str


@dataclass(frozen=True)
class Event:
    """A moment in a span, such as an exception; `at` in seconds since 1970."""

    name: str
    at: float
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Span:
    """One piece of work of one process.

    `kind` is "server", "client", "producer", "consumer", "internal", or empty when nobody has said. `start` is in
    seconds since 1970, to the microsecond; `seconds` is how long it took. `parent` is the id of the span that
    caused it in the same trace, empty for a root. `attributes` hold its own tags, `resource` those of the process.
    """

    service: str
    instance: str
    name: str
    kind: str
    start: float
    seconds: float
    error: bool = False
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)
    events: tuple[Event, ...] = ()
    resource: Mapping[str, object] = field(default_factory=dict, hash=False)
    trace_id: str = ""
    span_id: str = ""
    parent: str = ""
    links: tuple[Link, ...] = ()

    @property
    def process(self) -> tuple[str, str]:
        """Return the service and its instance."""
        return self.service, self.instance


class Step(NamedTuple):
    """A span in its place in a trace: how deep it is nested, and under which span (None for a root or an orphan)."""

    span: Span
    depth: int
    under: Span | None


@dataclass(frozen=True)
class Trace:
    """All spans of one trace that have arrived until now, in the order in which they began; maybe none."""

    trace_id: str
    spans: tuple[Span, ...] = ()

    def roots(self) -> tuple[Span, ...]:
        """Return the spans without a parent: a whole trace has exactly one."""
        return tuple(span for span in self.spans if not span.parent)

    def orphans(self) -> tuple[Span, ...]:
        """Return the spans whose parent is not there: it was never told, or not yet."""
        return tuple(span for span in self.spans if span.parent and span.parent not in self._by_id)

    def edges(self) -> list[tuple[str, str, str]]:
        """Return (service of the parent, kind of the child, service of the child), sorted, one for each call.

        A call is a span whose parent belongs to another process: another service, or another instance of the same.
        """
        pairs = ((span, self.parent_of(span)) for span in self.spans)
        calls = ((above, span) for span, above in pairs if above and above.process != span.process)
        return sorted((above.service, span.kind, span.service) for above, span in calls)

    def spans_of(self, service: str) -> tuple[Span, ...]:
        """Return the spans that a service has told."""
        return tuple(span for span in self.spans if span.service == service)

    def services(self) -> tuple[str, ...]:
        """Return the services in the order in which they come into the trace."""
        return tuple(dict.fromkeys(span.service for span in self.spans))

    def parent_of(self, span: Span) -> Span | None:
        """Return the span that caused this one, or None for a root and for an orphan."""
        return self._by_id.get(span.parent)

    def children_of(self, span: Span) -> tuple[Span, ...]:
        """Return what a span has caused, in the order in which it began."""
        return self._by_parent.get(span.span_id, ())

    def walk(self) -> Iterator[Step]:
        """Yield every span once, each behind its parent; roots and orphans stand at depth 0.

        Spans that are each other's parents come at the end, as if the first of them were an orphan.
        """
        seen: set[int] = set()
        tops = [span for span in self.spans if self.parent_of(span) is None]
        for top in (*tops, *self.spans):
            waiting = [Step(top, 0, None)]  # a list in place of recursion: a trace may be nested 5,000 deep
            while waiting:
                step = waiting.pop()
                if id(step.span) not in seen:
                    seen.add(id(step.span))
                    yield step
                    below = reversed(self.children_of(step.span))
                    waiting += [Step(span, step.depth + 1, step.span) for span in below]

    @cached_property
    def _by_id(self) -> dict[str, Span]:
        """Of two spans with one id, as of two processes that are mistaken, the first counts as the parent."""
        return {span.span_id: span for span in reversed(self.spans) if span.span_id}

    @cached_property
    def _by_parent(self) -> dict[str, tuple[Span, ...]]:
        found: dict[str, list[Span]] = {}
        for span in self.spans:
            if span.parent:
                found.setdefault(span.parent, []).append(span)
        return {parent: tuple(spans) for parent, spans in found.items()}


@dataclass(frozen=True)
class Dependency:
    """How often one service was called by another, in all traces that are kept."""

    parent: str
    child: str
    calls: int


@dataclass(frozen=True)
class LogRecord:
    """One log record; `at` in seconds since 1970, `trace_id` and `span_id` empty when it belongs to no span."""

    service: str
    instance: str
    severity: str
    body: str
    at: float
    trace_id: str = ""
    span_id: str = ""
    attributes: Mapping[str, object] = field(default_factory=dict, hash=False)
