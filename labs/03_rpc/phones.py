"""Phones: what a rider's phone calls over HTTP. Calls bolts, all its calls on one connection, through the stub."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from error_kinds import Jammed, RemoteError
from fastapi import FastAPI
from pydantic import Field
from stub import Bolts

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems

REFUSALS = {LookupError: 404, Jammed: 409, ValueError: 422, TypeError: 422, RemoteError: 502}
TITLES = {404: "no such lock", 409: "jammed", 422: "bad input", 502: "bolts failed"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.bolts, app.state.connecting = None, asyncio.Lock()
    yield
    if app.state.bolts:
        app.state.bolts.listening.cancel()


app = FastAPI(title="phones", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app)


class Wish(Body):
    lock_id: str = Field(pattern=ID)
    rider_id: str = Field(pattern=ID)
    note: str = ""


@app.post("/openings", status_code=201)
async def open_lock(wish: Wish) -> dict[str, Any]:
    async with calling() as bolts:
        return await bolts.open_lock(wish.lock_id, wish.rider_id, wish.note)


@app.get("/locks/{lock_id}/battery")
async def show_battery(lock_id: Id) -> dict[str, Any]:
    async with calling() as bolts:
        return {"lock_id": lock_id, "percent": await bolts.battery(lock_id)}


@asynccontextmanager
async def calling() -> AsyncIterator[Bolts]:
    """Give the stub of bolts, on a new connection if the last one has ended; what it raises becomes a problem."""
    try:
        async with app.state.connecting:
            if app.state.bolts is None or app.state.bolts.listening.done():
                app.state.bolts = await Bolts.connect(os.environ["BOLTS_URL"])
        yield app.state.bolts
    except TimeoutError as error:
        raise Problem(504, "no answer", "bolts has not answered in time") from error
    except OSError as error:
        raise Problem(503, "bolts down", f"bolts cannot be reached: {type(error).__name__}") from error
    except tuple(REFUSALS) as error:
        status = next(status for kind, status in REFUSALS.items() if isinstance(error, kind))
        raise Problem(status, TITLES[status], str(error)) from error
