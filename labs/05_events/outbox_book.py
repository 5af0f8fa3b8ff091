"""The book of rides (rides.db): steps of rides, where each bike is, and the outbox, with what the city has to be told.

The relay is a part of the service rides, in processes of its own: it reads and writes the same book.
"""

import asyncio
import os
import sqlite3
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Event, new_event, written
from lab_services.bikeshare.problems import ID, Body, Problem
from lab_services.bikeshare.streams import token

BOOK = os.environ.get("BOOK", "rides")
FLEET = int(os.environ.get("FLEET", "200"))
SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS steps(
        ride_id TEXT, what TEXT, rider_id TEXT, bike_id TEXT, at TEXT, note TEXT, PRIMARY KEY(ride_id, what));
    CREATE TABLE IF NOT EXISTS rides(ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, state TEXT, cents INTEGER);
    CREATE TABLE IF NOT EXISTS bikes(bike_id TEXT PRIMARY KEY, station_id TEXT, ride_id TEXT, workshop INTEGER);
    WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {FLEET})
        INSERT OR IGNORE INTO bikes SELECT 'b' || n, 'A1', NULL, 0 FROM number;
    CREATE TABLE IF NOT EXISTS outbox(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, ride_id TEXT, subject TEXT, content BLOB, time TEXT,
        tries INTEGER DEFAULT 0, due_at REAL DEFAULT 0, reason TEXT);
    CREATE INDEX IF NOT EXISTS outbox_of_ride ON outbox(ride_id, seq)
"""


class Facts(Body):
    rider_id: Annotated[str, Field(pattern=ID)]
    bike_id: Annotated[str, Field(pattern=ID)]
    at: Annotated[AwareDatetime, Field(strict=False)]  # by the clock of the bike, which may be wrong
    note: Annotated[str, Field(max_length=10_000)] = ""


class Step(Facts):
    """A step of a ride; a ride has each of them once, started first and ended last."""

    ride_id: str
    what: Literal["started", "noted", "ended"]


def write(db: sqlite3.Connection, step: Step) -> bool:
    """Write a step, and where its bike is now; return whether it is new: a step may be written again, and is not then.

    Raises:
        Problem: 409, this step is not possible. By then a part of it is written: the transaction has to fail.
    """
    row = [step.ride_id, step.what, step.rider_id, step.bike_id, step.at.isoformat(), step.note]
    if not db.execute("INSERT OR IGNORE INTO steps VALUES (?, ?, ?, ?, ?, ?)", row).rowcount:
        found = db.execute("SELECT * FROM steps WHERE ride_id = ? AND what = ?", row[:2]).fetchone()
        if list(found) != row:
            raise Problem(409, "another step", f"ride {step.ride_id} has {step.what} in another way")
        return False
    names = step.model_dump(include={"ride_id", "rider_id", "bike_id"})
    if step.what == "started":
        db.execute("INSERT OR IGNORE INTO rides VALUES (:ride_id, :rider_id, :bike_id, 'started', NULL)", names)
        change = "UPDATE bikes SET station_id = NULL, ride_id = :ride_id WHERE bike_id = :bike_id AND ride_id IS NULL"
    elif step.what == "noted":
        change = "UPDATE rides SET state = 'started' WHERE ride_id = :ride_id AND state = 'started'"
    else:
        db.execute("UPDATE rides SET state = 'ended' WHERE ride_id = :ride_id", names)
        change = "UPDATE bikes SET station_id = 'A1', ride_id = NULL WHERE bike_id = :bike_id AND ride_id = :ride_id"
    if not db.execute(change, names).rowcount:
        raise Problem(409, "no such step now", f"ride {step.ride_id} cannot have {step.what}, with bike {step.bike_id}")
    return True


def event_of(step: Step, event_id: str) -> Event:
    """Return the event of a step."""
    facts = step.model_dump(include={"ride_id", "rider_id", "bike_id", "note"})
    return new_event(f"ride.{step.what}", step.at, facts, event_id=event_id)


def subject_of(step: Step) -> str:
    """Return the subject of its event."""
    return f"ride.{step.what}.{token(step.ride_id)}"


def put(db: sqlite3.Connection, step: Step, event_id: str) -> None:
    """Put the event of a step into the outbox, with the next number `seq`."""
    row = [event_id, step.ride_id, subject_of(step), written(event_of(step, event_id)), step.at.isoformat()]
    db.execute("INSERT INTO outbox(event_id, ride_id, subject, content, time) VALUES (?, ?, ?, ?, ?)", row)


async def do(sql: str, **values: Any) -> list[sqlite3.Row]:
    """Do one statement in a transaction of its own, beside the event loop, and return its rows, if it has any."""

    def work() -> list[sqlite3.Row]:
        with transaction(BOOK) as db:
            return db.execute(sql, values).fetchall()

    return await asyncio.to_thread(work)
