"""Citymap: shows where the bikes are, who rides, and what rides have cost. It writes nothing but its own citymap.db.

All it knows is what the stream RIDES tells (read model: queries are answered here, commands elsewhere). GET /map,
/rides/{ride_id} and /set_aside show the picture that is served; POST /rebuild draws it anew (map_pictures.py).
`position` is the number of the last message that is in the picture. `GET /map?at_least=17` waits for message 17.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import map_notices
import map_pictures
import map_tables as tables
import map_told
from fastapi import FastAPI, Query
from map_projection import bring
from map_told import FOLLOWERS, Follower, Told
from nats.errors import Error

from lab_services.bikeshare import streams
from lab_services.bikeshare.database import opened, probe
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import connected
from lab_services.bikeshare.problems import Id, Problem, speak_problems

REBUILD_SECONDS = float(os.environ.get("REBUILD_SECONDS", "600"))
Position = Annotated[int, Query(ge=0, le=2**53)]
rebuilding = asyncio.Lock()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("citymap", tables.SCHEMA):
        tables.furnish()
        async with connected() as client:
            app.state.broker = client.jetstream(timeout=map_told.BROKER_SECONDS)
            await streams.make(client, map_told.RIDES)
            await map_notices.begin(app.state.broker)
            FOLLOWERS["map"] = Follower(lambda: asyncio.to_thread(tables.position), draw)
            FOLLOWERS["notices"] = Follower(map_notices.position, map_notices.handle, map_notices.SUBJECT)
            tasks = [asyncio.create_task(each.follow(app.state.broker)) for each in FOLLOWERS.values()]
            yield
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


app = FastAPI(title="citymap", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("citymap"))


async def draw(batch: list[Told]) -> None:
    await asyncio.to_thread(bring, batch)


@app.get("/map")
async def show_map(at_least: Position = 0) -> dict[str, Any]:
    if not await map_pictures.reached(at_least):
        position = await asyncio.to_thread(tables.position)
        raise Problem(503, "not there yet", f"the map is at {position}, {at_least} is asked for", position=position)
    return await asyncio.to_thread(tables.city_map)


@app.get("/rides/{ride_id}")
def show_ride(ride_id: Id) -> dict[str, Any]:
    if (ride := tables.one_ride(ride_id)) is None:
        raise Problem(404, "unknown ride", f"the map shows no ride {ride_id}")
    return ride


@app.get("/set_aside")
def show_set_aside() -> list[dict[str, Any]]:
    return tables.aside()


@app.post("/rebuild")
async def rebuild() -> dict[str, Any]:
    if rebuilding.locked():
        raise Problem(409, "already under way", "one rebuild at a time")
    try:
        async with rebuilding, asyncio.timeout(REBUILD_SECONDS):
            await map_pictures.rebuild(app.state.broker)
    except map_told.Incomplete as error:
        raise Problem(409, "history is incomplete", f"the map stays as it is: {error}") from error
    except (Error, TimeoutError) as error:
        raise Problem(503, "not rebuilt", f"the map stays as it is: {type(error).__name__} at the broker") from error
    return await asyncio.to_thread(tables.city_map)
