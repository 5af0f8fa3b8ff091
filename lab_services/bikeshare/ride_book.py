"""Rides: obeys rides.start, ends rides by PUT, and tells both into the stream RIDES. It hears ride.refused there.

What is told is a row of the outbox, written with the row of the ride: an ended ride is paid, and its bike docked, by
whoever hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path
from pydantic import Field

from lab_services.bikeshare import outbox, ride_table
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.commands import RIDE_ID, Action, commands_to
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.intake import Intake, Source
from lab_services.bikeshare.problems import Body, speak_problems
from lab_services.bikeshare.streams import RIDES

RideId = Annotated[str, Path(pattern=RIDE_ID)]


class End(Body):
    station_id: str = Field(pattern=r"^[A-D][1-4]$")
    cents: int = Field(ge=0, le=100_000_000)


intake = Intake(
    "rides",
    commands_to("rides", {"rides.start": Action(ride_table.start, must=True)}),
    Source(RIDES, "ride.refused.*", {"ride.refused": 1}, ride_table.note_refused),
)
line = Line(intake.prepare, intake.work)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", ride_table.SCHEMA):
        async with line.opened():
            yield


def ready() -> None:
    probe("rides")
    line.client()


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready)


@app.put("/rides/{ride_id}/ended")
async def end_ride(ride_id: RideId, wish: End) -> dict[str, Any]:
    """Answer when the end is written down; without a broker too, and then it is told later."""
    ride = await asyncio.to_thread(ride_table.end, ride_id, wish.station_id, wish.cents)
    await outbox.wake(line, "rides")
    return ride


@app.get("/rides/{ride_id}")
def show_ride(ride_id: RideId) -> dict[str, Any]:
    with transaction("rides", "BEGIN") as db:
        return ride_table.find(db, ride_id)
