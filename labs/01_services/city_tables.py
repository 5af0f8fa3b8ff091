"""The inside of the one-program city: docks, rides, prices and messages, all in one file `city.db`.

Each function gets the open transaction of its caller, so that what belongs together is written together.
"""

import os
import sqlite3
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from lab_services.bikeshare.problems import Body, Problem

Json = dict[str, Any]
ROWS = {"north": "AB", "south": "CD"}.get(os.environ.get("DISTRICT", ""), "ABCD")
DOCKS, BIKES = 8, 4  # of each station
UNLOCK_CENTS, MINUTE_CENTS, HOLD_CENTS = 100, 20, 2000
TABLES = """
CREATE TABLE IF NOT EXISTS stations(station_id TEXT PRIMARY KEY, docks INTEGER);
CREATE TABLE IF NOT EXISTS bikes(bike_id TEXT PRIMARY KEY, station_id TEXT, ride_id TEXT, workshop INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS movements(seq INTEGER PRIMARY KEY, bike_id, ride_id, station_id, kind TEXT);
CREATE TABLE IF NOT EXISTS rides(
    ride_id TEXT PRIMARY KEY, rider_id, bike_id, from_station, to_station, state TEXT,
    minutes INTEGER, cents INTEGER, started_at TEXT, ended_at TEXT)
"""
MESSAGES = "CREATE TABLE IF NOT EXISTS notices(notice_id TEXT PRIMARY KEY, rider_id, ride_id, text)"


class Start(Body):
    rider_id: str
    station_id: str


class End(Body):
    station_id: str
    minutes: int = Field(ge=0, le=1440)


class NewWallet(Body):
    deposited_cents: int = Field(ge=0)


def build_stations(db: sqlite3.Connection) -> None:
    """Build the stations of this district at the very first start, with the bikes in them."""
    names = [f"{row}{column}" for row in "ABCD" for column in range(1, 5)]
    for place, name in enumerate(names):
        if name[0] in ROWS:
            db.execute("INSERT OR IGNORE INTO stations VALUES (?, ?)", [name, DOCKS])
            bikes = [(f"b-{place * BIKES + number:03}", name) for number in range(BIKES)]
            db.executemany("INSERT OR IGNORE INTO bikes VALUES (?, ?, NULL, 0)", bikes)


def one(db: sqlite3.Connection, table: str, key: str, value: str) -> Json:
    row = db.execute(f"SELECT * FROM {table} WHERE {key} = ?", [value]).fetchone()
    if row is None:
        raise Problem(404, "not found", f"there is no {value} in {table}")
    return dict(row)


def every(db: sqlite3.Connection, sql: str, *values: object) -> list[Json]:
    return [dict(row) for row in db.execute(sql, values)]


def station(db: sqlite3.Connection, station_id: str) -> Json:
    found = one(db, "stations", "station_id", station_id)
    bikes = db.execute("SELECT count(*) FROM bikes WHERE station_id = ?", [station_id]).fetchone()[0]
    return {**found, "bikes": bikes, "free": found["docks"] - bikes}


def take_bike(db: sqlite3.Connection, ride_id: str, station_id: str) -> str:
    one(db, "stations", "station_id", station_id)
    bike = db.execute("SELECT bike_id FROM bikes WHERE station_id = ? ORDER BY bike_id", [station_id]).fetchone()
    if bike is None:
        raise Problem(409, "no bike", f"station {station_id} is empty")
    db.execute("UPDATE bikes SET station_id = NULL, ride_id = ? WHERE bike_id = ?", [ride_id, bike["bike_id"]])
    note_movement(db, bike["bike_id"], ride_id, station_id, "taken")
    return str(bike["bike_id"])


def require_free_dock(db: sqlite3.Connection, station_id: str) -> None:
    if station(db, station_id)["free"] == 0:
        raise Problem(409, "no free dock", f"station {station_id} is full")


def return_bike(db: sqlite3.Connection, ride_id: str, station_id: str) -> None:
    require_free_dock(db, station_id)
    bike = db.execute("SELECT bike_id FROM bikes WHERE ride_id = ?", [ride_id]).fetchone()
    if bike is None:
        raise Problem(409, "ride without bike", f"ride {ride_id} has no bike to return")
    db.execute("UPDATE bikes SET station_id = ?, ride_id = NULL WHERE ride_id = ?", [station_id, ride_id])
    note_movement(db, bike["bike_id"], ride_id, station_id, "returned")


def note_movement(db: sqlite3.Connection, bike_id: str, ride_id: str, station_id: str, kind: str) -> None:
    ledger = "INSERT INTO movements(bike_id, ride_id, station_id, kind) VALUES (?, ?, ?, ?)"
    db.execute(ledger, [bike_id, ride_id, station_id, kind])


def note_start(db: sqlite3.Connection, ride_id: str, rider_id: str, bike_id: str, station_id: str) -> None:
    ride = [ride_id, rider_id, bike_id, station_id, None, "started", None, None, now(), None]
    db.execute("INSERT INTO rides VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", ride)


def note_end(db: sqlite3.Connection, ride_id: str, station_id: str, minutes: int, cents: int) -> None:
    change = "UPDATE rides SET state = 'ended', to_station = ?, minutes = ?, cents = ?, ended_at = ? WHERE ride_id = ?"
    db.execute(change, [station_id, minutes, cents, now(), ride_id])


def tell(db: sqlite3.Connection, ride_id: str, rider_id: str, text: str) -> None:
    db.execute("INSERT OR IGNORE INTO notices VALUES (?, ?, ?, ?)", [f"{ride_id}-{text}", rider_id, ride_id, text])


def price(minutes: int) -> int:
    return min(HOLD_CENTS, UNLOCK_CENTS + MINUTE_CENTS * minutes)


def now() -> str:
    return datetime.now(UTC).isoformat()
