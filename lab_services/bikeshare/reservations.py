"""Stations: obeys stations.reserve and stations.cancel, and docks the bike of a ride when it hears that it has ended.

A bike stands in a dock, is on a ride (from its reservation on) or in the workshop. A van takes a bike to the workshop
that was left where no dock is free. A cancel that comes before its reserve is remembered: the reserve is then refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from lab_services.bikeshare import commands
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.commands import Action, Ended, Order, Refused, commands_to, ended_rides
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.intake import Intake, Unusable
from lab_services.bikeshare.problems import Id, Problem, speak_problems
from lab_services.bikeshare.station_table import SCHEMA as STATIONS
from lab_services.bikeshare.station_table import furnish

SCHEMA = f"""{STATIONS};
    CREATE TABLE IF NOT EXISTS reservations(ride_id TEXT PRIMARY KEY, bike_id TEXT, from_station TEXT, state TEXT)
    {commands.SCHEMA}
"""
RESERVATION = "SELECT * FROM reservations WHERE ride_id = ?"
FREE = "SELECT docks > (SELECT count(*) FROM bikes WHERE station_id = ?1) FROM stations WHERE station_id = ?1"


def reserve(db: sqlite3.Connection, order: Order) -> None:
    if db.execute(RESERVATION, [order.ride_id]).fetchone():
        raise Refused(f"the reservation for ride {order.ride_id} was cancelled before it came")
    bike = db.execute("SELECT * FROM bikes WHERE bike_id = ?", [order.bike_id]).fetchone()
    if bike is None or bike["station_id"] is None:
        raise Refused(f"{order.bike_id} stands in no dock" if bike else f"there is no bike {order.bike_id}")
    new = [order.ride_id, order.bike_id, bike["station_id"]]
    db.execute("INSERT INTO reservations VALUES (?, ?, ?, 'reserved')", new)
    db.execute("UPDATE bikes SET station_id = NULL, ride_id = ? WHERE bike_id = ?", [order.ride_id, order.bike_id])


def cancel(db: sqlite3.Connection, order: Order) -> None:
    kept = db.execute(RESERVATION, [order.ride_id]).fetchone()
    if kept is None:  # Tombstone: the reserve may still be on its way
        db.execute("INSERT INTO reservations VALUES (?, ?, NULL, 'cancelled')", [order.ride_id, order.bike_id])
    elif kept["state"] == "reserved":
        end(db, order.ride_id, "cancelled", kept["from_station"])


def dock(db: sqlite3.Connection, ride: Ended) -> None:
    kept = db.execute(RESERVATION, [ride.ride_id]).fetchone()
    if kept is None or kept["state"] == "cancelled":
        raise Unusable(f"ride {ride.ride_id} has no bike to return")
    if kept["state"] == "reserved":
        end(db, ride.ride_id, "returned", ride.station_id)


def end(db: sqlite3.Connection, ride_id: str, state: str, station_id: str) -> None:
    free = db.execute(FREE, [station_id]).fetchone()
    place = [station_id, 0] if free and free[0] else [None, 1]
    db.execute("UPDATE bikes SET ride_id = NULL, station_id = ?, workshop = ? WHERE ride_id = ?", [*place, ride_id])
    db.execute("UPDATE reservations SET state = ? WHERE ride_id = ?", [state, ride_id])


ACTIONS = {"stations.reserve": Action(reserve), "stations.cancel": Action(cancel, must=True)}
intake = Intake("stations", commands_to("stations", ACTIONS), ended_rides(dock))
line = Line(intake.prepare, intake.work)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("stations", SCHEMA):
        with transaction("stations") as db:
            furnish(db)
        async with line.opened():
            yield


def ready() -> None:
    probe("stations")
    line.client()


app = FastAPI(title="stations", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready)


@app.get("/bikes/{bike_id}")
def show_bike(bike_id: Id) -> dict[str, Any]:
    with transaction("stations", "BEGIN") as db:
        bike = db.execute("SELECT * FROM bikes WHERE bike_id = ?", [bike_id]).fetchone()
    if bike is None:
        raise Problem(404, "unknown bike", f"there is no bike {bike_id}")
    return dict(bike) | {"workshop": bool(bike["workshop"])}
