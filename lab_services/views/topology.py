"""Who needs whom and who calls whom, as a Mermaid flowchart and as text with the same arrows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..runtime.states import STOPPED, ServiceState
from .mermaid_text import accessible, diagram_bundle, label
from .plain_text import counted, visible
from .state_words import UNKNOWN, look_of, origin_words, state_words

_WEATHER = "weather"
_ABSENT = "not in this system"
SIDECAR = "sidecar"


@dataclass(frozen=True)
class Arrow:
    """One service depends on another: it needs it to start, or calls it when it is there."""

    source: str
    target: str
    needed: bool
    weather: bool

    def __str__(self) -> str:
        verb = "needs" if self.needed else "calls"
        weather = ", through the weather" if self.weather else ""
        return f"{visible(self.source)} {verb} {visible(self.target)}{weather}"


@dataclass(frozen=True, repr=False)
class TopologyView:
    """The running system: solid arrows for needs, dotted for calls, a shape and words for each state.

    A sidecar stands in the box of its service; who tells it what to do is in the text.
    """

    states: tuple[ServiceState, ...]
    title: str = "Topology"

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._lines()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if not self.states:
            return {"text/plain": repr(self)}
        return diagram_bundle(self.mermaid(), repr(self))

    def mermaid(self) -> str:
        """Return the source of the diagram."""
        ids = {name: f"s{at}" for at, name in enumerate(self._names())}
        nodes = [f"    {_node(ids[state.name], state, self._sidecar_of(state))}" for state in self._shown()]
        absent = [f"    {_bracketed(ids[name], UNKNOWN.brackets, [name, _ABSENT])}" for name in self._absent()]
        arrows = [f"    {_drawn(arrow, ids)}" for arrow in self.arrows()]
        dashed = [
            f"    style {ids[state.name]} stroke-dasharray:5" for state in self._shown() if state.state == STOPPED
        ]
        words = accessible(self._headline(), self._lines())
        return "\n".join(["flowchart LR", *words, *nodes, *absent, *arrows, *dashed])

    def arrows(self) -> tuple[Arrow, ...]:
        """Return each arrow once, in the order of the services; those from and to sidecars are left out."""
        inside = {state.name for state in self.states} - {state.name for state in self._shown()}
        return tuple(arrow for state in self._shown() for arrow in _arrows_of(state) if arrow.target not in inside)

    def _headline(self) -> str:
        services, arrows = counted(len(self._shown()), "service"), counted(len(self.arrows()), "arrow")
        return f"{visible(self.title)}: {services}, {arrows}"

    def _lines(self) -> list[str]:
        services = [f"  {visible(state.name)}: {self._words(state)}" for state in self._shown()]
        absent = [f"  {visible(name)}: {_ABSENT}" for name in self._absent()]
        return [*services, *absent, *(f"  {arrow}" for arrow in self.arrows())]

    def _words(self, state: ServiceState) -> str:
        words = f"{state_words(state)}, {origin_words(state)}"
        beside = self._sidecar_of(state)
        if beside is None:
            return words
        return f"{words}; {_sidecar_words(beside)}, told by {', '.join(visible(name) for name in beside.needs)}"

    def _sidecar_of(self, state: ServiceState) -> ServiceState | None:
        return next((one for one in self.states if one.kind == SIDECAR and one.name in state.needs), None)

    def _shown(self) -> list[ServiceState]:
        """Return the services that have a box of their own."""
        beside = {one.name for state in self.states if (one := self._sidecar_of(state))}
        return [state for state in self.states if state.name not in beside]

    def _absent(self) -> list[str]:
        """Find services that are named, but not there: skipped, or in another shape of the system."""
        there = {state.name for state in self._shown()}
        return list(dict.fromkeys(arrow.target for arrow in self.arrows() if arrow.target not in there))

    def _names(self) -> list[str]:
        return [*(state.name for state in self._shown()), *self._absent()]


def _arrows_of(state: ServiceState) -> Iterator[Arrow]:
    for name in state.needs:
        yield Arrow(state.name, name, needed=True, weather=name in state.edges)
    for name in dict.fromkeys((*state.calls, *state.edges)):
        if name not in state.needs:
            yield Arrow(state.name, name, needed=False, weather=name in state.edges)


def _sidecar_words(state: ServiceState) -> str:
    return f"sidecar {state_words(state)}"


def _node(node: str, state: ServiceState, sidecar: ServiceState | None) -> str:
    beside = [_sidecar_words(sidecar)] if sidecar else []
    return _bracketed(node, look_of(state.state).brackets, [state.name, state_words(state), *beside])


def _bracketed(node: str, brackets: tuple[str, str], lines: list[str]) -> str:
    text = "<br/>".join(label(line) for line in lines)
    return f'{node}{brackets[0]}"{text}"{brackets[1]}'


def _drawn(arrow: Arrow, ids: dict[str, str]) -> str:
    line = "-->" if arrow.needed else "-.->"
    words = f'|"{_WEATHER}"|' if arrow.weather else ""
    return f"{ids[arrow.source]} {line}{words} {ids[arrow.target]}"
