"""Rides: a rider takes a bike out of its dock, and asks later where it is. Calls docks; keeps the rides in a database.

POST /rides: 201; 409 when the bike is not there, 503 when its dock is jammed, 504 when it is silent for DOCK_SECONDS.
GET /rides/{ride_id}: 200 or 404. GET /rides/{ride_id}/track: two lines, the second when the dock has answered.
How riders are served is told at GET /metrics: red_middleware.py looks at every request, red_metrics.py counts them.
"""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from red_metrics import answer
from red_middleware import Measured

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health

DOCK_SECONDS = float(os.environ.get("DOCK_SECONDS", "5"))
SCHEMA = "CREATE TABLE IF NOT EXISTS rides (ride_id TEXT PRIMARY KEY, bike_id TEXT, rider_id TEXT, dock TEXT)"


class Wish(BaseModel):
    bike_id: str
    rider_id: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", SCHEMA):
        async with httpx.AsyncClient(base_url=os.environ["DOCKS_URL"], timeout=DOCK_SECONDS) as docks:
            app.state.docks = docks
            yield


app = FastAPI(title="rides", lifespan=lifespan)
app.add_middleware(Measured)
app.add_api_route("/metrics", answer, include_in_schema=False)
answer_health(app, ready=lambda: probe("rides"))


@app.post("/rides", status_code=201)
async def start_ride(wish: Wish) -> Response:
    try:
        opening = await app.state.docks.post(f"/bikes/{wish.bike_id}/open")
    except httpx.TimeoutException:
        return JSONResponse({"detail": "the dock is silent"}, 504)
    if opening.status_code == 409:
        raise HTTPException(409, "the bike is not there")
    if opening.status_code >= 500:
        return JSONResponse({"detail": "the dock is jammed"}, 503)
    ride = {"ride_id": uuid.uuid4().hex, **wish.model_dump(), "dock": opening.json()["dock"]}
    await asyncio.to_thread(keep, ride)
    return JSONResponse(ride, 201)


@app.get("/rides/{ride_id}")
async def read_ride(ride_id: str) -> dict[str, Any]:
    return await asyncio.to_thread(find, ride_id)


@app.get("/rides/{ride_id}/track")
async def read_track(ride_id: str) -> StreamingResponse:
    ride = await asyncio.to_thread(find, ride_id)

    async def lines() -> AsyncIterator[str]:
        yield json.dumps({"dock": ride["dock"]}) + "\n"
        now = await app.state.docks.get(f"/bikes/{ride['bike_id']}")
        yield json.dumps({"dock": now.json()["dock"]}) + "\n"

    return StreamingResponse(lines(), media_type="application/jsonl")


def keep(ride: dict[str, Any]) -> None:
    with transaction("rides") as db:
        db.execute("INSERT INTO rides VALUES (:ride_id, :bike_id, :rider_id, :dock)", ride)


def find(ride_id: str) -> dict[str, Any]:
    with transaction("rides", "BEGIN") as db:
        found = db.execute("SELECT * FROM rides WHERE ride_id = ?", (ride_id,)).fetchone()
    if found is None:
        raise HTTPException(404, "there is no such ride")
    return dict(found)
