"""Starts: the orchestrator of "start a ride". Says commands, hears replies, and leads each start to its end.

hold the money, reserve the bike, unlock it, start the ride; whatever fails before the lock opens is undone in reverse
(saga_steps.py). The state of each start is written before its next command is said (saga_table.py).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path, Response
from nats.aio.client import Client
from pydantic import Field

from lab_services.bikeshare import outbox, saga_table
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.commands import RIDE_ID, Order
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.intake import Intake, Source, side_by_side
from lab_services.bikeshare.problems import ID, Body, speak_problems
from lab_services.bikeshare.streams import REPLIES

LOOK_SECONDS = float(os.environ.get("LOOK_SECONDS", "0.2"))  # between two looks for answers that are overdue
RideId = Annotated[str, Path(pattern=RIDE_ID)]
intake = Intake("starts", Source(REPLIES, "reply.*.*.*", saga_table.KNOWN, saga_table.hear))


class Start(Body):
    rider_id: str = Field(pattern=ID)
    bike_id: str = Field(pattern=ID)
    cents: int = Field(ge=0, le=100_000_000)


async def prepare(client: Client) -> None:
    await intake.prepare(client)
    await asyncio.to_thread(saga_table.wait_anew)


async def work(client: Client, over: asyncio.Event) -> None:
    await side_by_side(over, intake.work(client, over), watch(client, over))


async def watch(client: Client, over: asyncio.Event) -> None:
    """Look for overdue answers, while there is a broker: without one nobody can answer."""
    away = False
    while not over.is_set():
        if not client.is_connected:
            away = True
        elif away:
            await asyncio.to_thread(saga_table.wait_anew)
            away = False
        elif await asyncio.to_thread(saga_table.look):
            await outbox.wake(line, "starts")
        await asyncio.sleep(LOOK_SECONDS)


line = Line(prepare, work)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("starts", saga_table.SCHEMA):
        async with line.opened():
            yield


def ready() -> None:
    probe("starts")
    line.client()


app = FastAPI(title="starts", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready)


@app.put("/starts/{ride_id}", status_code=202)
async def begin(ride_id: RideId, wish: Start, response: Response) -> dict[str, Any]:
    """Answer when the start is written down; without a broker too, and then it goes on later."""
    start, new = await asyncio.to_thread(saga_table.begin, Order(ride_id=ride_id, **wish.model_dump()))
    await outbox.wake(line, "starts")
    response.status_code = 202 if new else 200
    return start


@app.get("/starts/{ride_id}")
def show(ride_id: RideId) -> dict[str, Any]:
    with transaction("starts", "BEGIN") as db:
        return saga_table.find(db, ride_id)


@app.get("/starts")
def list_starts(stuck: bool | None = None, under_way: bool | None = None) -> dict[str, Any]:
    return {"starts": saga_table.listed(stuck, under_way)}
