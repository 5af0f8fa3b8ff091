"""Read what a stream, or somebody who listened, has of a saga: each message as a command or as a reply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

OUTCOMES = ("done", "refused")


class Message(Protocol):
    """A message as it was heard or kept."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True)
class Line:
    """One command or reply: `id` is the command's own, or that of the command which a reply answers.

    The outcome of a reply is "done" or "refused", `reason` says why. `trouble` is what makes a message useless.
    """

    number: int  # from 1, counting commands and replies alone
    action: str
    ride: str
    id: str
    outcome: str = ""
    reason: str = ""
    trouble: str = ""

    @property
    def is_reply(self) -> bool:
        return bool(self.outcome)

    @property
    def participant(self) -> str:
        return self.action.partition(".")[0]


class _Content(BaseModel):
    """The part of an Event, and of a CloudEvent, that a saga needs."""

    model_config = ConfigDict(strict=True, frozen=True)

    id: str
    type: str
    data: Mapping[str, Any]


def saga_lines(messages: Iterable[Message]) -> list[Line]:
    """Return the commands and replies of one saga in the order given; what is on other subjects is left out.

    Raises:
        ValueError: the messages are of more than one ride.
    """
    lines: list[Line] = []
    for message in messages:
        if line := line_of(message, len(lines) + 1):
            lines.append(line)
    if len(rides := dict.fromkeys(line.ride for line in lines)) > 1:
        raise ValueError(f"these are messages of {len(rides)} rides, and a saga is of one: {', '.join(rides)}")
    return lines


def line_of(message: Message, number: int = 1) -> Line | None:
    """Return a message as a command or a reply; None for one on another subject."""
    kind, *rest = message.subject.split(".")
    if kind not in ("command", "reply") or len(rest) != 3:
        return None
    action, ride, is_reply = ".".join(rest[:2]), rest[2], kind == "reply"
    try:
        content = _Content.model_validate_json(message.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "content"
        trouble = f"nobody can read it ({where}: {first['msg']})"
        return Line(number, action, ride, "", "unreadable" if is_reply else "", trouble=trouble)
    return (_reply if is_reply else _command)(number, action, ride, content)


def _command(number: int, action: str, ride: str, content: _Content) -> Line:
    trouble = "" if content.type == action else f"its subject says {action}, its type {content.type}"
    return Line(number, action, ride, content.id, trouble=trouble)


def _reply(number: int, action: str, ride: str, content: _Content) -> Line:
    what, _, outcome = content.type.rpartition(".")
    trouble = ""
    if outcome not in OUTCOMES:
        trouble = f"{content.type} tells neither that it is done nor that it is refused"
    elif what != action:
        trouble = f"its subject says {action}, its type {content.type}"
    reason = str(content.data.get("reason") or "")
    return Line(number, action, ride, str(content.data.get("command", "")), outcome or "unreadable", reason, trouble)
