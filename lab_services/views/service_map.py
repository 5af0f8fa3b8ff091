"""Which service calls which, how often and how well: a Mermaid flowchart, and text with the same arrows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..telemetry.service_edges import ServiceEdge, edges_from, edges_of
from ..telemetry.spans import Dependency, Trace
from .charts import percentile
from .compare import ComparisonTable
from .mermaid_text import accessible, diagram_bundle, label
from .plain_text import counted, visible

NOBODY = "told by nobody"
_SHOWN = 100  # arrows: more than fit on a screen


@dataclass(frozen=True, repr=False)
class ServiceMap:
    """The calls in some traces, or the dependencies that a trace store has counted: an arrow for each pair of services.

    A dashed arrow leads to where nobody has told of the call: the callee was not reached, or is not instrumented. Times
    differ from run to run: they are behind `times()`, and on the arrows only with `latencies`.
    """

    seen: Iterable[Trace | Dependency]
    title: str = "Who calls whom"
    latencies: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", tuple(self.seen))

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._lines()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if not self._services():
            return {"text/plain": repr(self)}
        return diagram_bundle(self.mermaid(), repr(self))

    def mermaid(self) -> str:
        """Return the source of the diagram."""
        names = self._services()
        ids = {name: f"s{at}" for at, name in enumerate(names)}
        nodes = [f'    {ids[name]}["{label(name)}"]' for name in names]
        if any(edge.callee is None for edge in self._shown()):
            nodes.append(f'    unseen(["{NOBODY}"])')
        arrows = [f"    {self._drawn(edge, ids)}" for edge in self._shown()]
        return "\n".join(["flowchart LR", *accessible(self._headline(), self._lines()), *nodes, *arrows])

    def edges(self) -> tuple[ServiceEdge, ...]:
        """Return each pair of services once, by their names."""
        traces = [one for one in self.seen if isinstance(one, Trace)]
        return (*edges_of(traces), *edges_from(one for one in self.seen if isinstance(one, Dependency)))

    def times(self) -> ComparisonTable:
        """Return how long the calls of each pair took, in ms: half of them, and 95 of 100, at most."""
        rows = [
            (visible(edge.caller), _callee(edge), edge.calls, edge.errors, *_milliseconds(edge))
            for edge in self.edges()
        ]
        columns = ("caller", "callee", "calls", "errors", "p50, ms", "p95, ms")
        return ComparisonTable(f"{self.title}: times", columns, rows)

    def _shown(self) -> tuple[ServiceEdge, ...]:
        return self.edges()[:_SHOWN]

    def _services(self) -> list[str]:
        alone = {span.service for one in self.seen if isinstance(one, Trace) for span in one.spans}
        return sorted(
            alone | {name for edge in self._shown() for name in (edge.caller, edge.callee) if name is not None}
        )

    def _headline(self) -> str:
        if not self._services():
            return f"{visible(self.title)}: no span has arrived"
        parts = [counted(len(self._services()), "service"), counted(len(self.edges()), "arrow")]
        parts += [f"the first {_SHOWN} shown"] if len(self.edges()) > _SHOWN else []
        return f"{visible(self.title)}: {', '.join(parts)}"

    def _lines(self) -> list[str]:
        return [f"  {visible(edge.caller)} -> {_callee(edge)}: {self._words(edge)}" for edge in self._shown()] + [
            f"  {visible(name)}: neither calls nor is called" for name in self._lonely()
        ]

    def _lonely(self) -> list[str]:
        busy = {name for edge in self.edges() for name in (edge.caller, edge.callee)}
        return [name for name in self._services() if name not in busy]

    def _words(self, edge: ServiceEdge) -> str:
        words = counted(edge.calls, "call")
        if edge.errors is not None:
            share = f" ({edge.errors / edge.calls:.1%})".replace("%", " %") if edge.errors else ""
            words += f", {counted(edge.errors, 'error')}{share}"
        half, most = _milliseconds(edge)
        if self.latencies and half is not None and most is not None:
            words += f", p50 {half:.3g} ms, p95 {most:.3g} ms"
        return words

    def _drawn(self, edge: ServiceEdge, ids: dict[str, str]) -> str:
        line, callee = ("-.->", "unseen") if edge.callee is None else ("-->", ids[edge.callee])
        return f'{ids[edge.caller]} {line}|"{label(self._words(edge), 120)}"| {callee}'


def _callee(edge: ServiceEdge) -> str:
    return NOBODY if edge.callee is None else visible(edge.callee)


def _milliseconds(edge: ServiceEdge) -> tuple[float | None, float | None]:
    if not edge.seconds:
        return None, None
    return 1000 * percentile(edge.seconds, 0.5), 1000 * percentile(edge.seconds, 0.95)
