"""Boxes: what each service of the dance notes beside its own tables, in the same transaction.

`inbox` has what was heard: a reaction counts once, however often its fact comes. `outbox` has what is still to be said.
`given_up` has the rides of which something was undone, perhaps before it was done; it survives a restart.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping

import envelope
import versions
from dance_facts import SERVICE, Fact, Ride, Say, subject_of
from nats.aio.msg import Msg

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Unreadable

MOST_ROWS = 100  # of the outbox, in one look
TABLES = """
    CREATE TABLE IF NOT EXISTS inbox(source TEXT, id TEXT, digest TEXT, PRIMARY KEY(source, id));
    CREATE TABLE IF NOT EXISTS outbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, subject TEXT, content BLOB);
    CREATE TABLE IF NOT EXISTS given_up(ride_id TEXT PRIMARY KEY)
"""
Reactions = Mapping[str, Callable[[sqlite3.Connection, Fact], list[Say]]]


def react(message: Msg, reactions: Reactions) -> None:
    """Let a service react to a message, once: what it writes and what it says are committed together.

    Raises:
        Unreadable: it is no fact that this service can use; the text is the reason.
    """
    fact = versions.current(envelope.opened(message.data, message.headers or {}))
    if message.subject != subject_of(fact.name, fact.ride.ride_id):
        raise Unreadable(f"type: {fact.name} of ride {fact.ride.ride_id} on the subject {message.subject}")
    with transaction(SERVICE) as db:
        if arrived(db, fact, message.data):
            for say in reactions[fact.name](db, fact):
                write_down(db, say.name, fact.ride.model_copy(update={"reason": say.reason or fact.ride.reason}), fact)


def arrived(db: sqlite3.Connection, fact: Fact, content: bytes) -> bool:
    """Note a fact, and tell whether it is heard for the first time; a copy may have its fields in another order."""
    key = [fact.event.get_source(), fact.event.get_id()]
    digest = hashlib.sha256(json.dumps(json.loads(content), sort_keys=True).encode()).hexdigest()
    if db.execute("INSERT OR IGNORE INTO inbox VALUES (?, ?, ?)", [*key, digest]).rowcount:
        return True
    if db.execute("SELECT digest FROM inbox WHERE source = ? AND id = ?", key).fetchone()["digest"] != digest:
        raise Unreadable(f"id: {key[1]} of {key[0]} has come before, with other content")
    return False


def write_down(db: sqlite3.Connection, name: str, ride: Ride, cause: Fact | None = None) -> None:
    """Put a fact into the outbox; `cause` is the fact that it follows from, None for what a rider wants."""
    event = envelope.sealed(name, ride, cause.event if cause else None)
    row = [event.get_id(), subject_of(name, ride.ride_id), envelope.written(event)]
    db.execute("INSERT INTO outbox(event_id, subject, content) VALUES (?, ?, ?)", row)


def give_up(db: sqlite3.Connection, ride_id: str) -> None:
    """Remember that a ride was given up."""
    db.execute("INSERT OR IGNORE INTO given_up VALUES (?)", [ride_id])


def given_up(db: sqlite3.Connection, ride_id: str) -> bool:
    return bool(db.execute("SELECT 1 FROM given_up WHERE ride_id = ?", [ride_id]).fetchone())


def unsaid() -> list[dict]:
    with transaction(SERVICE, "BEGIN") as db:
        return [dict(row) for row in db.execute(f"SELECT * FROM outbox ORDER BY seq LIMIT {MOST_ROWS}")]


def said(seq: int) -> None:
    with transaction(SERVICE) as db:
        db.execute("DELETE FROM outbox WHERE seq = ?", [seq])
