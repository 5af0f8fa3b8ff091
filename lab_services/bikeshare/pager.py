"""Pager: keeps each alert of each notification that Alertmanager sends (its webhook, version 4). Calls nobody.

Alertmanager may send a notification again when it did not hear the answer: then the pager has rung twice.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

SCHEMA = """
    CREATE TABLE IF NOT EXISTS pages(
        page INTEGER PRIMARY KEY, received_at, status, labels, annotations, starts_at, ends_at)
"""
MOST_ALERTS = 1_000  # of one notification
MOST_PAGES = 1_000  # of one answer
Status = Literal["firing", "resolved"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,127}$")]
Texts = Annotated[dict[Name, Annotated[str, Field(max_length=4_000)]], Field(max_length=64)]


class Alert(BaseModel):
    """One alert. Later versions of Alertmanager may say more of it than this."""

    model_config = ConfigDict(extra="ignore")
    status: Status
    labels: Texts
    annotations: Texts = {}
    starts_at: datetime = Field(alias="startsAt")
    ends_at: datetime | None = Field(default=None, alias="endsAt")


class Notification(BaseModel):
    model_config = ConfigDict(extra="ignore")
    version: Literal["4"]
    alerts: list[Alert] = Field(min_length=1, max_length=MOST_ALERTS)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("pager", SCHEMA):
        yield


app = FastAPI(title="pager", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("pager"))


@app.post("/alerts", status_code=201)
def keep(notification: Notification) -> dict[str, int]:
    """Keep all alerts of a notification or none; answer when they are written down."""
    now = datetime.now(UTC).isoformat()
    rows = [_row(alert, now) for alert in notification.alerts]
    with transaction("pager") as db:
        db.executemany("INSERT INTO pages VALUES (NULL, ?, ?, ?, ?, ?, ?)", rows)
    return {"kept": len(rows)}


@app.get("/pages")
def pages(status: Status | None = None, after: Annotated[int, Query(ge=0, le=2**62)] = 0) -> dict[str, Any]:
    """Answer what came, oldest first: of one status, and after one page, if asked for."""
    wanted = "SELECT * FROM pages WHERE page > ? AND (? IS NULL OR status = ?) ORDER BY page LIMIT ?"
    with transaction("pager", "BEGIN") as db:
        return {"pages": [_page(row) for row in db.execute(wanted, [after, status, status, MOST_PAGES])]}


def _row(alert: Alert, now: str) -> tuple[str | None, ...]:
    """An alert that still fires has not ended, whatever Alertmanager says: the year 1, or when it would give up."""
    ended = alert.ends_at.isoformat() if alert.ends_at and alert.status == "resolved" else None
    texts = (json.dumps(texts, ensure_ascii=False) for texts in (alert.labels, alert.annotations))
    return (now, alert.status, *texts, alert.starts_at.isoformat(), ended)


def _page(row: Any) -> dict[str, Any]:
    return {
        "page": row["page"],
        "receivedAt": row["received_at"],
        "status": row["status"],
        "labels": json.loads(row["labels"]),
        "annotations": json.loads(row["annotations"]),
        "startsAt": row["starts_at"],
        "endsAt": row["ends_at"],
    }
