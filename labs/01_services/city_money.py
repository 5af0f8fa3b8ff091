"""The money of the one-program city: wallets and holds in `city.db`, next to everything else.

Law of every wallet: deposited == balance + open holds + captured. Money is integer cents.
"""

import sqlite3
from typing import Any

from city_tables import one

from lab_services.bikeshare.problems import Problem

MONEY = """
CREATE TABLE IF NOT EXISTS wallets(rider_id TEXT PRIMARY KEY, deposited_cents INTEGER, balance_cents INTEGER);
CREATE TABLE IF NOT EXISTS holds(
    ride_id TEXT PRIMARY KEY, rider_id TEXT, cents INTEGER, state TEXT, captured_cents INTEGER)
"""


def old_wallet(db: sqlite3.Connection, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Do what the contract of the wallet says, on the tables of this program."""
    match [method, *path.strip("/").split("/")]:
        case ["PUT", "wallets", rider_id]:
            return open_wallet(db, rider_id, body["deposited_cents"])
        case ["GET", "wallets", rider_id]:
            return wallet(db, rider_id)
        case ["PUT", "holds", ride_id]:
            return hold(db, ride_id, body["rider_id"], body["cents"])
        case ["PUT", "holds", ride_id, "captured"]:
            return settle(db, ride_id, "captured", body["cents"])
        case ["PUT", "holds", ride_id, "released"]:
            return settle(db, ride_id, "released", 0)
    raise Problem(404, "not found", f"no money moves by {method} {path}")


def open_wallet(db: sqlite3.Connection, rider_id: str, cents: int) -> dict[str, Any]:
    db.execute("INSERT OR IGNORE INTO wallets VALUES (?, ?, ?)", [rider_id, cents, cents])
    return wallet(db, rider_id)


def wallet(db: sqlite3.Connection, rider_id: str) -> dict[str, Any]:
    open_holds = "SELECT coalesce(sum(cents), 0) FROM holds WHERE rider_id = ? AND state = 'open'"
    held = db.execute(open_holds, [rider_id]).fetchone()[0]
    return {**one(db, "wallets", "rider_id", rider_id), "held_cents": held}


def hold(db: sqlite3.Connection, ride_id: str, rider_id: str, cents: int) -> dict[str, Any]:
    balance = one(db, "wallets", "rider_id", rider_id)["balance_cents"]
    if balance < cents:
        raise Problem(402, "balance too low", f"{rider_id} has {balance} cents, the hold is {cents}")
    db.execute("INSERT INTO holds VALUES (?, ?, ?, 'open', 0)", [ride_id, rider_id, cents])
    pay_back(db, rider_id, -cents)
    return one(db, "holds", "ride_id", ride_id)


def settle(db: sqlite3.Connection, ride_id: str, state: str, cents: int) -> dict[str, Any]:
    """Close an open hold as captured or released; the same again changes nothing."""
    held = one(db, "holds", "ride_id", ride_id)
    if held["state"] == "open":
        db.execute("UPDATE holds SET state = ?, captured_cents = ? WHERE ride_id = ?", [state, cents, ride_id])
        pay_back(db, held["rider_id"], held["cents"] - cents)
    return one(db, "holds", "ride_id", ride_id)


def pay_back(db: sqlite3.Connection, rider_id: str, cents: int) -> None:
    db.execute("UPDATE wallets SET balance_cents = balance_cents + ? WHERE rider_id = ?", [cents, rider_id])
