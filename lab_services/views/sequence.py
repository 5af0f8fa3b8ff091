"""Messages between services in the order they went, as a Mermaid sequence diagram and as a numbered list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from .mermaid_text import accessible, diagram_bundle, label
from .plain_text import counted, visible

MESSAGES = 60  # more than fit on a screen; the rest is counted


class Message(NamedTuple):
    """One message: who sent it to whom, what it said, and whether it went well."""

    sender: str
    receiver: str
    what: str
    ok: bool = True

    def __str__(self) -> str:
        failed = "" if self.ok else " (failed)"
        return f"{visible(self.sender)} -> {visible(self.receiver)}: {visible(self.what)}{failed}"


@dataclass(frozen=True, repr=False)
class SequenceView:
    """Who said what to whom; plain tuples (sender, receiver, what, ok) serve as messages."""

    title: str
    messages: Iterable[tuple[str, str, str] | tuple[str, str, str, bool]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(Message(*message) for message in self.messages))

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._lines()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        if not self._shown():
            return {"text/plain": repr(self)}
        return diagram_bundle(self.mermaid(), repr(self))

    def mermaid(self) -> str:
        """Return the source of the diagram."""
        names = dict.fromkeys(name for message in self._shown() for name in (message.sender, message.receiver))
        ids = {name: f"p{at}" for at, name in enumerate(names)}
        people = [f"    participant {ids[name]} as {label(name)}" for name in names]
        drawn = [f"    {_drawn(message, ids)}" for message in self._shown()]
        head = ["sequenceDiagram", *accessible(self._headline(), self._lines()), "    autonumber"]
        return "\n".join([*head, *people, *drawn])

    def _shown(self) -> list[Message]:
        return [Message(*message) for message in self.messages][:MESSAGES]

    def _headline(self) -> str:
        return f"{visible(self.title)}: {counted(len(tuple(self.messages)), 'message')}"

    def _lines(self) -> list[str]:
        lines = [f"  {number}. {message}" for number, message in enumerate(self._shown(), start=1)]
        left_out = len(tuple(self.messages)) - len(lines)
        return [*lines, f"  ... and {counted(left_out, 'more message')}"] if left_out else lines


def _drawn(message: Message, ids: dict[str, str]) -> str:
    arrow, words = ("->>", label(message.what)) if message.ok else ("-x", f"failed: {label(message.what)}")
    return f"{ids[message.sender]}{arrow}{ids[message.receiver]}: {words}"
