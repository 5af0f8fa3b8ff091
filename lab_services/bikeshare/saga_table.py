"""The sagas as rows: each change of state and the command or fact that follows from it are one transaction.

So whoever kills the orchestrator finds it, when it is back, exactly where it was. The clock is the wall's: the process
that looks at `due` need not be the one that wrote it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from lab_services.bikeshare import outbox
from lab_services.bikeshare.commands import Order, RideId, facts
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.intake import Unusable
from lab_services.bikeshare.messages import Event, Id, new_event
from lab_services.bikeshare.problems import Problem
from lab_services.bikeshare.saga_steps import ENDS, FIRST, STEPS, after_reply, after_silence, command_id

STEP_SECONDS = float(os.environ.get("STEP_SECONDS", "3"))  # who has not answered by then is silent
AGAIN_SECONDS = float(os.environ.get("AGAIN_SECONDS", "2"))  # until who must answer is asked again; doubles
MOST_DOUBLINGS = 4
STUCK_SECONDS = float(os.environ.get("STUCK_SECONDS", "5"))  # in one state; a saga that moves takes some milliseconds
SAGA_SECONDS = float(os.environ.get("SAGA_SECONDS", "20"))  # in all
BATCH = 100
LISTED = 500
UNDER_WAY = f"state NOT IN {ENDS}"  # a tuple of words in Python reads as a list in SQL
SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS starts(
        ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, cents INTEGER, state TEXT, reason TEXT,
        begun REAL, since REAL, due REAL, asked INTEGER);
    CREATE INDEX IF NOT EXISTS starts_under_way ON starts(due) WHERE {UNDER_WAY}
    {outbox.SCHEMA}
"""
STUCK = f"{UNDER_WAY} AND (since < :now - {STUCK_SECONDS} OR begun < :now - {SAGA_SECONDS})"
START = "SELECT * FROM starts WHERE ride_id = ?"
MOVE = "UPDATE starts SET state = ?, reason = coalesce(reason, ?), since = ?, due = ?, asked = 1 WHERE ride_id = ?"
KNOWN = {f"{step.action}.{outcome}": 1 for step in STEPS.values() for outcome in ("done", "refused")}


class Reply(BaseModel):
    """What every reply carries."""

    model_config = ConfigDict(strict=True)

    ride_id: RideId
    command: Id
    reason: str | None = None


def begin(order: Order) -> tuple[dict[str, Any], bool]:
    """Return the saga of a ride, and whether it begins now."""
    now = time.time()
    row = [*order.model_dump().values(), FIRST, now, now, now + STEP_SECONDS]
    with transaction("starts") as db:
        insert = "INSERT OR IGNORE INTO starts VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?, 1)"
        if new := bool(db.execute(insert, row).rowcount):
            _ask(db, order, FIRST)
        start = find(db, order.ride_id)
    if any(start[key] != value for key, value in order.model_dump().items()):
        raise Problem(409, "another start", f"ride {order.ride_id} was asked for with other facts")
    return start, new


def hear(db: sqlite3.Connection, event: Event, delivered: int) -> None:
    """Take a reply: move on, or stay when it belongs to no question of now.

    Raises:
        Unusable: nobody has asked for such a ride.
    """
    reply = facts(Reply, event)
    row = db.execute(START, [reply.ride_id]).fetchone()
    if row is None:
        raise Unusable(f"nobody has asked for ride {reply.ride_id}")
    action, outcome = event.type.rsplit(".", 1)
    if reply.command != f"{reply.ride_id}.{action}":
        raise Unusable(f"data.command: {reply.command} is not {action} for ride {reply.ride_id}")
    if state := after_reply(row["state"], reply.ride_id, reply.command, outcome):
        _move(db, row, state, reply.reason)


def wait_anew() -> None:
    """Give everybody time to answer: while we or the broker were away, nobody could."""
    with transaction("starts") as db:
        db.execute(f"UPDATE starts SET due = ? WHERE {UNDER_WAY}", [time.time() + STEP_SECONDS])


def look() -> bool:
    """Go back or ask again where an answer is overdue; return whether there was such a saga."""
    now = time.time()
    query = f"SELECT * FROM starts WHERE {UNDER_WAY} AND due < ? ORDER BY due LIMIT ?"
    with transaction("starts", "BEGIN") as db:
        if not db.execute(query, [now, 1]).fetchone():
            return False
    with transaction("starts") as db:
        for row in db.execute(query, [now, BATCH]).fetchall():
            if state := after_silence(row["state"]):
                _move(db, row, state, f"{STEPS[row['state']].action} was not answered in time")
            else:
                _ask(db, _order(row), row["state"])
                due = now + AGAIN_SECONDS * 2 ** min(row["asked"] - 1, MOST_DOUBLINGS)
                db.execute("UPDATE starts SET due = ?, asked = asked + 1 WHERE ride_id = ?", [due, row["ride_id"]])
    return True


def find(db: sqlite3.Connection, ride_id: str) -> dict[str, Any]:
    """Return a saga as the world sees it."""
    if row := db.execute(START, [ride_id]).fetchone():
        return _shown(row)
    raise Problem(404, "unknown start", f"nobody has asked for ride {ride_id}")


def listed(stuck: bool | None, under_way: bool | None) -> list[dict[str, Any]]:
    """Return sagas, the oldest first: all, or those that are (or are not) stuck, under way."""
    query = f"""SELECT * FROM starts WHERE (:stuck IS NULL OR ({STUCK}) = :stuck)
        AND (:under_way IS NULL OR ({UNDER_WAY}) = :under_way) ORDER BY begun, ride_id LIMIT {LISTED}"""
    wanted = {"now": time.time(), "stuck": stuck, "under_way": under_way}
    with transaction("starts", "BEGIN") as db:
        return [_shown(row) for row in db.execute(query, wanted)]


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    ended = row["state"] in ENDS
    facts_of_it = {key: row[key] for key in ("ride_id", "rider_id", "bike_id", "cents", "state", "reason")}
    return facts_of_it | {"step": None if ended else STEPS[row["state"]].action, "asked": row["asked"]}


def _order(row: sqlite3.Row) -> Order:
    return Order(ride_id=row["ride_id"], rider_id=row["rider_id"], bike_id=row["bike_id"], cents=row["cents"])


def _move(db: sqlite3.Connection, row: sqlite3.Row, state: str, reason: str | None) -> None:
    now, order = time.time(), _order(row)
    db.execute(MOVE, [state, reason, now, now + STEP_SECONDS, order.ride_id])
    if state == "refused":
        why = {"reason": row["reason"] or reason}
        _put(db, "ride.refused", "ride.refused", f"{order.ride_id}.refused", order.model_dump() | why)
    elif state not in ENDS:
        _ask(db, order, state)


def _ask(db: sqlite3.Connection, order: Order, state: str) -> None:
    action = STEPS[state].action
    _put(db, f"command.{action}", action, command_id(order.ride_id, state), order.model_dump())


def _put(db: sqlite3.Connection, begin: str, kind: str, event_id: str, data: dict[str, Any]) -> None:
    outbox.put(db, begin, new_event(kind, datetime.now(UTC), data, event_id=event_id))
