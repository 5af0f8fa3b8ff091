"""The wallet's tables and what is done to a hold. Law of every wallet: deposited == balance + open holds + captured."""

from __future__ import annotations

import sqlite3
from typing import Any

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.problems import Problem

SCHEMA = """
    CREATE TABLE IF NOT EXISTS wallets(rider_id TEXT PRIMARY KEY, deposited_cents INTEGER, balance_cents INTEGER);
    CREATE TABLE IF NOT EXISTS holds(
        ride_id TEXT PRIMARY KEY, rider_id TEXT, cents INTEGER, state TEXT, captured_cents INTEGER);
    CREATE INDEX IF NOT EXISTS holds_of_rider ON holds(rider_id)
"""
NEW_WALLET = "INSERT OR IGNORE INTO wallets VALUES (?1, ?2, ?2)"
WALLET = """SELECT *, (SELECT coalesce(sum(cents), 0) FROM holds WHERE rider_id = wallets.rider_id AND state = 'open')
    AS held_cents FROM wallets WHERE rider_id = ?"""
HOLD = "SELECT * FROM holds WHERE ride_id = ?"
ADD = "UPDATE wallets SET balance_cents = balance_cents + ? WHERE rider_id = ?"


def settle(ride_id: str, state: str, cents: int) -> dict[str, Any]:
    """Close an open hold and pay back what is not captured; the same again changes nothing."""
    with transaction("wallet") as db:
        held = find(db, HOLD, ride_id)
        if cents > held["cents"]:
            detail = f"cents: {cents} is more than the hold of {held['cents']}"
            raise Problem(422, "bad input", detail, errors=[{"field": "cents"}])
        if (held["state"], held["captured_cents"]) == (state, cents):
            return held
        if held["state"] != "open":
            raise Problem(409, "hold settled", f"ride {ride_id}: {held['captured_cents']} cents {held['state']} before")
        db.execute("UPDATE holds SET state = ?, captured_cents = ? WHERE ride_id = ?", [state, cents, ride_id])
        db.execute(ADD, [held["cents"] - cents, held["rider_id"]])
        return find(db, HOLD, ride_id)


def find(db: sqlite3.Connection, query: str, key: str) -> dict[str, Any]:
    if row := db.execute(query, [key]).fetchone():
        return dict(row)
    raise Problem(404, "not found", f"there is no {'hold for ride' if query == HOLD else 'wallet of'} {key}")
