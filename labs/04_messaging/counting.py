"""Counting: how many rides of each rider have ended, for the city council. Another service on the same subject.

It hears each `ride.ended` as billing does, and neither knows of the other. GET /work tells what it has done.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any

from fastapi import FastAPI
from sharing import sharing
from tally import Tally

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import Event

KNOWN = {"ride.ended": 1}
rides: Counter[str] = Counter()
guard = Lock()
tally = Tally()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with sharing("ride.ended", KNOWN, count, tally):
        yield


app = FastAPI(title="counting", lifespan=lifespan)
answer_health(app)


@app.get("/work")
async def work() -> dict[str, Any]:
    return tally.told()


@app.get("/rides")
async def count_of_riders() -> dict[str, int]:
    return dict(rides)


def count(ride: Event) -> None:
    """Count a ride for its rider; several threads may do so at the same time."""
    with guard:
        rides[ride.data["rider_id"]] += 1
