"""What a plan is: its fields, its one table, and its bytes on the wire."""

import json
import sqlite3
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from lab_services.bikeshare.problems import ID, Body

Json = dict[str, Any]
Name = Annotated[str, Field(pattern=ID)]
PLANS = """CREATE TABLE IF NOT EXISTS plans(
    plan_id TEXT PRIMARY KEY, title TEXT, from_station TEXT, stops TEXT, riders TEXT, note TEXT, updated_at TEXT)"""
WRITE = "INSERT OR REPLACE INTO plans VALUES (:plan_id, :title, :from_station, :stops, :riders, :note, :updated_at)"


class Plan(Body):
    title: str = Field(min_length=1, max_length=80)
    from_station: Name
    stops: list[Name] = Field(max_length=20)  # in the order of the tour
    riders: list[Name] = Field(max_length=20)
    note: str = Field(default="", max_length=500)


def find_plan(db: sqlite3.Connection, plan_id: str) -> Json | None:
    """Return a plan as riders see it, or None."""
    row = db.execute("SELECT * FROM plans WHERE plan_id = ?", [plan_id]).fetchone()
    return {**row, "stops": json.loads(row["stops"]), "riders": json.loads(row["riders"])} if row else None


def write_plan(db: sqlite3.Connection, plan_id: str, wish: Plan | None) -> Json | None:
    """Create or replace a plan, or remove it when there is no wish; return it as it is now."""
    if wish is None:
        db.execute("DELETE FROM plans WHERE plan_id = ?", [plan_id])
    else:
        lists = {"stops": json.dumps(wish.stops), "riders": json.dumps(wish.riders)}
        db.execute(WRITE, {"plan_id": plan_id, **wish.model_dump(), **lists, "updated_at": now()})
    return find_plan(db, plan_id)


def as_bytes(plan: Json) -> bytes:
    """Return the representation of a plan: the bytes that a GET of it sends."""
    return json.dumps(plan).encode()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
