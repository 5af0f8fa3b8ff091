"""The locks on disk, in one file for all replicas: what each lock is, and the ledger of every movement of a bolt.

openings is append-only: seq counts from 1 without a gap, kind is opened or closed, at is a UTC time.
troubles is empty in a city without faults. A row makes the next `times` commands to a lock fail with a status code,
before the bolt has moved or, with `moved`, after it: the answer is lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from grpc import StatusCode

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.locks_calls import Refusal

SCHEMA = """
    CREATE TABLE IF NOT EXISTS locks(lock_id TEXT PRIMARY KEY, bike_id TEXT, ride_id TEXT, battery_percent INTEGER);
    CREATE TABLE IF NOT EXISTS openings(
        seq INTEGER PRIMARY KEY AUTOINCREMENT, lock_id TEXT, ride_id TEXT, request_id TEXT, kind TEXT, at TEXT);
    CREATE UNIQUE INDEX IF NOT EXISTS once ON openings(request_id);
    CREATE INDEX IF NOT EXISTS openings_of_lock ON openings(lock_id, seq);
    CREATE TABLE IF NOT EXISTS positions(lock_id TEXT PRIMARY KEY, x_metres INTEGER, y_metres INTEGER);
    CREATE TABLE IF NOT EXISTS troubles(lock_id TEXT, code TEXT, moved INTEGER DEFAULT 0, times INTEGER DEFAULT 1)
"""
LOCKS = "SELECT * FROM locks LEFT JOIN positions USING (lock_id)"
Places = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Wish:
    """What a caller wants of a lock; `kind` is what the bolt shall have done, opened or closed."""

    kind: str
    lock_id: str
    ride_id: str
    request_id: str | None


def furnish(fleet: int) -> None:
    """Give every bike of the fleet its lock."""
    rows = [(f"l-{number:02}", f"b-{number:02}", 100 - number % 60) for number in range(1, fleet + 1)]
    with transaction("locks") as db:
        db.executemany("INSERT OR IGNORE INTO locks(lock_id, bike_id, battery_percent) VALUES (?, ?, ?)", rows)


def find(lock_id: str) -> sqlite3.Row:
    with transaction("locks", "BEGIN") as db:
        return _find(db, lock_id)


def find_many(lock_ids: Iterable[str]) -> list[sqlite3.Row]:
    """Return the locks that exist of these, or all where none is named."""
    wanted = set(lock_ids)
    with transaction("locks", "BEGIN") as db:
        return [row for row in db.execute(f"{LOCKS} ORDER BY lock_id") if not wanted or row["lock_id"] in wanted]


def events_after(seq: int, most: int) -> list[sqlite3.Row]:
    with transaction("locks", "BEGIN") as db:
        return db.execute("SELECT * FROM openings WHERE seq > ? ORDER BY seq LIMIT ?", [seq, most]).fetchall()


def newest() -> int:
    with transaction("locks", "BEGIN") as db:
        return int(db.execute("SELECT coalesce(max(seq), 0) FROM openings").fetchone()[0])


def look(wish: Wish) -> sqlite3.Row | None:
    """Return what this wish did before, None if it did nothing, or refuse it."""
    with transaction("locks", "BEGIN") as db:
        return _look(db, wish)


def move(wish: Wish, gone: Callable[[], bool]) -> tuple[sqlite3.Row, bool]:
    """Move the bolt and write it down, unless that was done before; return the row, and whether it was.

    The lock is looked at again: it may have been opened for somebody else while the command was on its way.
    """
    stumble(wish.lock_id, moved=False)
    with transaction("locks") as db:
        if before := _look(db, wish):
            return before, True
        if gone():  # the caller went away while this waited for other writers
            raise Refusal(StatusCode.CANCELLED, "nobody waits for it")
        ride_id = wish.ride_id if wish.kind == "opened" else None
        db.execute("UPDATE locks SET ride_id = ? WHERE lock_id = ?", [ride_id, wish.lock_id])
        row = [wish.lock_id, wish.ride_id, wish.request_id, wish.kind, datetime.now(UTC).isoformat()]
        insert = "INSERT INTO openings(lock_id, ride_id, request_id, kind, at) VALUES (?, ?, ?, ?, ?) RETURNING *"
        return db.execute(insert, row).fetchone(), False


def stumble(lock_id: str, moved: bool) -> None:
    """Fail as a row of troubles for this lock says, if there is one."""
    with transaction("locks", "BEGIN") as db:
        query = "SELECT rowid, code FROM troubles WHERE lock_id = ? AND moved = ? AND times > 0 ORDER BY rowid"
        trouble = db.execute(query, [lock_id, moved]).fetchone()
    if trouble is None:
        return
    with transaction("locks") as db:
        spend = "UPDATE troubles SET times = times - 1 WHERE rowid = ? AND times > 0"
        spent = db.execute(spend, [trouble["rowid"]]).rowcount
    if spent:
        raise Refusal(StatusCode[trouble["code"]], f"lock {lock_id}: the device is in trouble")


def place(places: Places, gone: Callable[[], bool]) -> None:
    """Store where locks are."""
    rows = [(lock_id, x, y) for lock_id, (x, y) in places.items()]
    with transaction("locks") as db:
        if not gone():
            db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", rows)


def _find(db: sqlite3.Connection, lock_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(f"{LOCKS} WHERE lock_id = ?", [lock_id]).fetchone()
    if row is None:
        raise Refusal(StatusCode.NOT_FOUND, f"there is no lock {lock_id}")
    return row


def _look(db: sqlite3.Connection, wish: Wish) -> sqlite3.Row | None:
    lock = _find(db, wish.lock_id)
    same = db.execute("SELECT * FROM openings WHERE request_id = ?", [wish.request_id]).fetchone()
    if same is not None:
        if (same["kind"], same["lock_id"], same["ride_id"]) != (wish.kind, wish.lock_id, wish.ride_id):
            taken = f"request_id {wish.request_id} has {same['kind']} lock {same['lock_id']} for ride {same['ride_id']}"
            raise Refusal(StatusCode.ALREADY_EXISTS, taken)
        return same  # type: ignore[no-any-return]
    if wish.kind == "closed":
        return _look_to_close(db, lock, wish)
    if lock["ride_id"] not in (None, wish.ride_id):
        raise Refusal(StatusCode.FAILED_PRECONDITION, f"lock {wish.lock_id} is open for another ride")
    if lock["battery_percent"] <= 0:
        raise Refusal(StatusCode.FAILED_PRECONDITION, f"lock {wish.lock_id} has an empty battery")
    return None


def _look_to_close(db: sqlite3.Connection, lock: sqlite3.Row, wish: Wish) -> sqlite3.Row | None:
    if lock["ride_id"] == wish.ride_id:
        return None
    last = db.execute("SELECT * FROM openings WHERE lock_id = ? ORDER BY seq DESC LIMIT 1", [wish.lock_id]).fetchone()
    if lock["ride_id"] is None and last is not None and last["ride_id"] == wish.ride_id:
        return last  # type: ignore[no-any-return]
    raise Refusal(StatusCode.FAILED_PRECONDITION, f"lock {wish.lock_id} is not open for ride {wish.ride_id}")
