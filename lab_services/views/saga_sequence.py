"""The commands and replies of one saga as a sequence, with the first wrong one marked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .html_table import ANY_LENGTH
from .mermaid_text import accessible, diagram_bundle, label
from .plain_text import counted, visible

ARROWS = 60  # more than fit on a screen; the rest is counted
BEFORE = 50  # of these at most stand before the wrong one
NOTE_COLUMNS = 22  # of a note, for each gap between two people: Mermaid neither breaks a line nor widens the note
WRONG, MISSING = "WRONG", "MISSING"
_GROUND = "rgba(165, 29, 45, 0.22)"  # lets the theme's own ground through: text on it is read in both


class SagaMessage(NamedTuple):
    """One message; one that is `missing` should have come here and never did."""

    sender: str
    receiver: str
    words: str
    is_reply: bool = False
    missing: bool = False

    def __str__(self) -> str:
        never = " (never said)" if self.missing else ""
        return f"{visible(self.sender)} -> {visible(self.receiver)}: {visible(self.words)}{never}"


@dataclass(frozen=True, repr=False)
class SagaSequence:
    """Who commanded and who replied, in order; arrow number `wrong` (from 1, 0 for none) is marked with its reason.

    `people` stand from left to right in this order, the others behind them; who says and hears nothing is left out.
    """

    title: str
    arrows: Iterable[SagaMessage]
    wrong: int = 0
    reason: str = ""
    people: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrows", tuple(SagaMessage(*arrow) for arrow in self.arrows))

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._lines()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if not self._shown():
            return {"text/plain": repr(self)}
        return diagram_bundle(self.mermaid(), repr(self))

    def mermaid(self) -> str:
        """Return the source of the diagram."""
        shown = self._shown()
        there = dict.fromkeys(name for _, arrow in shown for name in (arrow.sender, arrow.receiver))
        order = [*(name for name in self.people if name in there), *(name for name in there if name not in self.people)]
        ids = {name: f"p{at}" for at, name in enumerate(order)}
        people = [f"    participant {ids[name]} as {label(name)}" for name in order]
        drawn = [f"    {line}" for number, arrow in shown for line in self._drawn(number, arrow, ids)]
        head = ["sequenceDiagram", *accessible(self._headline(), self._lines()), f"    autonumber {shown[0][0]}"]
        return "\n".join([*head, *people, *drawn])

    def _drawn(self, number: int, arrow: SagaMessage, ids: dict[str, str]) -> list[str]:
        line = "--x" if arrow.missing else "-->>" if arrow.is_reply else "->>"
        pair = ids[arrow.sender], ids[arrow.receiver]
        words = label(arrow.words) + (" (never said)" if arrow.missing else "")
        if number != self.wrong:
            return [f"{pair[0]}{line}{pair[1]}: {words}"]
        columns = NOTE_COLUMNS * max(1, len(ids) - 1)
        note = "<br/>".join(label(part, ANY_LENGTH) for part in textwrap.wrap(visible(self.reason), columns) or [""])
        over = ",".join(dict.fromkeys((next(iter(ids.values())), list(ids.values())[-1])))
        marked = f"{pair[0]}{line}{pair[1]}: {_mark(arrow)}: {words}"
        return [f"rect {_GROUND}", marked, f"Note over {over}: {note}", "end"]

    def _shown(self) -> list[tuple[int, SagaMessage]]:
        """Return the arrows that are drawn, with their numbers: the first ones, or those around the wrong one."""
        numbered = list(enumerate(map(lambda arrow: SagaMessage(*arrow), self.arrows), start=1))
        first = max(0, self.wrong - 1 - BEFORE) if len(numbered) > ARROWS else 0
        return numbered[first : first + ARROWS]

    def _headline(self) -> str:
        said = counted(sum(not SagaMessage(*arrow).missing for arrow in self.arrows), "message")
        if not self.wrong:
            return f"{visible(self.title)}: {said}, none of them wrong"
        never = any(number == self.wrong and SagaMessage(*arrow).missing for number, arrow in enumerate(self.arrows, 1))
        return f"{visible(self.title)}: {said}, " + ("one is missing" if never else f"number {self.wrong} is wrong")

    def _lines(self) -> list[str]:
        shown = self._shown()
        lines = [f"  ... {counted(shown[0][0] - 1, 'message')} before"] if shown and shown[0][0] > 1 else []
        for number, arrow in shown:
            lines.append(f"  {number}. {arrow}" + (f"  <- {_mark(arrow)}" if number == self.wrong else ""))
            if number == self.wrong:
                lines.append(f"     {visible(self.reason)}")
        after = len(tuple(self.arrows)) - (shown[-1][0] if shown else 0)
        return [*lines, f"  ... and {counted(after, 'more message')}"] if after else lines


def _mark(arrow: SagaMessage) -> str:
    return MISSING if arrow.missing else WRONG
