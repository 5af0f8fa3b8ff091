"""Rides: POST /taps starts a ride, for the rider whose token is in Authorization. What it logs is the matter of 7.3.

| where                     | what is done for a tap                                                              |
| ------------------------- | ----------------------------------------------------------------------------------- |
| the request               | log_taps.py: the wallet is asked, the city is told (NATS: log_notices.py listens)   |
| a task, behind the answer | battery_read                                                                        |
| a thread of POOL          | the driver opens the dock; then the thread is free (dock_is_free), for anybody      |

GET /docks/{bike_id} has a bug: uvicorn writes a traceback.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

import httpx
import log_dock
import log_taps
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from log_calls import WALLET_SECONDS, Lines, Tap
from log_lines import configure
from log_trace import carried, trace_of
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import connected

POOL = ThreadPoolExecutor(1)  # the driver opens one dock after the other
RIDERS: dict[str, str] = {}  # whose bike is where, by the riders' names
log = logging.getLogger("rides")
tasks: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    configure("rides")
    wallet = httpx.AsyncClient(base_url=os.environ["WALLET_URL"], timeout=WALLET_SECONDS)
    async with wallet, connected() as broker:
        Lines.wallet, Lines.broker = wallet, broker
        yield
    POOL.shutdown()


class Traced:
    """Works on each request under its trace."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with trace_of(Headers(scope=scope)):
            await self.app(scope, receive, send)


app = FastAPI(title="rides", lifespan=lifespan)
app.add_middleware(Traced)
answer_health(app)


@app.post("/taps")
async def take_tap(tap: Tap, authorization: Annotated[str, Header()] = "") -> JSONResponse:
    tap.token = authorization
    status, word = await log_taps.answer(tap)
    if status == 201:
        task = asyncio.create_task(read_battery(tap))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        POOL.submit(work, carried(partial(log_dock.open_dock, tap.ids(), tap.model_dump())))
    return JSONResponse({"result": word}, status)


@app.get("/docks/{bike_id}")
def show_dock(bike_id: str, rider: str = "") -> str:
    return RIDERS[rider]


async def read_battery(tap: Tap) -> None:
    await asyncio.sleep(0)
    log.info("battery_read", extra=tap.ids())


def work(call: Callable[[], None]) -> None:
    call()
    log.info("dock_is_free")
