"""Rides, as task 6.3 needs it: three replicas that do what they are ordered to, and a ledger of all attempts.

| request                 | answer                                                                                 |
| ----------------------- | -------------------------------------------------------------------------------------- |
| GET /feed               | 200: the places of bikes, ten times a second, as server-sent events, for FEED_SECONDS  |
| anything below /rides   | 200: {"replica": its number}, or what is ordered                                       |

Orders stand in the file ORDERS of the data folder, which all replicas share:

    {"wave": 1, "replicas": {"2": {"status": 503, "seconds": 0.8, "hold": true}}}

Replica 2 answers 503, after 0.8 seconds, and not before the wave is another one than when the call came. A feed that is
held says one thing and is silent from then on. A replica without an order answers 200 at once.

LEDGER: a line of JSON for each attempt when it comes, and one when it goes, with an answer or without; "call" is its
header X-Call, "at" is in seconds of the monotonic clock of this machine.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from lab_services.bikeshare.health import answer_health

FOLDER, REPLICA = Path(os.environ["DATA_DIR"]), os.environ["REPLICA"]
ORDERS, LEDGER = FOLDER / "orders.json", FOLDER / "attempts.jsonl"
LOOK_SECONDS, HOLD_SECONDS = 0.02, 20.0
EVENT_SECONDS, FEED_SECONDS = 0.1, 5.0

app = FastAPI(title="rides")
answer_health(app)


def orders() -> tuple[int, dict[str, Any]]:
    """Return the wave, and what is ordered of this replica."""
    found = json.loads(ORDERS.read_text()) if ORDERS.exists() else {"wave": 0, "replicas": {}}
    return found["wave"], found["replicas"].get(REPLICA, {})


def write_down(request: Request, came: bool) -> None:
    """Add a line to the ledger, in one write: the replicas share it."""
    call = {"method": request.method, "path": request.url.path, "call": request.headers.get("x-call", "")}
    line = {"at": time.monotonic(), "replica": int(REPLICA), "came": came, **call}
    with LEDGER.open("ab", buffering=0) as ledger:
        ledger.write(json.dumps(line).encode() + b"\n")


async def let_go(wave: int) -> None:
    """Wait until another wave is ordered, HOLD_SECONDS at most."""
    end = time.monotonic() + HOLD_SECONDS
    while orders()[0] == wave and time.monotonic() < end:
        await asyncio.sleep(LOOK_SECONDS)


@app.get("/feed")
async def feed(request: Request) -> StreamingResponse:
    """Tell where the bikes are."""
    return StreamingResponse(places(request, *orders()), media_type="text/event-stream")


async def places(request: Request, wave: int, order: dict[str, Any]) -> AsyncIterator[str]:
    """Yield an event at a time; one that is held has none after the first."""
    write_down(request, came=True)
    try:
        for place in range(int(FEED_SECONDS / EVENT_SECONDS)):
            yield f"id: {place}\nevent: places\ndata: {{}}\n\n"
            if order.get("hold"):
                await let_go(wave)
            await asyncio.sleep(EVENT_SECONDS)
    finally:
        write_down(request, came=False)


@app.api_route("/rides", methods=["GET", "PUT", "POST", "PATCH", "DELETE"])
@app.api_route("/rides/{ride_id}", methods=["GET", "PUT", "POST", "PATCH", "DELETE"])
async def ride(request: Request) -> JSONResponse:
    """Do as ordered, and write down that the attempt has come and gone."""
    wave, order = orders()
    write_down(request, came=True)
    work = asyncio.create_task(obey(wave, order))
    gone = asyncio.create_task(left(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        work.cancel()
        gone.cancel()
        write_down(request, came=False)
    return JSONResponse({"replica": int(REPLICA)}, order.get("status", 200))


async def obey(wave: int, order: dict[str, Any]) -> None:
    """Wait for as long as ordered."""
    await asyncio.sleep(order.get("seconds", 0))
    if order.get("hold"):
        await let_go(wave)


async def left(request: Request) -> None:
    """Return when the caller has hung up: nobody waits for the answer."""
    await request.body()
    while (await request.receive())["type"] != "http.disconnect":
        pass
