"""Rides, the source: writes down that a ride starts, ends or is corrected, then says so to the stream RIDES.

An answer has the `position` of the event in the stream: whoever wants to see the change on the map asks for it there.
Whoever gets a 503 sends the same again: it is the same event then, with the same id. (Row and event are two writes;
an outbox makes them one.)
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Path
from map_told import RIDES
from nats.errors import Error
from pydantic import Field

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import connected, new_event, written
from lab_services.bikeshare.problems import ID, Body, Problem, speak_problems
from lab_services.bikeshare.streams import keep, token

SCHEMA = """
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, number INTEGER, rider_id TEXT, bike_id TEXT, from_station TEXT, to_station TEXT,
        state TEXT, cents INTEGER)
"""
VERSIONS = {"started": 1, "ended": 2, "corrected": 1}
NUMBERS = {"started": 1, "ended": 2, "corrected": 3}  # a ride can be corrected more than once
FACTS = ("ride_id", "number", "rider_id", "bike_id", "from_station", "to_station", "cents")
Name = Annotated[str, Field(pattern=ID)]
RideId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,56}$")]  # with the number behind it, it is the event's id


class Start(Body):
    rider_id: Name
    bike_id: Name
    from_station: Name


class End(Body):
    to_station: Name
    cents: int = Field(ge=0, le=100_000_000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", SCHEMA):
        async with connected() as app.state.client:
            yield


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("rides"))


@app.put("/rides/{ride_id}/started")
async def start_ride(ride_id: RideId, start: Start) -> dict[str, Any]:
    new = "INSERT OR IGNORE INTO rides VALUES (:ride_id, 1, :rider_id, :bike_id, :from_station, NULL, 'started', NULL)"
    return await tell("started", await asyncio.to_thread(write, ride_id, new, start.model_dump()))


@app.put("/rides/{ride_id}/ended")
async def end_ride(ride_id: RideId, end: End) -> dict[str, Any]:
    change = "number = 2, state = 'ended', to_station = :to_station, cents = :cents"
    change = f"UPDATE rides SET {change} WHERE ride_id = :ride_id AND state = 'started'"
    return await tell("ended", await asyncio.to_thread(write, ride_id, change, end.model_dump()))


@app.put("/rides/{ride_id}/corrected")
async def correct_ride(ride_id: RideId, end: End) -> dict[str, Any]:
    change = "number = number + 1, to_station = :to_station, cents = :cents"
    other = "state = 'ended' AND (to_station, cents) != (:to_station, :cents)"
    change = f"UPDATE rides SET {change} WHERE ride_id = :ride_id AND {other}"
    return await tell("corrected", await asyncio.to_thread(write, ride_id, change, end.model_dump()))


@app.get("/rides/{ride_id}")
def show_ride(ride_id: RideId) -> dict[str, Any]:
    return write(ride_id, "SELECT 1", {})


def write(ride_id: str, sql: str, values: dict[str, Any]) -> dict[str, Any]:
    """Change a ride, and return it as it is then; what does not change anything any more is no error."""
    with transaction("rides") as db:
        db.execute(sql, {**values, "ride_id": ride_id})
        row = db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone()
    if row is None:
        raise Problem(404, "unknown ride", f"there is no ride {ride_id}")
    return dict(row)


async def tell(what: str, ride: dict[str, Any]) -> dict[str, Any]:
    """Say what has happened to a ride, and return it with the position of the event."""
    if min(ride["number"], NUMBERS["corrected"]) != NUMBERS[what]:
        raise Problem(409, f"not {what}", f"ride {ride['ride_id']} is {ride['state']}, after {ride['number']} events")
    facts = {key: ride[key] for key in FACTS if ride[key] is not None}
    event_id = f"{ride['ride_id']}.{ride['number']}"
    event = new_event(f"ride.{what}", datetime.now(UTC), facts, VERSIONS[what], event_id)
    subject = f"ride.{what}.{token(ride['ride_id'])}"
    try:
        kept = await keep(app.state.client, RIDES, subject, written(event), {"Nats-Msg-Id": event.id})
    except (Error, TimeoutError) as error:
        raise Problem(503, "not told yet", f"the broker has not kept it: {type(error).__name__}") from error
    return {**ride, "position": kept.seq}
