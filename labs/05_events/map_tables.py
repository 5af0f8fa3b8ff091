"""Tables of citymap.db, and all that is done to them. There can be several pictures of the city; one of them is served.

A picture is drawn from the stream: it has a position, the number of the last message that is in it, and rows of its
own in drawn_rides, drawn_stations and set_aside. Functions that take `db` work in the caller's transaction.
"""

import logging
import os
import sqlite3
from typing import Any

from map_facts import Ride
from map_told import Told

from lab_services.bikeshare.database import transaction

FLEET = dict(pair.split(":") for pair in os.environ.get("FLEET", "A1:20,B2:20,C3:20").split(","))  # on the first day
REASON_CHARACTERS = 300
log = logging.getLogger("citymap")
MOST_LISTED = 100
SCHEMA = """
    CREATE TABLE IF NOT EXISTS pictures(picture INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER, served INTEGER);
    CREATE TABLE IF NOT EXISTS drawn_rides(
        picture INTEGER, ride_id TEXT, number INTEGER, state TEXT, rider_id TEXT, bike_id TEXT, from_station TEXT,
        to_station TEXT, cents INTEGER, PRIMARY KEY(picture, ride_id));
    CREATE TABLE IF NOT EXISTS drawn_stations(
        picture INTEGER, station_id TEXT, bikes INTEGER, PRIMARY KEY(picture, station_id));
    CREATE TABLE IF NOT EXISTS set_aside(
        picture INTEGER, position INTEGER, reason TEXT, content BLOB, PRIMARY KEY(picture, position));
    CREATE TABLE IF NOT EXISTS followers(name TEXT PRIMARY KEY, position INTEGER)
"""
OF_A_PICTURE = ("drawn_rides", "drawn_stations", "set_aside", "pictures")
TOTALS = "SELECT count(*) FILTER (WHERE state = 'riding'), count(*) FILTER (WHERE state = 'ended'), total(cents)"


def furnish() -> None:
    """Serve a first picture, at position 0, unless there is one."""
    with transaction("citymap", "BEGIN") as db:
        there = served(db)
    if not there:
        serve(begin())


def begin() -> int:
    """Begin a new picture, at position 0, and return its number; what else is not served is deleted."""
    with transaction("citymap") as db:
        _delete_unserved(db)
        picture = db.execute("INSERT INTO pictures(position, served) VALUES (0, 0)").lastrowid
        assert picture is not None
        stations = [(picture, station_id, int(bikes)) for station_id, bikes in FLEET.items()]
        db.executemany("INSERT INTO drawn_stations VALUES (?, ?, ?)", stations)
        return picture


def serve(picture: int) -> None:
    """Serve this picture from now on, in one step; the one that was served is deleted."""
    with transaction("citymap") as db:
        db.execute("UPDATE pictures SET served = (picture = ?)", [picture])
        _delete_unserved(db)


def served(db: sqlite3.Connection) -> int:
    """Return the number of the picture that is served; 0 before there is one."""
    row = db.execute("SELECT picture FROM pictures WHERE served").fetchone()
    return int(row[0]) if row else 0


def position(picture: int = 0) -> int:
    """Return the position of a picture; without a number, of the one that is served. It waits for no writer."""
    with transaction("citymap", "BEGIN") as db:
        row = db.execute("SELECT position FROM pictures WHERE picture = ?", [picture or served(db)]).fetchone()
        return int(row[0])


def advance(db: sqlite3.Connection, picture: int, position: int) -> None:
    """Note that a picture has come to this position; it never goes back."""
    db.execute("UPDATE pictures SET position = max(position, ?) WHERE picture = ?", [position, picture])


def drawn(db: sqlite3.Connection, picture: int, ride_id: str) -> Ride | None:
    """Return a ride as a picture shows it, or None."""
    row = db.execute("SELECT * FROM drawn_rides WHERE picture = ? AND ride_id = ?", [picture, ride_id]).fetchone()
    return Ride.model_validate({key: row[key] for key in Ride.model_fields}) if row else None


def draw(db: sqlite3.Connection, picture: int, ride: Ride) -> None:
    """Show a ride in a picture, in place of what it shows of that ride."""
    row = {**ride.model_dump(), "picture": picture}
    columns = ", ".join(row)
    db.execute(f"INSERT OR REPLACE INTO drawn_rides({columns}) VALUES (:{columns.replace(', ', ', :')})", row)


def count(db: sqlite3.Connection, picture: int, ride: Ride, sign: int) -> None:
    """Count what a ride has done to the stations of a picture, each time it is called; a sign of -1 takes it back.

    Its bike has left from_station, and is at to_station, if it says so.
    """
    add = "INSERT INTO drawn_stations VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET bikes = bikes + excluded.bikes"
    db.execute(add, [picture, ride.from_station, -sign])
    if ride.to_station:
        db.execute(add, [picture, ride.to_station, sign])


def set_aside(db: sqlite3.Connection, picture: int, told: Told, reason: object) -> None:
    """Keep a message that cannot be drawn, with the reason; once for each position."""
    row = [picture, told.position, str(reason)[:REASON_CHARACTERS], told.content]
    log.warning("message %s is set aside: %s", *row[1:3])
    db.execute("INSERT OR IGNORE INTO set_aside VALUES (?, ?, ?, ?)", row)


def city_map() -> dict[str, Any]:
    """Return the served picture at a glance."""
    with transaction("citymap", "BEGIN") as db:
        row = db.execute("SELECT * FROM pictures WHERE served").fetchone()
        here = [row["picture"]]
        stations = db.execute("SELECT station_id, bikes FROM drawn_stations WHERE picture = ? ORDER BY 1", here)
        riding, ended, cents = db.execute(f"{TOTALS} FROM drawn_rides WHERE picture = ?", here).fetchone()
        aside = db.execute("SELECT count(*) FROM set_aside WHERE picture = ?", here).fetchone()[0]
        totals = {"riding": riding, "ended": ended, "cents": int(cents), "set_aside": aside}
        return {"position": row["position"], "stations": dict(stations.fetchall()), **totals}


def one_ride(ride_id: str) -> dict[str, Any] | None:
    """Return a ride as the served picture shows it, or None."""
    with transaction("citymap", "BEGIN") as db:
        ride = drawn(db, served(db), ride_id)
    return ride.model_dump() if ride else None


def aside() -> list[dict[str, Any]]:
    """Return what was set aside last, newest first; bytes that are no text are written as \\xff."""
    with transaction("citymap", "BEGIN") as db:
        newest = "SELECT position, reason, content FROM set_aside WHERE picture = ? ORDER BY position DESC LIMIT ?"
        found = [dict(row) for row in db.execute(newest, [served(db), MOST_LISTED])]
    return [{**row, "content": row["content"].decode(errors="backslashreplace")} for row in found]


def _delete_unserved(db: sqlite3.Connection) -> None:
    for table in OF_A_PICTURE:
        db.execute(f"DELETE FROM {table} WHERE picture NOT IN (SELECT picture FROM pictures WHERE served)")
