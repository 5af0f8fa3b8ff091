"""City map: where the bikes are, a projection of the stream RIDES. Anybody may ask it, and it asks nobody.

Its tables (projection.py) hold how far it has read (map_reader.py): after kill -9 it goes on behind that place.
POST /rebuilds makes the map anew from the first event on, while the one before is shown and goes on living.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path

from lab_services.bikeshare import map_reader, projection
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.commands import RIDE_ID
from lab_services.bikeshare.database import opened
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

RideId = Annotated[str, Path(pattern=RIDE_ID)]
line = Line(map_reader.prepare, map_reader.work)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("citymap", projection.SCHEMA):
        async with line.opened():
            yield


app = FastAPI(title="citymap", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=projection.require_map)  # it needs no broker to show one; the map says how far it is


@app.get("/map")
def show_map() -> dict[str, Any]:
    return projection.whole_map()


@app.get("/map/{ride_id}")
def show_ride(ride_id: RideId) -> dict[str, Any]:
    return projection.ride_on_map(ride_id)


@app.post("/rebuilds", status_code=202)
def rebuild() -> dict[str, Any]:
    """Answer when the rebuild is ordered; the map says its generation, and which one is on its way."""
    return {"generation": projection.begin_rebuild()}
