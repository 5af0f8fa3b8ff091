"""What the books of a start are, and what each action does to them: "" when it is done, or why it is refused.

An undoing that comes before what it undoes leaves a tombstone: what comes behind it is refused. The bolt knows of no
undoing: what is open stays open.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import Field

from lab_services.bikeshare.problems import ID, Body
from lab_services.bikeshare.station_table import SCHEMA as STATIONS
from lab_services.bikeshare.station_table import furnish
from lab_services.bikeshare.wallet_table import ADD, NEW_WALLET
from lab_services.bikeshare.wallet_table import SCHEMA as WALLETS

RIDERS = os.environ.get("RIDERS", "ada:100000,bo:100000,chen:100000,dora:100000,poor:100")
TOMBSTONES = "CREATE TABLE IF NOT EXISTS tombstones(ride_id TEXT PRIMARY KEY)"
BIKES = f"""{STATIONS};
    CREATE TABLE IF NOT EXISTS movements(
        seq INTEGER PRIMARY KEY, bike_id TEXT, ride_id TEXT, station_id TEXT, kind TEXT);
    CREATE TABLE IF NOT EXISTS reservations(bike_id TEXT PRIMARY KEY, ride_id TEXT UNIQUE)
"""
RIDES = """CREATE TABLE IF NOT EXISTS rides(
    ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, state TEXT, cents INTEGER)"""
TAKE = "UPDATE wallets SET balance_cents = balance_cents - ?1 WHERE rider_id = ?2 AND balance_cents >= ?1"
FREE = "UPDATE holds SET state = 'released' WHERE ride_id = ? AND state = 'open' RETURNING cents, rider_id"
OUT = "UPDATE bikes SET station_id = NULL, ride_id = ? WHERE bike_id = ?"
TAKEN = "INSERT INTO movements(bike_id, ride_id, station_id, kind) VALUES (?, ?, ?, 'taken')"


class Order(Body):
    """What an action is told about its ride."""

    rider_id: str = Field(pattern=ID)
    bike_id: str = Field(pattern=ID)
    cents: int = Field(ge=0, le=100_000)


Action = Callable[[sqlite3.Connection, str, Order], str]


@dataclass(frozen=True)
class Books:
    """The tables of one participant, what stands in them at first, and its actions."""

    schema: str
    furnish: Callable[[sqlite3.Connection], object]
    actions: Mapping[str, Action]


def hold(db: sqlite3.Connection, ride_id: str, order: Order) -> str:
    if buried(db, ride_id):
        return "its release came before it"
    if not db.execute(TAKE, [order.cents, order.rider_id]).rowcount:
        return f"{order.rider_id} does not have {order.cents} cents"
    db.execute("INSERT INTO holds VALUES (?, ?, ?, 'open', 0)", [ride_id, order.rider_id, order.cents])
    return ""


def release(db: sqlite3.Connection, ride_id: str, order: Order) -> str:
    if freed := db.execute(FREE, [ride_id]).fetchone():
        db.execute(ADD, [freed["cents"], freed["rider_id"]])
    return bury(db, ride_id)


def reserve(db: sqlite3.Connection, ride_id: str, order: Order) -> str:
    if buried(db, ride_id):
        return "its cancel came before it"
    if place_of(db, order.bike_id) is None:
        return f"{order.bike_id} stands in no dock"
    kept = db.execute("INSERT OR IGNORE INTO reservations VALUES (?, ?)", [order.bike_id, ride_id])
    return "" if kept.rowcount else f"{order.bike_id} is kept for another ride"


def cancel(db: sqlite3.Connection, ride_id: str, order: Order) -> str:
    db.execute("DELETE FROM reservations WHERE ride_id = ?", [ride_id])
    return bury(db, ride_id)


def unlock(db: sqlite3.Connection, ride_id: str, order: Order) -> str:
    place = place_of(db, order.bike_id)
    if place is None:
        return f"no {order.bike_id} is behind the bolt"
    db.execute(OUT, [ride_id, order.bike_id])
    db.execute("DELETE FROM reservations WHERE ride_id = ?", [ride_id])
    db.execute(TAKEN, [order.bike_id, ride_id, place])
    return ""


def start(db: sqlite3.Connection, ride_id: str, order: Order) -> str:
    db.execute("INSERT INTO rides VALUES (?, ?, ?, 'started', NULL)", [ride_id, order.rider_id, order.bike_id])
    return ""


def buried(db: sqlite3.Connection, ride_id: str) -> bool:
    return db.execute("SELECT 1 FROM tombstones WHERE ride_id = ?", [ride_id]).fetchone() is not None


def bury(db: sqlite3.Connection, ride_id: str) -> str:
    db.execute("INSERT OR IGNORE INTO tombstones VALUES (?)", [ride_id])
    return ""


def place_of(db: sqlite3.Connection, bike_id: str) -> str | None:
    """Return the station of a bike; None when it stands at none."""
    bike = db.execute("SELECT station_id FROM bikes WHERE bike_id = ?", [bike_id]).fetchone()
    return bike["station_id"] if bike else None


def give_wallets(db: sqlite3.Connection) -> None:
    db.executemany(NEW_WALLET, [pair.split(":") for pair in RIDERS.split(",")])


BOOKS = {
    "wallet": Books(f"{WALLETS};{TOMBSTONES}", give_wallets, {"wallet.hold": hold, "wallet.release": release}),
    "docks": Books(
        f"{BIKES};{TOMBSTONES}",
        furnish,
        {"stations.reserve": reserve, "stations.cancel": cancel, "locks.unlock": unlock},
    ),
    "rides": Books(RIDES, lambda db: None, {"rides.start": start}),
}
