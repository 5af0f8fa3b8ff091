"""The tickets of the hotline, in hotline.db. What is against the rules is refused in words that know no gRPC."""

import re
import sqlite3
from enum import Enum
from typing import Any

from lab_services.bikeshare.database import transaction

TABLES = """
    CREATE TABLE IF NOT EXISTS tickets(
        ticket_id TEXT PRIMARY KEY, operator_id TEXT, lock_id TEXT, ride_id TEXT, card_number TEXT, state TEXT)
"""
MOST_OPEN = 3  # tickets of one operator
FIELDS = ("ticket_id", "operator_id", "lock_id", "ride_id", "card_number")
ID, CARD = re.compile(r"[A-Za-z0-9._-]{1,64}"), re.compile(r"[0-9]{12,19}")
MALFORMED, UNKNOWN, NOT_NOW, TAKEN, TOO_MANY = "malformed", "unknown", "not now", "taken", "too many"


class State(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Refused(Exception):
    """Say no: one of the five words above, and a sentence for the operator that names the field it is about."""

    def __init__(self, word: str, sentence: str) -> None:
        self.word, self.sentence = word, sentence
        super().__init__(f"{word}: {sentence}")


def file(request: Any) -> None:
    """Keep a ticket."""
    check(request)
    ticket = [getattr(request, field) for field in FIELDS]
    with transaction("hotline") as db:
        if row := read(db, request.ticket_id):
            if list(row)[: len(FIELDS)] != ticket:
                raise Refused(TAKEN, f"ticket_id: {request.ticket_id} is another ticket")
            return
        busy = "SELECT count(*) FROM tickets WHERE operator_id = ? AND state = ?"
        if db.execute(busy, [request.operator_id, State.OPEN.value]).fetchone()[0] >= MOST_OPEN:
            raise Refused(TOO_MANY, f"operator_id: {request.operator_id} has {MOST_OPEN} open tickets, close one first")
        db.execute("INSERT INTO tickets VALUES (?, ?, ?, ?, ?, ?)", [*ticket, State.OPEN.value])


def find(ticket_id: str, closed_too: bool = True) -> sqlite3.Row:
    """Return a ticket."""
    if not ID.fullmatch(ticket_id):
        raise Refused(MALFORMED, "ticket_id: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    with transaction("hotline", "BEGIN") as db:
        row = read(db, ticket_id)
    if row is None:
        raise Refused(UNKNOWN, f"ticket_id: there is no ticket {ticket_id}")
    if State(row["state"]) is State.CLOSED and not closed_too:
        raise Refused(NOT_NOW, f"ticket_id: ticket {ticket_id} is closed, file another one")
    return row


def close(ticket_id: str) -> None:
    """Close a ticket; closing it again changes nothing."""
    with transaction("hotline") as db:
        db.execute("UPDATE tickets SET state = ? WHERE ticket_id = ?", [State.CLOSED.value, ticket_id])


def read(db: sqlite3.Connection, ticket_id: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM tickets WHERE ticket_id = ?", [ticket_id]).fetchone()
    if row is not None:
        State(row["state"])  # a ValueError where somebody has written nonsense: that is nobody's refusal
    return row


def check(request: Any) -> None:
    for field in FIELDS[:4]:
        if not ID.fullmatch(getattr(request, field)):
            raise Refused(MALFORMED, f"{field}: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    if not CARD.fullmatch(request.card_number):
        raise Refused(MALFORMED, "card_number: 12 to 19 digits")
