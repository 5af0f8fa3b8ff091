"""Rides: PUT /rides/{ride_id}/started, .../noted and .../ended write the steps of a ride; the city is told of each.

201: the step is written now. 200: it was written before (the same PUT again). 409: it is not possible. Nobody waits for
the broker: what is written is in the outbox, and the relay tells it (outbox.py, relay.py).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import outbox
from fastapi import FastAPI, Path, Response
from outbox_book import BOOK, SCHEMA, Facts, Step
from outbox_line import CityLine

from lab_services.bikeshare.database import opened, probe
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

RideId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,50}$")]
line = CityLine()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened(BOOK, SCHEMA):
        async with line.opened():
            yield


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe(BOOK))


@app.put("/rides/{ride_id}/{what}", status_code=201)
async def take_step(
    ride_id: RideId, what: Literal["started", "noted", "ended"], facts: Facts, response: Response
) -> dict[str, Any]:
    step = Step(ride_id=ride_id, what=what, **facts.model_dump())
    if not await outbox.record(step, line):
        response.status_code = 200
    return {"ride_id": ride_id, "what": what}
