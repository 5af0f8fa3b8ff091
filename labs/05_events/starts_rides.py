"""Rides: which rides are on their way. It takes part in a start by rides.start, the last step."""

import sqlite3

from starts_mail import Ride
from starts_participant import Participant

SCHEMA = """
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, state TEXT, cents INTEGER)
"""


def start(db: sqlite3.Connection, ride: Ride) -> str:
    db.execute("INSERT INTO rides VALUES (?, ?, ?, 'started', NULL)", [ride.ride_id, ride.rider_id, ride.bike_id])
    return ""


app = Participant("rides", SCHEMA, lambda db: None, {"rides.start": start}).app
