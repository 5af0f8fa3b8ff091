"""Tariffs: what a ride costs, in numbered versions. GET /tariff is the one of today, GET /tariffs/{number} any of them,
which never changes again; PUT /tariff makes a new one. GET /asked counts the questions. Calls nobody.

With MAX_AGE_SECONDS it tells caches how long today's tariff may be kept; ANSWER_SECONDS makes it slow.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Lock
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Response
from pydantic import Field

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Body, Problem, speak_problems

Json = dict[str, Any]
Bike = Literal["city", "cargo"]
MAX_AGE_SECONDS = os.environ.get("MAX_AGE_SECONDS", "")
ANSWER_SECONDS = float(os.environ.get("ANSWER_SECONDS", "0"))
CARGO = 2  # a cargo bike costs twice as much a minute
TARIFFS = """CREATE TABLE IF NOT EXISTS tariffs(tariff INTEGER PRIMARY KEY, unlock_cents, minute_cents, cap_cents);
    INSERT OR IGNORE INTO tariffs VALUES (7, 100, 20, 2000)"""
counting = Lock()
asked = {"today": 0, "numbered": 0}


class NewTariff(Body):
    unlock_cents: int = Field(ge=0, le=2000)
    minute_cents: int = Field(ge=0, le=2000)
    cap_cents: int = Field(ge=0, le=2000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("tariffs", TARIFFS):
        yield


app = FastAPI(title="tariffs", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("tariffs"))


@app.get("/tariff")
def todays_tariff(response: Response, bike: Bike = "city") -> Json:
    count("today")
    if MAX_AGE_SECONDS:
        response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    return find("SELECT * FROM tariffs ORDER BY tariff DESC LIMIT 1", bike)


@app.get("/tariffs/{number}")
def numbered_tariff(number: Annotated[int, Path(ge=1, le=9999)], bike: Bike = "city") -> Json:
    count("numbered")
    return find("SELECT * FROM tariffs WHERE tariff = ?", bike, number)


@app.put("/tariff")
def change_tariff(wish: NewTariff) -> Json:
    """Make a new tariff the one of today; the same prices again make no new one."""
    with transaction("tariffs") as db:
        now = dict(db.execute("SELECT * FROM tariffs ORDER BY tariff DESC LIMIT 1").fetchone())
        if now != {"tariff": now["tariff"], **wish.model_dump()}:
            insert = "INSERT INTO tariffs VALUES (NULL, :unlock_cents, :minute_cents, :cap_cents)"
            now = {"tariff": db.execute(insert, wish.model_dump()).lastrowid, **wish.model_dump()}
    return now


@app.get("/asked")
def how_often_asked() -> dict[str, int]:
    return asked


def count(kind: str) -> None:
    with counting:
        asked[kind] += 1
    time.sleep(ANSWER_SECONDS)


def find(query: str, bike: str, *values: int) -> Json:
    with transaction("tariffs", "BEGIN") as db:
        row = db.execute(query, values).fetchone()
    if row is None:
        raise Problem(404, "unknown tariff", f"there is no tariff {values[0]} yet")
    tariff = {**dict(row), "bike": bike}
    return {**tariff, "minute_cents": tariff["minute_cents"] * (CARGO if bike == "cargo" else 1)}
