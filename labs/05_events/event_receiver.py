"""A service to which a handler hands its events: notices, citymap and maintenance are this program, three times.

| request      | answer                                                                                        |
| ------------ | --------------------------------------------------------------------------------------------- |
| POST /events | 200: {"says": [...]}, new events on account of this one; an event that comes again is one row |
| GET /events  | 200: the newest 100 events that it has, oldest first, with how many times each has come       |

SAYS tells which type it says on account of which: "ride.ended:bike.worn".
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from event_form import CityEvent
from fastapi import FastAPI

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

SAYS = dict(pair.split(":") for pair in os.environ.get("SAYS", "").split(",") if pair)
MOST_LISTED = 100
SCHEMA = "CREATE TABLE IF NOT EXISTS received(event_id TEXT PRIMARY KEY, type TEXT, subject TEXT, times INTEGER)"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("received", SCHEMA):
        yield


app = FastAPI(title="event_receiver", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("received"))


@app.post("/events")
def receive(event: CityEvent) -> dict[str, Any]:
    with transaction("received") as db:
        sql = "INSERT INTO received VALUES (?, ?, ?, 1) ON CONFLICT(event_id) DO UPDATE SET times = times + 1"
        db.execute(sql, [event.id, event.type, event.subject])
    return {"says": [{"type": SAYS[event.type]}] if event.type in SAYS else []}


@app.get("/events")
def received() -> list[dict[str, Any]]:
    with transaction("received", "BEGIN") as db:
        rows = db.execute("SELECT * FROM received ORDER BY rowid DESC LIMIT ?", [MOST_LISTED]).fetchall()
    return [dict(row) for row in reversed(rows)]
