"""Notices: the messages to the riders. A notice is written once under its id, however often it comes. Calls nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from pydantic import Field

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems

SCHEMA = """
    CREATE TABLE IF NOT EXISTS notices(notice_id TEXT PRIMARY KEY, rider_id, ride_id, text);
    CREATE INDEX IF NOT EXISTS notices_of_rider ON notices(rider_id)
"""


class NewNotice(Body):
    rider_id: str = Field(pattern=ID)
    ride_id: str = Field(pattern=ID)
    text: str = Field(min_length=1, max_length=500)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("notices", SCHEMA):
        yield


app = FastAPI(title="notices", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=lambda: probe("notices"))


@app.put("/notices/{notice_id}")
def write_notice(notice_id: Id, notice: NewNotice, response: Response) -> dict[str, Any]:
    row = {"notice_id": notice_id, **notice.model_dump()}
    with transaction("notices") as db:
        insert = "INSERT OR IGNORE INTO notices VALUES (:notice_id, :rider_id, :ride_id, :text)"
        response.status_code = 201 if db.execute(insert, row).rowcount else 200
        written = dict(db.execute("SELECT * FROM notices WHERE notice_id = ?", [notice_id]).fetchone())
    if written != row:
        raise Problem(409, "another notice", f"notice {notice_id} has another rider, ride or text")
    return written


@app.get("/notices")
def list_notices(rider_id: Annotated[str, Query(pattern=ID)]) -> dict[str, Any]:
    with transaction("notices", "BEGIN") as db:
        rows = db.execute("SELECT * FROM notices WHERE rider_id = ? ORDER BY rowid", [rider_id])
        return {"notices": [dict(row) for row in rows]}
