"""The messages of a start, as they were recorded: who said what, of which ride, and because of what.

Both forms of the city are read: CloudEvents name their cause (`causationid`), and an orchestrator's messages tell it:
a reply by the id of its command, a command by its place behind the reply before it, of the same ride.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

ORCHESTRATOR = "starts"


class Recorded(Protocol):
    """A message that a spy heard, or that a stream keeps."""

    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True)
class Said:
    """One message: `kind` is its type without a version, `cause` the id of what it follows from, "" for none."""

    id: str
    kind: str
    sender: str
    ride_id: str
    cause: str


def read_said(messages: Iterable[Recorded]) -> tuple[Said, ...]:
    """Return what was said, oldest first; a copy is left out, and so is what has neither form."""
    said: dict[tuple[str, str], Said] = {}
    replied: dict[str, str] = {}  # the last reply of each ride
    for message in messages:
        each = _read(message.data, replied)
        if each is not None and said.setdefault((each.sender, each.id), each) is each and each.sender != ORCHESTRATOR:
            replied[each.ride_id] = each.id
    return tuple(said.values())


def _read(content: bytes, replied: dict[str, str]) -> Said | None:
    try:
        fields = json.loads(content)
        id_, kind = str(fields["id"]), str(fields["type"])
        if "specversion" in fields:
            name, _, version = kind.rpartition(".v")
            sender = str(fields["source"]).rstrip("/").rpartition("/")[2]
            cause = str(fields.get("causationid") or "")
            return Said(id_, name if version.isdigit() else kind, sender, str(fields["subject"]), cause)
        ride_id = str(fields["data"]["ride_id"])
        if "command" in fields["data"]:
            return Said(id_, kind, kind.partition(".")[0], ride_id, str(fields["data"]["command"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return Said(id_, kind, ORCHESTRATOR, ride_id, replied.get(ride_id, ""))
