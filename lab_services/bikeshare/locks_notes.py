"""What the gateway notes of every call, for whoever wants to know later: the table `calls`.

A row is there some 20 ms after its call has come in, and has ended_at and code (NULL until then) some 20 ms after its
end: streams without ended_at are those that are open. remaining_seconds is what the caller's deadline left when the
call came in, NULL where it set none. replica is a process id, peer one connection of a client, attempt counts from 1
in gRPC's own retries. began_at and ended_at are Unix seconds. The newest 100,000 rows are kept.
A caller whose deadline is over sends the same as one that cancels; code tells them apart by the time that was left.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from grpc import StatusCode

from lab_services.bikeshare.database import transaction

MOST_NOTES = 10_000  # that wait for a database which cannot be written; later ones are given up
NOTE_SECONDS = 0.02
SCHEMA = """
    CREATE TABLE IF NOT EXISTS calls(
        call_id TEXT PRIMARY KEY, rpc TEXT, lock_id TEXT, replica INTEGER, peer TEXT, attempt INTEGER,
        traceparent TEXT, remaining_seconds REAL, began_at REAL, ended_at REAL, code TEXT)
"""
WRITE = """INSERT INTO calls VALUES (:call_id, :rpc, :lock_id, :replica, :peer, :attempt, :traceparent,
    :remaining_seconds, :began_at, :ended_at, :code)
    ON CONFLICT DO UPDATE SET ended_at = excluded.ended_at, code = excluded.code"""
FORGET = "DELETE FROM calls WHERE rowid <= (SELECT max(rowid) FROM calls) - 100000"
Note = dict[str, Any]


class Notes:
    """The notes of one replica, written in batches, so that no call waits for the disk because of its note."""

    def __init__(self) -> None:
        self._waiting: dict[str, Note] = {}
        self._count = 0

    def begin(self, context: Any, rpc: str, lock_id: str) -> Note:
        """Note that a call has come in."""
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        retries = metadata.get("grpc-previous-rpc-attempts", "")
        self._count += 1
        note = {
            "call_id": f"{os.getpid()}-{time.time_ns()}-{self._count}",
            "rpc": rpc,
            "lock_id": lock_id[:64],
            "replica": os.getpid(),
            "peer": context.peer(),
            "attempt": int(retries) + 1 if retries.isdecimal() and len(retries) < 4 else 1,
            "traceparent": metadata.get("traceparent", "")[:64] or None,
            "remaining_seconds": context.time_remaining(),
            "began_at": time.time(),
            "ended_at": None,
            "code": None,
        }
        self._keep(note)
        return note

    def end(self, note: Note, code: StatusCode) -> None:
        """Note with which status it has ended."""
        self._keep(note | {"ended_at": time.time(), "code": code.name})

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write down what is noted, time and again, and once more at the end."""
        writer = asyncio.create_task(self._keep_writing())
        try:
            yield
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
            self._write(self._take())

    def _keep(self, note: Note) -> None:
        if len(self._waiting) < MOST_NOTES or note["call_id"] in self._waiting:
            self._waiting[note["call_id"]] = note

    def _take(self) -> list[Note]:
        notes, self._waiting = list(self._waiting.values()), {}
        return notes

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            if notes := self._take():
                await asyncio.shield(asyncio.to_thread(self._write, notes))

    def _write(self, notes: list[Note]) -> None:
        try:
            with transaction("locks") as db:
                db.executemany(WRITE, notes)
                db.execute(FORGET)
        except sqlite3.DatabaseError as error:
            logging.getLogger(__name__).warning("%d calls are not noted: %s", len(notes), error)
