"""The two tables of the event manager, in events.db, and how they are read and written.

events       what has happened, in the order in which it was written down. `hops`: how many events led to this one.
deliveries   one row for each event and each handler that wants it. `seq` grows in the order of the rows. state:
             waiting    it is owed; not before `due` (as of time.time()), which is the time of writing at first
             done       the handler has it
             set_aside  given up; `reason` says why, `tries` how often it was tried
"""

import asyncio
from collections.abc import Callable
from sqlite3 import Connection
from typing import Any, TypeVar

from event_form import CityEvent

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.problems import Problem

SCHEMA = """
    CREATE TABLE IF NOT EXISTS events(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT UNIQUE NOT NULL, hops INTEGER, content TEXT);
    CREATE TABLE IF NOT EXISTS deliveries(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL, handler TEXT NOT NULL, subject TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0,
        due REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400),
        reason TEXT NOT NULL DEFAULT '',
        UNIQUE(event_id, handler));
    CREATE INDEX IF NOT EXISTS deliveries_of_handler ON deliveries(state, handler, due);
    CREATE INDEX IF NOT EXISTS deliveries_of_subject ON deliveries(handler, subject, state)
"""
MOST_LISTED = 100
Result = TypeVar("Result")


async def in_transaction(work: Callable[..., Result], *values: Any) -> Result:
    """Return work(db, *values), done in one transaction, in a thread: its end commits, an exception rolls back."""

    def run() -> Result:
        with transaction("events") as db:
            return work(db, *values)

    return await asyncio.to_thread(run)


def find_event(db: Connection, event_id: str) -> CityEvent | None:
    """Return the event with this id, if it is written down."""
    row = db.execute("SELECT content FROM events WHERE event_id = ?", [event_id]).fetchone()
    return CityEvent.model_validate_json(row["content"]) if row else None


def count_hops(db: Connection, event: CityEvent) -> int:
    """Return how many events led to this one: 0 without a cause, else one more than led to its cause.

    Raises:
        Problem: 422, its cause is not written down.
    """
    if event.caused_by is None:
        return 0
    row = db.execute("SELECT hops FROM events WHERE event_id = ?", [event.caused_by]).fetchone()
    if row is None:
        raise Problem(422, "no such cause", f"caused_by: there is no event {event.caused_by}")
    return int(row["hops"]) + 1


def insert_event(db: Connection, event: CityEvent, hops: int) -> None:
    """Write a row of `events`, and none of `deliveries`; sqlite3.IntegrityError: there is one with this id."""
    row = [event.id, hops, event.model_dump_json()]
    db.execute("INSERT INTO events(event_id, hops, content) VALUES (?, ?, ?)", row)


def count_waiting(db: Connection) -> int:
    """Return how many deliveries are waiting, for all handlers together."""
    return int(db.execute("SELECT count(*) FROM deliveries WHERE state = 'waiting'").fetchone()[0])


def list_deliveries(db: Connection, where: str, value: str) -> list[dict[str, Any]]:
    """Return the deliveries whose column `where` has this value, the newest MOST_LISTED, oldest first."""
    columns = "seq, event_id, handler, subject, state, tries, reason"
    sql = f"SELECT {columns} FROM deliveries WHERE {where} = ? ORDER BY seq DESC LIMIT ?"
    return [dict(row) for row in reversed(db.execute(sql, [value, MOST_LISTED]).fetchall())]


def wait_again(db: Connection, event_id: str, handler: str) -> bool:
    """Let a delivery that was set aside wait anew; return False if there is none."""
    sql = "UPDATE deliveries SET state = 'waiting', tries = 0, due = 0"
    return bool(
        db.execute(f"{sql} WHERE event_id = ? AND handler = ? AND state = 'set_aside'", [event_id, handler]).rowcount
    )
