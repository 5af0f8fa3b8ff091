"""The one table of `history`, and the words of its riders. Many rides may start in the same second."""

import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from lab_services.bikeshare.problems import ID, Body

Json = dict[str, Any]
RIDES = """
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, rider_id TEXT NOT NULL, from_station TEXT, to_station TEXT,
        minutes INTEGER, cents INTEGER, started_at TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS rides_of_a_rider ON rides(rider_id, started_at)"""


class Start(Body):
    rider_id: str = Field(pattern=ID)
    station_id: str = Field(pattern=ID)


def insert_ride(db: sqlite3.Connection, ride_id: str, wish: Start) -> Json:
    insert = "INSERT INTO rides(ride_id, rider_id, from_station, started_at) VALUES (?, ?, ?, ?)"
    db.execute(insert, [ride_id, wish.rider_id, wish.station_id, now()])
    return dict(db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone())


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def packed(*words: str) -> str:
    """Return words as one that may stand in an address, and that no client is tempted to read."""
    return urlsafe_b64encode("|".join(words).encode()).decode()


def unpacked(text: str) -> list[str]:
    """Return the words that were packed; of a text that nobody packed, whatever is in it, or nothing."""
    try:
        return urlsafe_b64decode(text).decode().split("|")
    except ValueError:
        return []
