"""What two streams keep of one ride, merged into the order in which it was said."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from nats.js.errors import NotFoundError

from lab_services.bikeshare.saga_record import line_of
from lab_services.bikeshare.streams import token
from lab_services.checks.broker_probes import Heard, Spy, spying
from lab_services.errors import UnknownName
from lab_services.lab import Lab
from lab_services.views.plain_text import visible

MOST_MESSAGES = 500  # read of each stream; a saga that is stuck says the same command again and again

ID = r"[A-Za-z0-9._-]{1,64}"


class Kept(NamedTuple):
    """A message and when its stream stored it."""

    heard: Heard
    time: datetime


def recorded(lab: Lab | str, ride_id: str, broker: str = "broker") -> list[Heard]:
    """Return the commands and replies of one ride in the order in which the broker stored them, at most 500 of each.

    `lab` is a running lab or the address of a broker. None are returned when there are no such streams.

    Raises:
        UnknownName: no ride can have this id.
        nats.errors.Error, OSError, TimeoutError: the broker is not there.
    """
    if not re.fullmatch(ID, ride_id):  # a * would be all rides
        raise UnknownName(
            f"{visible(ride_id)} is no id of a ride",
            evidence="an id has letters, digits, dots, underscores and dashes, 64 at most",
            next_step=f'recorded({"url" if isinstance(lab, str) else "lab"}, "r1")',
        )
    url = lab if isinstance(lab, str) else lab[broker].url
    with spying(url) as spy:
        commands = list(islice(_kept(spy, "COMMANDS", f"command.*.*.{token(ride_id)}"), MOST_MESSAGES))
        replies = list(islice(_kept(spy, "REPLIES", f"reply.*.*.{token(ride_id)}"), MOST_MESSAGES))
    return [kept.heard for kept in in_order(commands, replies)]


def in_order(commands: Sequence[Kept], replies: Sequence[Kept]) -> list[Kept]:
    """Merge two streams by the time of the broker, which keeps the order of each.

    A time is read in microseconds and comes from a clock that can be set. Where two are equal, the reply is first: the
    command may be its consequence. And no reply is put before the command that it answers, whatever the times say.
    """
    ids = [_id(kept.heard) for kept in commands]
    merged: list[Kept] = []
    at = 0
    for reply in replies:
        answers = _id(reply.heard)
        while at < len(commands) and (
            commands[at].time < reply.time or (answers in ids[at:] and answers not in ids[:at])
        ):
            merged.append(commands[at])
            at += 1
        merged.append(reply)
    return [*merged, *commands[at:]]


def _kept(spy: Spy, stream: str, subject: str) -> Iterator[Kept]:
    number = 1
    with suppress(NotFoundError):  # there is no such stream, or no further message in it
        while True:
            raw = spy.jetstream("get_msg", stream, seq=number, subject=subject, next=True)
            number = raw.seq + 1
            yield Kept(Heard(str(raw.subject), raw.data or b"", raw.headers or {}, sequence=raw.seq), raw.time)


def _id(message: Heard) -> str:
    """Return the id of a command, or that of the command which a reply answers; "" where nobody can read it."""
    line = line_of(message)
    return line.id if line else ""
