"""Books: what the wallet and the stations of the dance write. Each does what it says each time it is called."""

import sqlite3
from collections.abc import Callable

from dance_facts import Ride

from lab_services.bikeshare.wallet_table import ADD, NEW_WALLET, SCHEMA

MONEY = SCHEMA
DOCKS = 8  # of each station
BIKES = """
    CREATE TABLE IF NOT EXISTS stations(station_id TEXT PRIMARY KEY, docks INTEGER);
    CREATE TABLE IF NOT EXISTS bikes(
        bike_id TEXT PRIMARY KEY, station_id TEXT, ride_id TEXT, workshop INTEGER DEFAULT 0, reserved_for TEXT)
"""
Furnish = Callable[[sqlite3.Connection], object]


class Refused(Exception):
    """It cannot be done, and nothing was written; the text is the reason."""


def fill_wallets(riders: str) -> Furnish:
    """Return what gives each rider of "ada:100000,bo:100000" a wallet."""
    return lambda db: db.executemany(NEW_WALLET, [pair.split(":") for pair in riders.split(",")])


def hold(db: sqlite3.Connection, ride: Ride) -> None:
    """Set money of a rider aside; raise Refused when there is not enough."""
    take = "UPDATE wallets SET balance_cents = balance_cents - ?1 WHERE rider_id = ?2 AND balance_cents >= ?1"
    if not db.execute(take, [ride.cents, ride.rider_id]).rowcount:
        raise Refused(f"{ride.rider_id} does not have {ride.cents} cents")
    db.execute("INSERT INTO holds VALUES (?, ?, ?, 'open', 0)", [ride.ride_id, ride.rider_id, ride.cents])


def knows(db: sqlite3.Connection, ride_id: str) -> bool:
    """Tell whether money is or was held for a ride."""
    return bool(db.execute("SELECT 1 FROM holds WHERE ride_id = ?", [ride_id]).fetchone())


def release(db: sqlite3.Connection, ride_id: str) -> bool:
    """Give back what is held for a ride, and tell whether anything was."""
    held = db.execute("SELECT * FROM holds WHERE ride_id = ? AND state = 'open'", [ride_id]).fetchone()
    if held:
        db.execute("UPDATE holds SET state = 'released' WHERE ride_id = ?", [ride_id])
        db.execute(ADD, [held["cents"], held["rider_id"]])
    return held is not None


def fill_docks(bikes: int) -> Furnish:
    """Return what puts so many bikes into the docks of the stations A1, A2, ..."""
    places = [(f"b-{number + 1:02}", f"A{number // DOCKS + 1}") for number in range(bikes)]

    def furnish(db: sqlite3.Connection) -> None:
        db.executemany("INSERT OR IGNORE INTO stations VALUES (?, ?)", [(place, DOCKS) for _, place in places])
        db.executemany("INSERT OR IGNORE INTO bikes(bike_id, station_id) VALUES (?, ?)", places)

    return furnish


def reserve(db: sqlite3.Connection, ride: Ride) -> None:
    """Keep a bike for a ride; raise Refused when it is not there, or kept already."""
    keep = "UPDATE bikes SET reserved_for = ? WHERE bike_id = ? AND station_id IS NOT NULL AND reserved_for IS NULL"
    if not db.execute(keep, [ride.ride_id, ride.bike_id]).rowcount:
        raise Refused(f"{ride.bike_id} does not stand free at a station")


def free(db: sqlite3.Connection, ride_id: str) -> bool:
    """Let others have the bike that is kept for a ride, and tell whether one was."""
    return bool(db.execute("UPDATE bikes SET reserved_for = NULL WHERE reserved_for = ?", [ride_id]).rowcount)


def leave(db: sqlite3.Connection, ride: Ride) -> None:
    """Let the bike that is kept for a ride go."""
    away = "UPDATE bikes SET station_id = NULL, ride_id = ?1, reserved_for = NULL WHERE reserved_for = ?1"
    db.execute(away, [ride.ride_id])
