"""The stations and bikes of the city as tables: 4 x 4 stations, A1 to D4, and where each bike stands at first."""

from __future__ import annotations

import os
import sqlite3

FLEET = int(os.environ.get("FLEET", "64"))
DOCKS = 8
NAMES = [row + column for row in "ABCD" for column in "1234"]
SCHEMA = """
    CREATE TABLE IF NOT EXISTS stations(station_id TEXT PRIMARY KEY, docks INTEGER);
    CREATE TABLE IF NOT EXISTS bikes(
        bike_id TEXT PRIMARY KEY, station_id TEXT, ride_id TEXT, workshop INTEGER DEFAULT 0)
"""


def home(number: int) -> str:
    """Return the station at which bike `number` (from 1) stands at first."""
    return NAMES[(number - 1) % len(NAMES)]


def furnish(db: sqlite3.Connection) -> None:
    """Put the stations and their bikes into the tables, unless they are there."""
    db.executemany("INSERT OR IGNORE INTO stations VALUES (?, ?)", [(name, DOCKS) for name in NAMES])
    bikes = [(f"b-{number:02}", home(number)) for number in range(1, FLEET + 1)]
    db.executemany("INSERT OR IGNORE INTO bikes(bike_id, station_id) VALUES (?, ?)", bikes)
