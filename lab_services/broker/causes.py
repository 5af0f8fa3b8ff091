"""Who causes whom: the messages of a start, counted and drawn from what was recorded, and the circles among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab_services.broker.started import Recorded, Said, read_said
from lab_services.views.mermaid_text import accessible, diagram_bundle, label
from lab_services.views.plain_text import counted, visible


@dataclass(frozen=True, repr=False)
class Causes:
    """Which kinds of messages cause which, how often; Jupyter draws it, and print() says the same."""

    said: tuple[Said, ...]
    title: str = "Who causes whom"

    @property
    def messages(self) -> dict[str, int]:
        """Count the messages of each ride."""
        return dict(Counter(each.ride_id for each in self.said))

    @property
    def arrows(self) -> dict[tuple[str, str], int]:
        """Count how often one kind of message has caused another, in the order in which it first happened."""
        kinds = {each.id: each.kind for each in self.said}
        return dict(Counter((kinds[each.cause], each.kind) for each in self.said if each.cause in kinds))

    @property
    def circles(self) -> list[tuple[str, ...]]:
        """Return the ways from a kind of message back to it, which may never end; each once, the shortest first."""
        after: dict[str, list[str]] = {}
        for cause, effect in self.arrows:
            after.setdefault(cause, []).append(effect)
        found = {_turned(way) for kind in after for way in _ways_back(kind, after)}
        return sorted(found, key=lambda way: (len(way), way))

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._lines()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return diagram_bundle(self.mermaid(), repr(self)) if self.arrows else {"text/plain": repr(self)}

    def mermaid(self) -> str:
        """Return the source of the diagram; arrows of a circle are thick."""
        senders = {each.kind: each.sender for each in self.said}
        ids = {kind: f"k{at}" for at, kind in enumerate(senders)}
        nodes = [f'    {ids[kind]}["{label(kind)}, by {label(sender)}"]' for kind, sender in senders.items()]
        round_ = {pair for way in self.circles for pair in zip(way, (*way[1:], way[0]), strict=True)}
        drawn = [
            f'    {ids[cause]} {"==>" if (cause, effect) in round_ else "-->"}|"{times}"| {ids[effect]}'
            for (cause, effect), times in self.arrows.items()
        ]
        return "\n".join(["flowchart LR", *accessible(self._headline(), self._lines()), *nodes, *drawn])

    def _headline(self) -> str:
        messages, rides = counted(len(self.said), "message"), counted(len(self.messages), "ride")
        return f"{visible(self.title)}: {messages} of {rides}, {counted(len(self.circles), 'circle')}"

    def _lines(self) -> list[str]:
        ways = [f"  {visible(a)} -> {visible(b)}: {counted(times, 'time')}" for (a, b), times in self.arrows.items()]
        return [*ways, *(f"  circle: {' -> '.join(map(visible, (*way, way[0])))}" for way in self.circles)]


def causes(messages: Iterable[Recorded], title: str = "Who causes whom") -> Causes:
    """Return who caused whom among recorded messages, oldest first; what is neither form is left out."""
    return Causes(read_said(messages), title)


def _ways_back(start: str, after: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """Return the ways from a kind back to it that pass no kind twice."""
    found: list[tuple[str, ...]] = []
    open_ways: list[tuple[str, ...]] = [(start,)]
    while open_ways:
        way = open_ways.pop()
        for effect in after.get(way[-1], []):
            if effect == start:
                found.append(way)
            elif effect not in way:
                open_ways.append((*way, effect))
    return found


def _turned(way: tuple[str, ...]) -> tuple[str, ...]:
    """Return a circle from its first kind by the alphabet on, so that it is the same wherever one has entered it."""
    at = way.index(min(way))
    return way[at:] + way[:at]
