"""Rides: starts and ends rides. Calls wallet, stations, pricing; rides_relay.py takes care of notices and undoing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import FastAPI, Query, Response
from pydantic import Field

from lab_services.bikeshare import carried, rides_relay
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems
from lab_services.bikeshare.rides_relay import call, moment, refuse, relay

HOLD_CENTS = 2000
RIDES = """
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, rider_id, bike_id, from_station, to_station, state TEXT,
        minutes INTEGER, cents INTEGER, started_at TEXT, ended_at TEXT);
    CREATE INDEX IF NOT EXISTS rides_in_order ON rides(state, started_at, ride_id)
"""


class Start(Body):
    rider_id: str = Field(pattern=ID)
    station_id: str = Field(pattern=ID)


class End(Body):
    station_id: str = Field(pattern=ID)
    minutes: int = Field(ge=0, le=1440)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", RIDES + rides_relay.SCHEMA), relay():
        yield


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=lambda: probe("rides"))


@app.post("/rides", status_code=201)
def start_ride(wish: Start, response: Response) -> dict[str, Any]:
    ride_id = f"r-{uuid4().hex[:12]}"
    with transaction("rides") as db:
        insert = "INSERT INTO rides(ride_id, rider_id, from_station, state, started_at) VALUES (?, ?, ?, 'accepted', ?)"
        db.execute(insert, [ride_id, wish.rider_id, wish.station_id, moment()])
    try:
        call("wallet", "PUT", f"/holds/{ride_id}", {"rider_id": wish.rider_id, "cents": HOLD_CENTS})
        bike = call("stations", "PUT", f"/stations/{wish.station_id}/taken/{ride_id}")
    except Problem as problem:
        refuse(ride_id, problem)
        raise
    response.headers["Location"] = f"/rides/{ride_id}"
    ride = {"ride_id": ride_id, "bike_id": bike.get("bike_id")}
    return record("state = 'started', bike_id = :bike_id", "accepted", ride, f"started at {wish.station_id}")


@app.post("/rides/{ride_id}/end")
def end_ride(ride_id: Id, wish: End) -> dict[str, Any]:
    ride = show_ride(ride_id)
    if ride["state"] == "ended":
        return ride
    if ride["state"] != "started":
        raise Problem(409, "ride not started", f"ride {ride_id} is {ride['state']}")
    cents = call("pricing", "GET", f"/quote?minutes={wish.minutes}")["cents"]
    call("stations", "PUT", f"/stations/{wish.station_id}/returned/{ride_id}")
    call("wallet", "PUT", f"/holds/{ride_id}/captured", {"cents": cents})
    end = {"ride_id": ride_id, "to_station": wish.station_id, "minutes": wish.minutes, "cents": cents, "at": moment()}
    change = "state = 'ended', to_station = :to_station, minutes = :minutes, cents = :cents, ended_at = :at"
    return record(change, "started", end, f"ended at {wish.station_id} for {cents} cents")


@app.get("/rides/{ride_id}")
def show_ride(ride_id: Id) -> dict[str, Any]:
    with transaction("rides", "BEGIN") as db:
        row = db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone()
    if row is None:
        raise Problem(404, "unknown ride", f"there is no ride {ride_id}")
    return dict(row)


@app.get("/rides")
def list_rides(
    state: Literal["accepted", "started", "ended", "refused"] | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> dict[str, Any]:
    query = "SELECT * FROM rides WHERE :state IS NULL OR state = :state ORDER BY started_at, ride_id LIMIT :limit"
    with transaction("rides", "BEGIN") as db:
        return {"rides": [dict(row) for row in db.execute(query, {"state": state, "limit": limit})]}


def record(change: str, before: str, ride: dict[str, Any], news: str) -> dict[str, Any]:
    """Move a ride to its next state and put the notice of it into the outbox, in one transaction."""
    ride_id = ride["ride_id"]
    with transaction("rides") as db:
        moved = db.execute(f"UPDATE rides SET {change} WHERE ride_id = :ride_id AND state = '{before}'", ride).rowcount
        if moved:
            notice = "INSERT INTO pending_notices SELECT ?, rider_id, ride_id, ? FROM rides WHERE ride_id = ?"
            notice_id = f"{ride_id}-{news.split()[0]}"
            db.execute(notice, [notice_id, f"Your ride {ride_id} has {news}.", ride_id])
            carried.remember(db, notice_id)
    return show_ride(ride_id)
