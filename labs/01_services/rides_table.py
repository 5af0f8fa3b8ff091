"""The words of a rider, and the one table of the service `rides`."""

import sqlite3
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from lab_services.bikeshare.problems import Body, Problem

Json = dict[str, Any]
HOLD_CENTS = 2000
RIDES = """CREATE TABLE IF NOT EXISTS rides(
    ride_id TEXT PRIMARY KEY, rider_id, bike_id, from_station, to_station, state TEXT,
    minutes INTEGER, cents INTEGER, started_at TEXT, ended_at TEXT)"""


class Start(Body):
    rider_id: str
    station_id: str


class End(Body):
    station_id: str
    minutes: int = Field(ge=0, le=1440)


def insert_ride(db: sqlite3.Connection, ride_id: str, wish: Start) -> None:
    insert = "INSERT INTO rides(ride_id, rider_id, from_station, state, started_at) VALUES (?, ?, ?, 'accepted', ?)"
    db.execute(insert, [ride_id, wish.rider_id, wish.station_id, now()])


def change_ride(db: sqlite3.Connection, ride_id: str, **facts: object) -> Json:
    columns = ", ".join(f"{name} = ?" for name in facts)
    db.execute(f"UPDATE rides SET {columns} WHERE ride_id = ?", [*facts.values(), ride_id])
    return find_ride(db, ride_id)


def find_ride(db: sqlite3.Connection, ride_id: str) -> Json:
    if row := db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone():
        return dict(row)
    raise Problem(404, "unknown ride", f"there is no ride {ride_id}")


def find_rides(db: sqlite3.Connection, state: str, limit: int) -> list[Json]:
    rows = db.execute("SELECT * FROM rides WHERE state = ? ORDER BY started_at LIMIT ?", [state, limit])
    return [dict(row) for row in rows]


def require_started(ride: Json) -> None:
    if ride["state"] != "started":
        raise Problem(409, "ride not started", f"ride {ride['ride_id']} is {ride['state']}")


def now() -> str:
    return datetime.now(UTC).isoformat()
