"""The rides as rows, each change of one with the fact that it tells, in one transaction."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Any

from lab_services.bikeshare import commands, outbox
from lab_services.bikeshare.commands import Order, facts
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Event, new_event
from lab_services.bikeshare.problems import Problem

SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, station_id TEXT, state TEXT, held_cents INTEGER,
        cents INTEGER, started_at TEXT, ended_at TEXT)
    {commands.SCHEMA}
"""
NEW = "INSERT OR IGNORE INTO rides(ride_id, rider_id, bike_id, held_cents, state, started_at) VALUES (?, ?, ?, ?, ?, ?)"
END = "UPDATE rides SET state = 'ended', station_id = ?, cents = ?, ended_at = ? WHERE ride_id = ?"


def start(db: sqlite3.Connection, order: Order) -> None:
    """Write down that a ride has started, and tell it."""
    now = datetime.now(UTC)
    new = [order.ride_id, order.rider_id, order.bike_id, order.cents, "started", _moment(now)]
    if db.execute(NEW, new).rowcount:
        _tell(db, "started", now, order.model_dump(exclude={"cents"}))


def note_refused(db: sqlite3.Connection, event: Event, delivered: int) -> None:
    """Write down that a ride will never start."""
    order = facts(Order, event)
    db.execute(NEW, [order.ride_id, order.rider_id, order.bike_id, order.cents, "refused", None])


def end(ride_id: str, station_id: str, cents: int) -> dict[str, Any]:
    """Return the ride that has ended, now or by the same call before, and tell it.

    Raises:
        Problem: 404 or 409, it is not under way; 422, it costs more than is held.
    """
    with transaction("rides") as db:
        ride = find(db, ride_id)
        if ride["state"] == "ended" and (ride["station_id"], ride["cents"]) == (station_id, cents):
            return ride
        if ride["state"] != "started":
            raise Problem(409, "ride not under way", f"ride {ride_id} is {ride['state']}")
        if cents > ride["held_cents"]:
            fault = f"cents: {cents} is more than the {ride['held_cents']} that are held"
            raise Problem(422, "bad input", fault, errors=[{"field": "cents"}])
        now = datetime.now(UTC)
        db.execute(END, [station_id, cents, _moment(now), ride_id])
        whose = {key: ride[key] for key in ("ride_id", "rider_id", "bike_id")}
        _tell(db, "ended", now, whose | {"station_id": station_id, "cents": cents})
        return find(db, ride_id)


def _tell(db: sqlite3.Connection, what: str, now: datetime, data: dict[str, Any]) -> None:
    event = new_event(f"ride.{what}", now, data, event_id=f"{data['ride_id']}.{what}")
    outbox.put(db, f"ride.{what}", event)


def find(db: sqlite3.Connection, ride_id: str) -> dict[str, Any]:
    """Return a ride.

    Raises:
        Problem: 404, there is none.
    """
    if row := db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone():
        return dict(row)
    raise Problem(404, "unknown ride", f"there is no ride {ride_id}")


def _moment(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
