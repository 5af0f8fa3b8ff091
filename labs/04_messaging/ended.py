"""Rides, the part that ends them: PUT /rides/{ride_id}/ended writes the row and tells the city, on `ride.ended`.

`cents` is what the display of the bike has shown. Whoever gets a 503 sends the same again: it is the same event then,
with the same id, and the stream RIDES keeps it once.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import streams
from fastapi import FastAPI
from nats.errors import Error
from pydantic import AwareDatetime, Field

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import connected, new_event, written
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems

TABLES = """
    CREATE TABLE IF NOT EXISTS rides(ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, state TEXT, cents INTEGER)
"""
UNLOCK_CENTS, MINUTE_CENTS, MOST_CENTS = 100, 20, 2000
Name = Annotated[str, Field(pattern=ID)]


class End(Body):
    rider_id: Name
    bike_id: Name
    minutes: Annotated[int, Field(ge=0, le=1440)]
    ended_at: Annotated[AwareDatetime, Field(strict=False)]  # by the clock of the bike: it may tell us days later


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", TABLES):
        async with connected() as client:
            app.state.broker = client.jetstream(timeout=streams.BROKER_SECONDS)
            await streams.keep(app.state.broker)
            yield


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("rides"))


@app.put("/rides/{ride_id}/ended")
async def end_ride(ride_id: Id, end: End) -> dict[str, Any]:
    ride = {"ride_id": ride_id, "rider_id": end.rider_id, "bike_id": end.bike_id, "minutes": end.minutes}
    cents = min(UNLOCK_CENTS + MINUTE_CENTS * end.minutes, MOST_CENTS)
    await asyncio.to_thread(note, ride, cents)
    event_id = uuid5(NAMESPACE_URL, f"ride.ended/{ride_id}").hex
    event = new_event("ride.ended", end.ended_at, ride, event_id=event_id)
    try:
        await app.state.broker.publish("ride.ended", written(event), headers={"Nats-Msg-Id": event.id})
    except (Error, TimeoutError, json.JSONDecodeError) as error:
        raise Problem(503, "not told yet", f"the broker has not kept it: {type(error).__name__}") from error
    return {"ride_id": ride_id, "cents": cents}


def note(ride: dict[str, Any], cents: int) -> None:
    """Write the row of a ride that has ended; one that is there stays as it is."""
    row = [ride["ride_id"], ride["rider_id"], ride["bike_id"], "ended", cents]
    with transaction("rides") as db:
        db.execute("INSERT OR IGNORE INTO rides VALUES (?, ?, ?, ?, ?)", row)
