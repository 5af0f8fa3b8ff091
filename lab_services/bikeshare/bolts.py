"""Locks: obeys locks.unlock, and closes the bolt of a bike when it hears that its ride has ended.

A bolt that has opened cannot be undone: whoever sees it open rides away. So there is no command to close it.
Every opening and closing is a row of the ledger `movements`. Where the city has a gateway of devices, it moves them.
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
from lab_services.bikeshare.lock_devices import close_lock, open_lock
from lab_services.bikeshare.problems import Id, speak_problems

SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS bolts(bike_id TEXT PRIMARY KEY, ride_id TEXT);
    CREATE TABLE IF NOT EXISTS movements(seq INTEGER PRIMARY KEY, bike_id, ride_id, station_id, kind TEXT);
    CREATE UNIQUE INDEX IF NOT EXISTS one_of_a_kind ON movements(ride_id, kind)
    {commands.SCHEMA}
"""
MOVED = "INSERT INTO movements(bike_id, ride_id, station_id, kind) VALUES (?, ?, ?, ?)"
OPENED = "SELECT bike_id FROM movements WHERE ride_id = ? AND kind = 'taken'"
OPEN = "INSERT INTO bolts VALUES (?, ?) ON CONFLICT DO UPDATE SET ride_id = excluded.ride_id WHERE ride_id IS NULL"
CLOSE = "UPDATE bolts SET ride_id = NULL WHERE bike_id = ? AND ride_id = ?"


def unlock(db: sqlite3.Connection, order: Order) -> None:
    if not db.execute(OPEN, [order.bike_id, order.ride_id]).rowcount:
        raise Refused(f"the bolt of {order.bike_id} is open for another ride")
    open_lock(order.bike_id, order.ride_id)
    db.execute(MOVED, [order.bike_id, order.ride_id, None, "taken"])


def close(db: sqlite3.Connection, ride: Ended) -> None:
    opened_for = db.execute(OPENED, [ride.ride_id]).fetchone()
    if opened_for is None:
        raise Unusable(f"no bolt has opened for ride {ride.ride_id}")
    if db.execute(CLOSE, [opened_for["bike_id"], ride.ride_id]).rowcount:
        close_lock(opened_for["bike_id"], ride.ride_id)
        db.execute(MOVED, [opened_for["bike_id"], ride.ride_id, ride.station_id, "returned"])


ACTIONS = {"locks.unlock": Action(unlock)}
intake = Intake("locks", commands_to("locks", ACTIONS), ended_rides(close))
line = Line(intake.prepare, intake.work)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("locks", SCHEMA):
        async with line.opened():
            yield


def ready() -> None:
    probe("locks")
    line.client()


app = FastAPI(title="locks", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready)


@app.get("/bolts/{bike_id}")
def show_bolt(bike_id: Id) -> dict[str, Any]:
    """Say for which ride a bolt is open; one that has never opened is closed."""
    with transaction("locks", "BEGIN") as db:
        bolt = db.execute("SELECT ride_id FROM bolts WHERE bike_id = ?", [bike_id]).fetchone()
    return {"bike_id": bike_id, "open_for": bolt["ride_id"] if bolt else None}
