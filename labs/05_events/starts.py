"""Starts: riders who want to start a ride. Each start is a saga (starts_moves.py), kept in starts.db.

PUT /starts/{ride_id} with rider_id, bike_id and cents: 202, the same again 200, another wish for this ride 409.
GET /starts/{ride_id}: how far it has come; `step` is the command whose reply it waits for.
GET /starts: those that are not at an end; with ?stuck=true only those that somebody has to look at.
GET /metrics: how many of them there are, for an alarm.
PUT /patience: other values of STEP_SECONDS and START_SECONDS, until the next restart; also for what is under way.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import starts_book as book
import starts_orchestrator as orchestrator
from fastapi import FastAPI, Path, Response
from pydantic import Field
from starts_line import line
from starts_mail import Ride
from starts_moves import COMMAND, is_stuck

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Body, Problem, speak_problems

RideId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,40}$")]


class Wish(Body):
    rider_id: str = Field(pattern=ID)
    bike_id: str = Field(pattern=ID)
    cents: Annotated[int, Field(ge=0, le=100_000)]


class Patience(Body):
    step_seconds: Annotated[float, Field(ge=0)]
    start_seconds: Annotated[float, Field(ge=0)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("starts", book.SCHEMA):
        async with line.opened():
            yield


app = FastAPI(title="starts", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("starts"))


@app.put("/starts/{ride_id}", status_code=202)
def begin(ride_id: RideId, wish: Wish, response: Response) -> dict[str, Any]:
    ride = Ride(ride_id=ride_id, **wish.model_dump())
    with transaction("starts") as db:
        start = book.find(db, ride_id)
        if start is None:
            start = book.add(db, ride)
            orchestrator.enter(db, start, start.state)
        elif start.ride == ride:
            response.status_code = 200
        else:
            raise Problem(409, "another wish", f"ride {ride_id} was wished with another rider, bike or price")
    return told(start)


@app.get("/starts/{ride_id}")
def show(ride_id: RideId) -> dict[str, Any]:
    with transaction("starts", "BEGIN") as db:
        start = book.find(db, ride_id)
    if start is None:
        raise Problem(404, "not found", f"nobody has wished to start ride {ride_id}")
    return told(start)


@app.get("/starts")
def show_unfinished(stuck: bool = False) -> dict[str, Any]:
    with transaction("starts", "BEGIN") as db:
        found = book.unfinished(db)
    return {"starts": [told(start) for start in found if is_stuck(start) or not stuck]}


@app.get("/metrics")
def tell_numbers() -> Response:
    with transaction("starts", "BEGIN") as db:
        found = book.unfinished(db)
    numbers = {"starts_unfinished": len(found), "starts_stuck": sum(map(is_stuck, found))}
    return Response("".join(f"{name} {number}\n" for name, number in numbers.items()), media_type="text/plain")


@app.put("/patience")
def set_patience(wish: Patience) -> dict[str, float]:
    book.patience.update(wish.model_dump())
    return book.patience


def told(start: book.Start) -> dict[str, Any]:
    step = COMMAND.get(start.state)
    return {**start.ride.model_dump(), "state": start.state, "step": step, "stuck": is_stuck(start)}
