"""Waiting: three ways to wait for a slow neighbour, and a quick route that shows who pays. Calls nobody."""

import asyncio
import time

from fastapi import FastAPI

from lab_services.bikeshare.health import answer_health

SLOW_SECONDS = 0.3  # the neighbour's answer takes so long

app = FastAPI(title="waiting")
answer_health(app)


@app.get("/quick")
async def quick() -> dict[str, str]:
    return {"tariff": "standard"}


@app.get("/blocking")
async def blocking() -> dict[str, str]:
    time.sleep(SLOW_SECONDS)  # inside `async def`: the event loop stands still, and everybody with it
    return {"waited": "in the event loop"}


@app.get("/threaded")
def threaded() -> dict[str, str]:
    time.sleep(SLOW_SECONDS)  # a plain `def` runs in a thread of the pool (40 of them)
    return {"waited": "in a thread"}


@app.get("/awaiting")
async def awaiting() -> dict[str, str]:
    await asyncio.sleep(SLOW_SECONDS)  # what an asynchronous client does: the loop serves others meanwhile
    return {"waited": "aside"}
