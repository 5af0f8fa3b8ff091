"""Charges: the books of a wallet that learns of ended rides by messages, in <DATA_DIR>/wallet.db.

Every amount that is taken is a row of `holds` in the state captured, and comes off the balance. Nothing here keeps
anybody from charging a ride twice: two rows for one ride are what the law of money finds.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Any

RIDERS = os.environ.get("RIDERS", "ada:100000,bo:100000,chen:100000,dora:100000")
SCHEMA = """
    CREATE TABLE IF NOT EXISTS wallets(rider_id TEXT PRIMARY KEY, deposited_cents INTEGER, balance_cents INTEGER);
    CREATE TABLE IF NOT EXISTS holds(ride_id TEXT, rider_id TEXT, cents INTEGER, state TEXT, captured_cents INTEGER);
    CREATE INDEX IF NOT EXISTS holds_of_ride ON holds(ride_id)
"""


def furnish(db: sqlite3.Connection) -> None:
    """Give every rider of RIDERS ("ada:100000,bo:100000") a wallet; one that is there stays as it is."""
    pairs = [pair.split(":") for pair in RIDERS.split(",") if pair]
    new = "INSERT OR IGNORE INTO wallets VALUES (?, ?, ?)"
    db.executemany(new, [(rider, int(cents), int(cents)) for rider, cents in pairs])


def charge(db: sqlite3.Connection, ride_id: str, rider_id: str, cents: int) -> None:
    """Take the price of a ride from a rider's wallet, each time it is called.

    Raises:
        LookupError: the rider has no wallet.
    """
    if not db.execute(
        "UPDATE wallets SET balance_cents = balance_cents - ? WHERE rider_id = ?", [cents, rider_id]
    ).rowcount:
        raise LookupError(f"{rider_id} has no wallet")
    db.execute("INSERT INTO holds VALUES (?, ?, ?, 'captured', ?)", [ride_id, rider_id, cents, cents])


def charges(db: sqlite3.Connection, ride_id: str) -> list[dict[str, Any]]:
    """Return every amount that was taken for a ride, oldest first."""
    rows = db.execute("SELECT rider_id, captured_cents FROM holds WHERE ride_id = ? ORDER BY rowid", [ride_id])
    return [dict(row) for row in rows]
