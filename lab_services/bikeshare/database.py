"""A service's own SQLite file: one short transaction per call, so that any number of threads and replicas may call."""

from __future__ import annotations

import os
import pathlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

LOCK_SECONDS = 5.0  # how long a writer waits for the writer before it


@contextmanager
def transaction(name: str, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
    """Open `<DATA_DIR>/<name>.db` for one transaction: the end commits it, an exception rolls it back.

    Writers queue at BEGIN IMMEDIATE; a plain BEGIN reads one unchanging picture and blocks nobody (WAL).
    """
    db = _connect(name)
    try:
        with db:
            db.execute(begin)
            yield db
    finally:
        db.close()


@contextmanager
def opened(name: str, schema: str) -> Iterator[None]:
    """Create the file and its tables; while it stays open, no call has to fold the write-ahead log into the file."""
    folder = pathlib.Path(os.environ.get("DATA_DIR", "data"))
    folder.mkdir(parents=True, exist_ok=True)
    db = _connect(name)
    try:
        _write_ahead(db)
        with db:
            db.execute("BEGIN IMMEDIATE")
            for statement in schema.strip().split(";"):
                db.execute(statement)
        yield
    finally:
        db.close()


def probe(name: str) -> None:
    """Raise unless the database can be read and has its tables."""
    with transaction(name, "BEGIN") as db:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.OperationalError(f"{name}.db has lost its tables")


def _connect(name: str) -> sqlite3.Connection:
    file = os.path.join(os.environ.get("DATA_DIR", "data"), f"{name}.db")  # pathlib is a tenth of a small query
    db = sqlite3.connect(file, LOCK_SECONDS, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; of two replicas that do so at once SQLite refuses one without waiting."""
    give_up = monotonic() + LOCK_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if monotonic() > give_up:
                raise
            sleep(0.01)
