"""Stations: docks, and the bikes that stand in them. A city of 4 x 4 stations, A1 to D4. Calls nobody.

Every opening of a dock is a row of the ledger `movements`; a ride opens one dock to start and one to end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Id, Problem, speak_problems
from lab_services.bikeshare.station_table import DOCKS, furnish
from lab_services.bikeshare.station_table import SCHEMA as STATIONS

SCHEMA = f"""{STATIONS};
    CREATE TABLE IF NOT EXISTS movements(seq INTEGER PRIMARY KEY, bike_id, ride_id, station_id, kind TEXT);
    CREATE UNIQUE INDEX IF NOT EXISTS one_of_a_kind ON movements(ride_id, kind)
"""
STATION = """SELECT station_id, docks, count(bike_id) AS bikes, docks - count(bike_id) AS free
    FROM stations LEFT JOIN bikes USING (station_id)"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("stations", SCHEMA):
        with transaction("stations") as db:
            furnish(db)
        yield


app = FastAPI(title="stations", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=lambda: probe("stations"))


@app.get("/stations")
def list_stations() -> dict[str, Any]:
    with transaction("stations", "BEGIN") as db:
        return {"stations": [dict(row) for row in db.execute(f"{STATION} GROUP BY station_id")]}


@app.get("/stations/{station_id}")
def show_station(station_id: Id) -> dict[str, Any]:
    return find_station(station_id)


@app.get("/bikes/{bike_id}")
def show_bike(bike_id: Id) -> dict[str, Any]:
    with transaction("stations", "BEGIN") as db:
        bike = db.execute("SELECT * FROM bikes WHERE bike_id = ?", [bike_id]).fetchone()
    if bike is None:
        raise Problem(404, "unknown bike", f"there is no bike {bike_id}")
    return dict(bike) | {"workshop": bool(bike["workshop"])}


@app.put("/stations/{station_id}/taken/{ride_id}")
def take_bike(station_id: Id, ride_id: Id) -> dict[str, Any]:
    find_station(station_id)
    with transaction("stations") as db:
        if earlier := find_movement(db, station_id, ride_id, "taken"):
            return earlier
        bike = db.execute("SELECT bike_id FROM bikes WHERE station_id = ? ORDER BY bike_id", [station_id]).fetchone()
        if bike is None:
            raise Problem(409, "no bike", f"station {station_id} is empty")
        db.execute("UPDATE bikes SET station_id = NULL, ride_id = ? WHERE bike_id = ?", [ride_id, bike["bike_id"]])
        return open_dock(db, bike["bike_id"], ride_id, station_id, "taken")


@app.put("/stations/{station_id}/returned/{ride_id}")
def return_bike(station_id: Id, ride_id: Id) -> dict[str, Any]:
    find_station(station_id)
    with transaction("stations") as db:
        if earlier := find_movement(db, station_id, ride_id, "returned"):
            return earlier
        bike = db.execute("SELECT bike_id FROM bikes WHERE ride_id = ?", [ride_id]).fetchone()
        if bike is None:
            raise Problem(409, "ride without a bike", f"ride {ride_id} has no bike to return")
        count = db.execute("SELECT count(*) FROM bikes WHERE station_id = ?", [station_id]).fetchone()[0]
        if count >= DOCKS:
            raise Problem(409, "no free dock", f"station {station_id} is full")
        db.execute("UPDATE bikes SET station_id = ?, ride_id = NULL WHERE ride_id = ?", [station_id, ride_id])
        return open_dock(db, bike["bike_id"], ride_id, station_id, "returned")


def find_station(station_id: str) -> dict[str, Any]:
    with transaction("stations", "BEGIN") as db:
        row = db.execute(f"{STATION} WHERE station_id = ? GROUP BY station_id", [station_id]).fetchone()
    if row is None:
        raise Problem(404, "unknown station", f"there is no station {station_id}")
    return dict(row)


def find_movement(db: sqlite3.Connection, station_id: str, ride_id: str, kind: str) -> dict[str, Any] | None:
    """Return what this ride did before (a repeated PUT), or refuse when it did so at another station."""
    row = db.execute("SELECT * FROM movements WHERE ride_id = ? AND kind = ?", [ride_id, kind]).fetchone()
    if row and row["station_id"] != station_id:
        raise Problem(409, "another station", f"ride {ride_id} has {kind} its bike at {row['station_id']}")
    return {key: row[key] for key in ("bike_id", "ride_id", "station_id")} if row else None


def open_dock(db: sqlite3.Connection, bike_id: str, ride_id: str, station_id: str, kind: str) -> dict[str, Any]:
    insert = "INSERT INTO movements(bike_id, ride_id, station_id, kind) VALUES (?, ?, ?, ?)"
    db.execute(insert, [bike_id, ride_id, station_id, kind])
    return {"bike_id": bike_id, "ride_id": ride_id, "station_id": station_id}
