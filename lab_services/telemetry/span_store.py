"""Spans and log records in one SQLite file, of bounded size: the oldest traces make room for new ones.

Nothing is synced to the disk: after a power cut some telemetry is missing and the next ride tells new, while a sync for
every batch would make the store the slowest part of the city. A process that is killed loses nothing that it has
acknowledged: the pages are the system's already.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from .otlp_rows import LogRow, Resource, SpanRow

MOST_SPANS = 100_000
MOST_LOGS = 100_000
LEFT_SHARE = 0.9  # of the most, after making room: so that not every batch has to
LOCK_SECONDS = 5.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS resources(
    resource INTEGER PRIMARY KEY, service TEXT, instance TEXT, tags TEXT, UNIQUE(service, instance, tags));
CREATE TABLE IF NOT EXISTS spans(
    arrival INTEGER PRIMARY KEY, trace_id TEXT, span_id TEXT, parent_id TEXT, name TEXT, kind INTEGER,
    begins INTEGER, ends INTEGER, status INTEGER, tags TEXT, events TEXT, links TEXT,
    resource INTEGER REFERENCES resources, UNIQUE(trace_id, span_id, resource));
CREATE INDEX IF NOT EXISTS spans_in_time ON spans(begins, resource, name);
CREATE TABLE IF NOT EXISTS logs(
    arrival INTEGER PRIMARY KEY, at INTEGER, trace_id TEXT, span_id TEXT, severity TEXT, body TEXT, attributes TEXT,
    resource INTEGER REFERENCES resources);
CREATE INDEX IF NOT EXISTS logs_of_a_trace ON logs(trace_id)
"""
_INSERT_SPANS = f"""INSERT OR REPLACE INTO spans({", ".join(SpanRow._fields)}, resource)
    VALUES ({", ".join("?" * (len(SpanRow._fields) + 1))})"""
_INSERT_LOGS = f"""INSERT INTO logs({", ".join(LogRow._fields)}, resource)
    VALUES ({", ".join("?" * (len(LogRow._fields) + 1))})"""
_OLDEST_TRACES = "SELECT trace_id, count(*) FROM spans GROUP BY trace_id ORDER BY min(arrival)"
_UNUSED = "DELETE FROM resources WHERE resource NOT IN (SELECT resource FROM spans UNION SELECT resource FROM logs)"
Told = Sequence[tuple[Resource, Sequence[tuple[Any, ...]]]]


class SpanStore:
    """The file `traces.db` in a folder. Any number of threads may call it: writers take turns, readers wait for nobody.

    A span that is exported again replaces itself, one of the same id from another process is another span. At most
    `most_spans` and `most_logs` are kept; a trace that alone is larger goes as well. Two processes on one file, as
    while one replaces the other, each count what they take in themselves.
    """

    def __init__(self, folder: Path, most_spans: int = MOST_SPANS, most_logs: int = MOST_LOGS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "traces.db"
        self._most_spans, self._most_logs = most_spans, most_logs
        self._turn = threading.Lock()
        self._writer = self._connect()
        _write_ahead(self._writer)
        self._writer.executescript(f"BEGIN IMMEDIATE;{SCHEMA};COMMIT")
        with self.reading() as db:
            self._spans, self._logs = _count(db, "spans"), _count(db, "logs")

    def add_spans(self, told: Told) -> None:
        """Keep all these spans or none; return when they can be read."""
        with self._transaction() as db:
            self._spans += _insert(db, _INSERT_SPANS, told)
            if self._spans > self._most_spans:  # more than there are, when some replaced themselves
                self._spans = _count(db, "spans")
            if self._spans > self._most_spans:
                self._forget_traces(db)

    def add_logs(self, told: Told) -> None:
        """Keep all these log records or none."""
        with self._transaction() as db:
            self._logs += _insert(db, _INSERT_LOGS, told)
            if self._logs > self._most_logs:
                left = int(self._most_logs * LEFT_SHARE)
                db.execute(
                    "DELETE FROM logs WHERE arrival NOT IN (SELECT arrival FROM logs ORDER BY arrival DESC LIMIT ?)",
                    [left],
                )
                db.execute(_UNUSED)
                self._logs = _count(db, "logs")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open one unchanging picture of what is kept."""
        db = self._connect()
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA query_only = ON")
            db.execute("BEGIN")
            yield db
        finally:
            db.close()

    def probe(self) -> None:
        """Raise sqlite3.Error unless the file can be read and has its tables."""
        with self.reading() as db:
            db.execute("SELECT 1 FROM spans LIMIT 1").fetchone()

    def close(self) -> None:
        """Fold the write-ahead log into the file."""
        with self._turn:
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous = OFF")
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            counts = self._spans, self._logs
            try:
                with self._writer:
                    self._writer.execute("BEGIN IMMEDIATE")
                    yield self._writer
            except BaseException:
                self._spans, self._logs = counts
                raise

    def _forget_traces(self, db: sqlite3.Connection) -> None:
        """Let the traces go whose first span came before that of all others, until there is room again."""
        goes = []
        for trace_id, spans in db.execute(_OLDEST_TRACES).fetchall():
            if self._spans <= self._most_spans * LEFT_SHARE:
                break
            goes.append((trace_id,))
            self._spans -= spans
        db.executemany("DELETE FROM spans WHERE trace_id = ?", goes)
        db.execute(_UNUSED)


def _insert(db: sqlite3.Connection, insert: str, told: Told) -> int:
    rows = [(*row, number) for resource, rows in told if rows for number in [_number(db, resource)] for row in rows]
    db.executemany(insert, rows)
    return len(rows)


def _number(db: sqlite3.Connection, resource: Resource) -> int:
    """Return the number of a process, which gets one with its first span."""
    db.execute("INSERT OR IGNORE INTO resources(service, instance, tags) VALUES (?, ?, ?)", resource)
    found = db.execute("SELECT resource FROM resources WHERE (service, instance, tags) = (?, ?, ?)", resource)
    return int(found.fetchone()[0])


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; of two processes that do so at once SQLite refuses one without waiting."""
    give_up = monotonic() + LOCK_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if monotonic() > give_up:
                raise
            sleep(0.01)
