"""Book: what the service starts keeps in starts.db. Whoever calls brings the transaction.

A row of `outbox` is a command that is still to be said; a relay (starts_line.py) says the rows in their order.
"""

import os
import sqlite3
import time
from dataclasses import dataclass

from starts_mail import Ride, subject

from lab_services.bikeshare.messages import Event, written

STEP_SECONDS = float(os.environ.get("STEP_SECONDS", "5"))  # how long the reply to a command may take
START_SECONDS = float(os.environ.get("START_SECONDS", "30"))  # how long a rider waits at the dock
patience = {"step_seconds": STEP_SECONDS, "start_seconds": START_SECONDS}  # PUT /patience changes it, until a restart
SCHEMA = """
    CREATE TABLE IF NOT EXISTS starts(
        ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, cents INTEGER, state TEXT, began REAL, said REAL);
    CREATE INDEX IF NOT EXISTS starts_by_state ON starts(state, said);
    CREATE TABLE IF NOT EXISTS outbox(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT, subject TEXT, content BLOB)
"""
ADD = "INSERT INTO starts VALUES (:ride_id, :rider_id, :bike_id, :cents, 'holding', :now, :now)"
OPEN = "state NOT IN ('started', 'refused')"


@dataclass(frozen=True)
class Start:
    """One saga: the wish of a rider to start a ride, and how far it has come."""

    ride_id: str
    rider_id: str
    bike_id: str
    cents: int
    state: str
    began: float  # seconds since 1970, as the others
    said: float  # when the command of its state was said last

    @property
    def ride(self) -> Ride:
        return Ride(ride_id=self.ride_id, rider_id=self.rider_id, bike_id=self.bike_id, cents=self.cents)

    @property
    def overdue(self) -> bool:
        """It began more than START_SECONDS ago."""
        return time.time() > self.began + patience["start_seconds"]


def add(db: sqlite3.Connection, ride: Ride) -> Start:
    row = db.execute(f"{ADD} RETURNING *", {**ride.model_dump(), "now": time.time()}).fetchone()
    return Start(**row)


def find(db: sqlite3.Connection, ride_id: str) -> Start | None:
    """Return the start of a ride; None for a ride that nobody knows."""
    row = db.execute("SELECT * FROM starts WHERE ride_id = ?", [ride_id]).fetchone()
    return Start(**row) if row else None


def silent(db: sqlite3.Connection) -> list[Start]:
    """Return the starts whose command was said STEP_SECONDS ago, and that have had no useful reply since."""
    rows = db.execute(f"SELECT * FROM starts WHERE {OPEN} AND said < ?", [time.time() - patience["step_seconds"]])
    return [Start(**row) for row in rows]


def unfinished(db: sqlite3.Connection) -> list[Start]:
    return [Start(**row) for row in db.execute(f"SELECT * FROM starts WHERE {OPEN} ORDER BY began")]


def write(db: sqlite3.Connection, ride_id: str, state: str) -> None:
    """Write down a state, and that its command is said now."""
    db.execute("UPDATE starts SET state = ?, said = ? WHERE ride_id = ?", [state, time.time(), ride_id])


def put_out(db: sqlite3.Connection, command: Event) -> None:
    """Put a command into the outbox; one that still waits there to be said is not put in twice."""
    if not db.execute("SELECT 1 FROM outbox WHERE event_id = ?", [command.id]).fetchone():
        row = [command.id, subject("command", command.type, command.data["ride_id"]), written(command)]
        db.execute("INSERT INTO outbox(event_id, subject, content) VALUES (?, ?, ?)", row)
