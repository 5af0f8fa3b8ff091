"""Locks: open the dock of a bike that is reserved (locks.db). No open bolt can be undone: it is the pivot of a start.

The bike is reserved: the dock is opened, or refused, where its bolt is stuck. The rider has withdrawn: the dock is
refused, unless it is open; then the ride begins. A dock that was refused stays so: what comes later opens nothing.
"""

import os
import sqlite3

from dance_boxes import give_up, given_up
from dance_facts import Fact, Say
from dance_line import dancing
from fastapi import FastAPI

from lab_services.bikeshare.database import probe
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

STUCK_BIKES = os.environ.get("STUCK_BIKES", "").split(",")
SCHEMA = """
    CREATE TABLE IF NOT EXISTS movements(
        seq INTEGER PRIMARY KEY, bike_id TEXT, ride_id TEXT, station_id TEXT, kind TEXT)
"""


def is_open(db: sqlite3.Connection, ride_id: str) -> bool:
    return bool(db.execute("SELECT 1 FROM movements WHERE ride_id = ?", [ride_id]).fetchone())


def unlock(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    """The bike is reserved: open its dock."""
    ride = fact.ride
    if given_up(db, ride.ride_id) or is_open(db, ride.ride_id):
        return []  # nothing changes: that it is refused, or open, was said before
    if ride.bike_id in STUCK_BIKES:
        give_up(db, ride.ride_id)
        return [Say("dock.refused", f"the bolt of {ride.bike_id} is stuck")]
    movement = "INSERT INTO movements(bike_id, ride_id, kind) VALUES (?, ?, 'taken')"
    db.execute(movement, [ride.bike_id, ride.ride_id])
    return [Say("dock.opened")]


def keep_shut(db: sqlite3.Connection, fact: Fact) -> list[Say]:
    """The rider has withdrawn: refuse the dock while it is shut."""
    if is_open(db, fact.ride.ride_id) or given_up(db, fact.ride.ride_id):
        return []
    give_up(db, fact.ride.ride_id)
    return [Say("dock.refused", "the rider has withdrawn")]


REACTIONS = {"bike.reserved": unlock, "ride.withdrawn": keep_shut}
app = FastAPI(title="locks", lifespan=lambda app: dancing(SCHEMA, lambda db: None, REACTIONS))
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("locks"))
