"""Rides: what riders want, and what has become of it (rides.db). Nobody else begins a start, and nobody leads it.

PUT /rides/{ride_id} with rider_id, bike_id and cents: 202, the same again 200, another wish for this ride 409.
PUT /rides/{ride_id}/withdrawn: the rider goes away: 202; the ride is refused, unless its dock is open by then.
GET /rides/{ride_id}: its state: wanted, started or refused, with the reason.

The dock is opened: the ride is started. The money is refused or released: the ride is refused.
"""

import sqlite3
from typing import Annotated, Any

from dance_boxes import write_down
from dance_facts import Fact, Ride, Say
from dance_line import dancing
from fastapi import FastAPI, Response
from pydantic import Field

from lab_services.bikeshare.database import probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems

SCHEMA = """
    CREATE TABLE IF NOT EXISTS rides(ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, state TEXT, cents INTEGER,
        price INTEGER, reason TEXT, withdrawn INTEGER DEFAULT 0)
"""
FIND = "SELECT * FROM rides WHERE ride_id = ?"


class Wish(Body):
    rider_id: str = Field(pattern=ID)
    bike_id: str = Field(pattern=ID)
    cents: Annotated[int, Field(ge=1, le=100_000)]


def start(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    return settle(db, fact, "started")


def refuse(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    return settle(db, fact, "refused")


def settle(db: sqlite3.Connection, fact: Fact, state: str) -> list[Say]:
    """Say what has become of a ride that is wanted; of one that somebody else has wanted, note it."""
    note(db, fact.ride)
    change = "UPDATE rides SET state = ?, reason = ? WHERE ride_id = ? AND state = 'wanted'"
    changed = db.execute(change, [state, fact.ride.reason, fact.ride.ride_id]).rowcount
    return [Say(f"ride.{state}", fact.ride.reason)] if changed else []


def note(db: sqlite3.Connection, ride: Ride) -> bool:
    """Note a ride that is wanted, and tell whether it is new."""
    new = "INSERT OR IGNORE INTO rides(ride_id, rider_id, bike_id, state, price) VALUES (?, ?, ?, 'wanted', ?)"
    return bool(db.execute(new, [ride.ride_id, ride.rider_id, ride.bike_id, ride.cents]).rowcount)


REACTIONS = {"dock.opened": start, "money.refused": refuse, "money.released": refuse}
app = FastAPI(title="rides", lifespan=lambda app: dancing(SCHEMA, lambda db: None, REACTIONS))
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("rides"))


@app.put("/rides/{ride_id}", status_code=202)
def want(ride_id: Id, wish: Wish, response: Response) -> dict[str, Any]:
    ride = Ride(ride_id=ride_id, **wish.model_dump())
    with transaction("rides") as db:
        if note(db, ride):
            write_down(db, "ride.wanted", ride)
            return told(find(db, ride_id))
        row = find(db, ride_id)
    if wished(row) != ride:
        raise Problem(409, "another wish", f"ride {ride_id} was wanted with another rider, bike or price")
    response.status_code = 200
    return told(row)


@app.put("/rides/{ride_id}/withdrawn", status_code=202)
def withdraw(ride_id: Id) -> dict[str, Any]:
    with transaction("rides") as db:
        row = find(db, ride_id)
        if db.execute("UPDATE rides SET withdrawn = 1 WHERE ride_id = ? AND NOT withdrawn", [ride_id]).rowcount:
            write_down(db, "ride.withdrawn", wished(row))
    return told(row)


@app.get("/rides/{ride_id}")
def show(ride_id: Id) -> dict[str, Any]:
    with transaction("rides", "BEGIN") as db:
        return told(find(db, ride_id))


def find(db: sqlite3.Connection, ride_id: str) -> sqlite3.Row:
    row = db.execute(FIND, [ride_id]).fetchone()
    if row is None:
        raise Problem(404, "not found", f"nobody has wanted ride {ride_id}")
    return row


def wished(row: sqlite3.Row) -> Ride:
    return Ride(ride_id=row["ride_id"], rider_id=row["rider_id"], bike_id=row["bike_id"], cents=row["price"])


def told(row: sqlite3.Row) -> dict[str, Any]:
    return {**wished(row).model_dump(), "state": row["state"], "reason": row["reason"]}
