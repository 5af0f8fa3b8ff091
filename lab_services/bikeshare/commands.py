"""How a participant obeys a command of "start a ride" once, and answers it the same however often it is said.

The work, the note of it and the reply (in the outbox) are one transaction. A command that is said again finds the note:
nothing is done, and the reply is said once more.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab_services.bikeshare import outbox
from lab_services.bikeshare.intake import Later, Source, Unusable
from lab_services.bikeshare.messages import Event, Id, new_event
from lab_services.bikeshare.streams import COMMANDS, RIDES

# What goes wrong for a demonstration: actions with commas between, or "locks.unlock:b-61" for one bike alone.
REFUSE = os.environ.get("REFUSE", "")  # answers refused, and does nothing
SILENT = os.environ.get("SILENT", "")  # does it, and answers only when it is asked again
SLOW = os.environ.get("SLOW", "")  # does it SLOW_SECONDS late
SLOW_SECONDS = float(os.environ.get("SLOW_SECONDS", "5"))
SCHEMA = f"""{outbox.SCHEMA};
    CREATE TABLE IF NOT EXISTS obeyed(command_id TEXT PRIMARY KEY, data TEXT, outcome TEXT, reason TEXT)
"""
RIDE_ID = r"^[A-Za-z0-9._-]{1,40}$"  # with ".stations.reserve.reply" behind it, it is still the id of a message
RideId = Annotated[str, Field(pattern=RIDE_ID)]
Cents = Annotated[int, Field(ge=0, le=100_000_000)]
Facts = TypeVar("Facts", bound=BaseModel)


class Refused(Exception):
    """A participant does not do what it is asked; the text is the reason, for the rider."""


class Order(BaseModel):
    """What every command carries."""

    model_config = ConfigDict(strict=True, frozen=True)

    ride_id: RideId
    rider_id: Id
    bike_id: Id
    cents: Cents


class Ended(Order):
    """The facts of ride.ended: `cents` is the price."""

    station_id: Id


@dataclass(frozen=True)
class Action:
    """What a participant does for a command. One that `must` be done in the end: a refusal of it is no last word."""

    do: Callable[[sqlite3.Connection, Order], None]
    must: bool = False


def facts(form: type[Facts], event: Event) -> Facts:
    """Return the data of an event in the form that its reader relies on.

    Raises:
        Unusable: a fact is missing or not what it should be.
    """
    try:
        return form.model_validate(event.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unusable(f"data.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def commands_to(participant: str, actions: Mapping[str, Action]) -> Source:
    """Return the source of all commands to a participant."""

    def take(db: sqlite3.Connection, event: Event, delivered: int) -> None:
        if delivered == 1 and told(SLOW, event):
            raise Later(SLOW_SECONDS)
        obey(db, event, actions[event.type])

    return Source(COMMANDS, f"command.{participant}.*.*", dict.fromkeys(actions, 1), take)


def ended_rides(work: Callable[[sqlite3.Connection, Ended], None]) -> Source:
    """Return the source of all rides that have ended; a fact cannot be refused."""

    def take(db: sqlite3.Connection, event: Event, delivered: int) -> None:
        work(db, facts(Ended, event))

    return Source(RIDES, "ride.ended.*", {"ride.ended": 1}, take)


def obey(db: sqlite3.Connection, event: Event, action: Action) -> None:
    """Do what a command asks, unless that was done before, and put the reply into the outbox.

    Raises:
        Unusable: it is no command, or another one has its id.
    """
    order = facts(Order, event)
    if event.id != f"{order.ride_id}.{event.type}":
        raise Unusable(f"id: {event.id} is not that of {event.type} for ride {order.ride_id}")
    data = json.dumps(order.model_dump(), sort_keys=True)
    if noted := db.execute("SELECT * FROM obeyed WHERE command_id = ?", [event.id]).fetchone():
        if noted["data"] != data:
            raise Unusable(f"id: another command {event.id} was obeyed before")
        return reply(db, event, order, noted["outcome"], noted["reason"])
    reason = _refusal(db, event, order, action)
    outcome = "done" if reason is None else "refused"
    if reason is None or not action.must:
        db.execute("INSERT INTO obeyed VALUES (?, ?, ?, ?)", [event.id, data, outcome, reason])
    if not told(SILENT, event):
        reply(db, event, order, outcome, reason)


def _refusal(db: sqlite3.Connection, event: Event, order: Order, action: Action) -> str | None:
    """Do it; return None, or why it was not done, and then nothing has changed."""
    if told(REFUSE, event):
        return f"{event.type} is told to refuse"
    db.execute("SAVEPOINT action")
    try:
        action.do(db, order)
    except Refused as reason:
        db.execute("ROLLBACK TO action")
        return str(reason)
    return None


def reply(db: sqlite3.Connection, event: Event, order: Order, outcome: str, reason: str | None) -> None:
    """Put the reply to a command into the outbox."""
    data: dict[str, Any] = {"ride_id": order.ride_id, "command": event.id} | ({"reason": reason} if reason else {})
    kind = f"{event.type}.{outcome}"
    outbox.put(db, f"reply.{event.type}", new_event(kind, datetime.now(UTC), data, event_id=f"{event.id}.reply"))


def told(setting: str, event: Event) -> bool:
    """Say whether a setting names this action, or this action for this bike."""
    return bool({event.type, f"{event.type}:{event.data.get('bike_id')}"} & set(setting.split(",")))
