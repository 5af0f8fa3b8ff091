"""Docks: the stations, which keep a bike for a ride, and the locks of their docks, which open and know nothing of it.

A bolt opens for whoever is told to open it, as long as there is a bike behind it. What is open stays open: the bike is
the rider's from then on. A cancel may come before its reserve: that is remembered, and the reserve is then refused.
"""

import os
import sqlite3

from starts_mail import Ride
from starts_participant import Participant

BIKES = int(os.environ.get("BIKES", "48"))  # b-01, b-02, ...
DOCKS = 8  # of each station
SCHEMA = """
    CREATE TABLE IF NOT EXISTS stations(station_id TEXT PRIMARY KEY, docks INTEGER);
    CREATE TABLE IF NOT EXISTS bikes(
        bike_id TEXT PRIMARY KEY, station_id TEXT, ride_id TEXT, workshop INTEGER DEFAULT 0);
    CREATE TABLE IF NOT EXISTS movements(
        seq INTEGER PRIMARY KEY, bike_id TEXT, ride_id TEXT, station_id TEXT, kind TEXT);
    CREATE TABLE IF NOT EXISTS reservations(bike_id TEXT PRIMARY KEY, ride_id TEXT UNIQUE);
    CREATE TABLE IF NOT EXISTS cancelled(ride_id TEXT PRIMARY KEY)
"""
OUT = "UPDATE bikes SET station_id = NULL, ride_id = ? WHERE bike_id = ?"


def furnish(db: sqlite3.Connection) -> None:
    bikes = [(f"b-{number + 1:02}", f"A{number // DOCKS + 1}") for number in range(BIKES)]
    db.executemany("INSERT OR IGNORE INTO stations VALUES (?, ?)", [(place, DOCKS) for _, place in bikes])
    db.executemany("INSERT OR IGNORE INTO bikes(bike_id, station_id) VALUES (?, ?)", bikes)


def place_of(db: sqlite3.Connection, bike_id: str) -> str | None:
    """Return the station of a bike; None when it stands at none."""
    bike = db.execute("SELECT station_id FROM bikes WHERE bike_id = ?", [bike_id]).fetchone()
    return bike and bike["station_id"]


def reserve(db: sqlite3.Connection, ride: Ride) -> str:
    if db.execute("SELECT 1 FROM cancelled WHERE ride_id = ?", [ride.ride_id]).fetchone():
        return "it was cancelled before it came"
    if place_of(db, ride.bike_id) is None:
        return f"{ride.bike_id} stands at no station"
    new = db.execute("INSERT OR IGNORE INTO reservations VALUES (?, ?)", [ride.bike_id, ride.ride_id])
    return "" if new.rowcount else f"{ride.bike_id} is kept for somebody else"


def cancel(db: sqlite3.Connection, ride: Ride) -> str:
    db.execute("DELETE FROM reservations WHERE ride_id = ?", [ride.ride_id])
    db.execute("INSERT OR IGNORE INTO cancelled VALUES (?)", [ride.ride_id])
    return ""


def unlock(db: sqlite3.Connection, ride: Ride) -> str:
    place = place_of(db, ride.bike_id)
    if place is None:
        return f"there is no {ride.bike_id} behind the bolt"
    db.execute(OUT, [ride.ride_id, ride.bike_id])
    db.execute("DELETE FROM reservations WHERE ride_id = ?", [ride.ride_id])
    movement = "INSERT INTO movements(bike_id, ride_id, station_id, kind) VALUES (?, ?, ?, 'taken')"
    db.execute(movement, [ride.bike_id, ride.ride_id, place])
    return ""


actions = {"stations.reserve": reserve, "stations.cancel": cancel, "locks.unlock": unlock}
app = Participant("docks", SCHEMA, furnish, actions).app
