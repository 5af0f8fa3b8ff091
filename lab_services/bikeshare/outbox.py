"""The transactional outbox: what a service has to say is a row beside the row that it tells of, in one transaction.

Either both are there or neither. A relay (relaying.py) says the rows in their order and forgets each one when its
stream has it. It is woken by a message that may get lost: it also looks by itself, time and again.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Collection
from contextlib import suppress

from nats.errors import Error

from lab_services.bikeshare import carried
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Event, written
from lab_services.bikeshare.problems import Problem
from lab_services.bikeshare.streams import token

BATCH = 100
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "1"))  # a relay that is silent for so long has lost its turn
SCHEMA = """;
    CREATE TABLE IF NOT EXISTS outbox(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, subject TEXT, content BLOB, ride_id TEXT,
        written_at REAL, tries INTEGER DEFAULT 0, trouble TEXT);
    CREATE TABLE IF NOT EXISTS outbox_turn(one INTEGER PRIMARY KEY CHECK (one = 1), relay TEXT, until REAL)
"""  # fmt: skip
SCHEMA += carried.SCHEMA
ROWS = """SELECT * FROM outbox WHERE ride_id NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"""
COUNT = """SELECT count(*) AS rows, coalesce(max(0, ? - min(written_at)), 0) AS oldest_seconds,
    count(trouble) AS refused, max(trouble) AS trouble FROM outbox"""
TURN = """INSERT INTO outbox_turn VALUES (1, :relay, :until) ON CONFLICT DO UPDATE
    SET relay = excluded.relay, until = excluded.until WHERE relay = excluded.relay OR until < :now"""


def put(db: sqlite3.Connection, begin: str, event: Event) -> None:
    """Write down an event that is to be said on `<begin>.<ride>`: "ride.ended", "command.wallet.hold".

    Raises:
        ValueError: it is too long; nothing may be committed that can never be said.
    """
    ride_id = str(event.data["ride_id"])
    content = carried.stamped(db, ride_id, written(event))
    row = [event.id, f"{begin}.{token(ride_id)}", content, ride_id, time.time()]
    db.execute("INSERT INTO outbox(event_id, subject, content, ride_id, written_at) VALUES (?, ?, ?, ?, ?)", row)


async def wake(line: Line, service: str) -> None:
    """Tell the relay that a service has something to say, after the commit; nobody has to hear it."""
    with suppress(Problem, Error):
        await line.client().publish(f"outbox.{service}", b"")


def due(books: str, relay: str, blocked: Collection[str]) -> list[sqlite3.Row]:
    """Return the next rows for this relay, without those of the `blocked` rides; none while it is another one's turn.

    The first look writes nothing, so that relays without work disturb nobody.
    """
    wanted = [json.dumps(list(blocked)), BATCH]
    if not waiting(books)["rows"]:
        return []
    with transaction(books) as db:
        now = time.time()
        mine = db.execute(TURN, {"relay": relay, "until": now + LEASE_SECONDS, "now": now}).rowcount
        return db.execute(ROWS, wanted).fetchall() if mine else []


def forget(books: str, said: Collection[int], refused: dict[int, str]) -> None:
    """Delete the rows that their streams have; note at each other one why the broker did not take it."""
    with transaction(books) as db:
        db.executemany("DELETE FROM outbox WHERE seq = ?", [[seq] for seq in said])
        notes = [(trouble, seq) for seq, trouble in refused.items()]
        db.executemany("UPDATE outbox SET tries = tries + 1, trouble = ? WHERE seq = ?", notes)


def waiting(books: str) -> dict[str, object]:
    """Count what waits in an outbox, since when, and what the broker refuses; without an outbox nothing does."""
    nothing: dict[str, object] = {"rows": 0, "oldest_seconds": 0, "refused": 0, "trouble": None}
    if not os.path.exists(os.path.join(os.environ.get("DATA_DIR", "data"), f"{books}.db")):
        return nothing
    with transaction(books, "BEGIN") as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone():
            return nothing
        found = dict(db.execute(COUNT, [time.time()]).fetchone())
    return found
