"""Bolts: a small gateway of locks that speaks frames over TCP. Each movement of a bolt is a row in its ledger."""

import asyncio
import re
import sqlite3
from contextlib import ExitStack
from typing import Any

from error_kinds import Jammed
from skeleton import serve_calls

from lab_services.bikeshare.database import opened, transaction

# `held` lists locks that somebody keeps from moving: whoever opens one waits until it is let go.
TABLES = """
CREATE TABLE IF NOT EXISTS openings (
    number INTEGER PRIMARY KEY, lock_id TEXT NOT NULL, rider_id TEXT NOT NULL, note TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS held (lock_id TEXT PRIMARY KEY);
"""
BATTERIES = {f"l-{number:02}": 100 - number for number in range(1, 21)}  # percent, of each lock there is
JAMMED = "l-13"
LOOK_SECONDS = 0.02
ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
files = ExitStack()  # holds the ledger open while this process lives


async def open_lock(lock_id: str, rider_id: str, note: str = "") -> dict[str, Any]:
    """Open a lock for a rider, and tell which opening of the city it is; the note is kept as it came."""
    known(lock_id)
    if not (isinstance(rider_id, str) and ID.fullmatch(rider_id) and isinstance(note, str)):
        raise ValueError("rider_id: 1 to 64 characters of A-Z a-z 0-9 . _ -; note: a text")
    if lock_id == JAMMED:
        raise Jammed(f"{lock_id} is jammed: a branch is in the wheel")
    while (number := await asyncio.to_thread(move_bolt, lock_id, rider_id, note)) is None:
        await asyncio.sleep(LOOK_SECONDS)
    return {"lock_id": lock_id, "opening": number}


async def battery(lock_id: str) -> int:
    """Tell the charge of a lock's battery in percent."""
    return BATTERIES[known(lock_id)]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await serve_calls({"open_lock": open_lock, "battery": battery}, reader, writer)


def known(lock_id: str) -> str:
    """Return the id of a lock that is there."""
    if not (isinstance(lock_id, str) and ID.fullmatch(lock_id)):
        raise ValueError("lock_id: 1 to 64 characters of A-Z a-z 0-9 . _ -")
    if lock_id not in BATTERIES:
        raise LookupError(f"there is no lock {lock_id}")
    return lock_id


def move_bolt(lock_id: str, rider_id: str, note: str) -> int | None:
    """Write the opening into the ledger and return its number; None while somebody holds the bolt."""
    with transaction("bolts") as db:
        if db.execute("SELECT 1 FROM held WHERE lock_id = ?", [lock_id]).fetchone():
            return None
        entry = [lock_id, rider_id, note]
        made: sqlite3.Cursor = db.execute("INSERT INTO openings(lock_id, rider_id, note) VALUES (?, ?, ?)", entry)
        return made.lastrowid


files.enter_context(opened("bolts", TABLES))
