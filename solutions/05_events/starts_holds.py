"""Holds: the wallet's part in a start. `hold` sets money of a rider aside for a ride, `release` gives it back.

Both run in the transaction of starts_participant.py, which answers a command that comes again by itself: neither is
called twice for the same command, once it is done. Each returns "" when it is done, or the reason of its refusal.

hold      takes ride.cents off the rider's balance, and makes a row of `holds` in the state open.
          Refused: the rider has no wallet, or a balance below ride.cents.
release   gives the money back: the row becomes released, and its cents return to the balance.
          It is never refused. Where nothing is held it gives nothing back, and is done.

The order is not sure: a hold that was held up on its way comes after the release of the same ride, or never. It comes
from a start that has been given up, so nobody would ever release it. Therefore a release that finds no hold is
remembered (a tombstone), and a hold that finds a tombstone is refused, whether that takes a second or a week, and a
restart. MORE_TABLES are made in wallet.db; `holds` and `wallets` are there:

    wallets(rider_id TEXT PRIMARY KEY, deposited_cents INTEGER, balance_cents INTEGER)
    holds(ride_id TEXT PRIMARY KEY, rider_id TEXT, cents INTEGER, state TEXT, captured_cents INTEGER)
"""

import sqlite3

from starts_mail import Ride

TAKE = "UPDATE wallets SET balance_cents = balance_cents - ?1 WHERE rider_id = ?2 AND balance_cents >= ?1"
GIVE = "UPDATE wallets SET balance_cents = balance_cents + ? WHERE rider_id = ?"
FREE = "UPDATE holds SET state = 'released' WHERE ride_id = ? AND state = 'open'"


# --- your turn 5.4 ---
MORE_TABLES = "CREATE TABLE IF NOT EXISTS tombstones(ride_id TEXT PRIMARY KEY)"


def hold(db: sqlite3.Connection, ride: Ride) -> str:
    """Set money aside for a ride."""
    if db.execute("SELECT 1 FROM tombstones WHERE ride_id = ?", [ride.ride_id]).fetchone():
        return "it was released before it came"  # nobody would release it again
    if not db.execute(TAKE, [ride.cents, ride.rider_id]).rowcount:
        return f"{ride.rider_id} does not have {ride.cents} cents"
    db.execute("INSERT INTO holds VALUES (?, ?, ?, 'open', 0)", [ride.ride_id, ride.rider_id, ride.cents])
    return ""


def release(db: sqlite3.Connection, ride: Ride) -> str:
    """Give back what is set aside, and remember a release that comes before its hold."""
    if db.execute(FREE, [ride.ride_id]).rowcount:
        db.execute(GIVE, [ride.cents, ride.rider_id])
    else:
        db.execute("INSERT OR IGNORE INTO tombstones VALUES (?)", [ride.ride_id])
    return ""


# --- end 5.4 ---
