"""Radio: how a gateway reaches the locks of its district; a lock takes its time (given).

Each lock is a row of locks: `seconds` is how long it takes for anything, and `confirmations_lost` how many of its next
openings it does not confirm: the bolt has moved, and the radio waits for word of it in vain. openings is the ledger: a
row for each movement of a bolt. The radio itself moves a bolt as often as it is told to.
"""

import asyncio
import os
import time
from typing import Any

from wishes import Refused, Unlock

from lab_services.bikeshare.database import transaction

CONFIRM_SECONDS = float(os.environ.get("CONFIRM_SECONDS", "5"))  # for a lock's word that its bolt has moved
LOCKS_OF_A_DISTRICT = 12
TABLES = """
    CREATE TABLE IF NOT EXISTS locks(lock_id TEXT PRIMARY KEY, district TEXT, battery_percent INTEGER,
        seconds REAL DEFAULT 0, confirmations_lost INTEGER DEFAULT 0);
    CREATE TABLE IF NOT EXISTS openings(seq INTEGER PRIMARY KEY, lock_id TEXT, request_id TEXT);
    CREATE INDEX IF NOT EXISTS openings_of_request ON openings(request_id)
"""


def furnish(district: str) -> None:
    """Give a district its locks: n-01 to n-12 in the north, and so on."""
    numbers = range(1, LOCKS_OF_A_DISTRICT + 1)
    rows = [(f"{district[0]}-{number:02}", district, 100 - 3 * number - ord(district[0]) % 3) for number in numbers]
    with transaction("locks") as db:
        db.executemany("INSERT OR IGNORE INTO locks(lock_id, district, battery_percent) VALUES (?, ?, ?)", rows)


async def battery(district: str, lock_id: str) -> int:
    """Return what is left in a battery, in percent. Raises Refused where the district has no such lock."""
    lock = await asyncio.to_thread(_find, district, lock_id)
    await asyncio.sleep(lock["seconds"])
    return int(lock["battery_percent"])


async def batteries(district: str) -> dict[str, int]:
    """Return the batteries of all locks of a district, which are asked at the same time."""
    locks = await asyncio.to_thread(_all, district)
    await asyncio.sleep(max(lock["seconds"] for lock in locks))
    return {lock["lock_id"]: int(lock["battery_percent"]) for lock in locks}


async def opened(district: str, wish: Unlock) -> bool:
    """Tell by the ledger whether the bolt has moved for this wish. Raises Refused: no such lock, or another moved."""
    await asyncio.to_thread(_find, district, wish.lock_id)
    lock_ids = await asyncio.to_thread(_opened_for, wish.request_id)
    if set(lock_ids) - {wish.lock_id}:
        raise Refused("taken", f"{wish.request_id} has opened {lock_ids[0]}")
    return bool(lock_ids)


async def open_bolt(district: str, wish: Unlock) -> None:
    """Move a bolt, each time; return when the lock has confirmed it, or after CONFIRM_SECONDS.

    Raises Refused where `until` has passed before it begins: it does not move then.
    """
    lock = await asyncio.to_thread(_find, district, wish.lock_id)
    if wish.until < time.time():
        raise Refused("late", f"{wish.request_id} came too late")
    await asyncio.sleep(lock["seconds"])
    if await asyncio.to_thread(_move, wish.lock_id, wish.request_id):
        await asyncio.sleep(CONFIRM_SECONDS)


def _find(district: str, lock_id: str) -> Any:
    with transaction("locks", "BEGIN") as db:
        row = db.execute("SELECT * FROM locks WHERE lock_id = ? AND district = ?", [lock_id, district]).fetchone()
    if row is None:
        raise Refused("unknown", f"there is no lock {lock_id} in the district {district}")
    return row


def _all(district: str) -> list[Any]:
    with transaction("locks", "BEGIN") as db:
        return db.execute("SELECT * FROM locks WHERE district = ? ORDER BY lock_id", [district]).fetchall()


def _opened_for(request_id: str) -> list[str]:
    with transaction("locks", "BEGIN") as db:
        return [row["lock_id"] for row in db.execute("SELECT lock_id FROM openings WHERE request_id = ?", [request_id])]


def _move(lock_id: str, request_id: str) -> bool:
    """Write the movement down; tell whether the lock's word of it is lost."""
    lost = "UPDATE locks SET confirmations_lost = confirmations_lost - 1 WHERE lock_id = ? AND confirmations_lost > 0"
    with transaction("locks") as db:
        db.execute("INSERT INTO openings(lock_id, request_id) VALUES (?, ?)", [lock_id, request_id])
        return db.execute(lost, [lock_id]).rowcount > 0
