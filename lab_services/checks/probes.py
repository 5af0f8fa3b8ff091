"""What checks do to a service beside calling it: all at once, again until it holds, and a look at its rows."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")

TOGETHER_SECONDS = 8.0
POLL_SECONDS = 0.02
BUSY_SECONDS = 2.0


def together(calls: Sequence[Callable[[], Any]], within: float = TOGETHER_SECONDS) -> list[Any]:
    """Release all calls at once behind a barrier and return their results in order.

    A call that raises has its exception as its result; one that has not ended `within` seconds, a TimeoutError.
    """
    results: list[Any] = [TimeoutError(f"the call did not end within {within:g} s") for _ in calls]
    barrier = threading.Barrier(len(calls)) if calls else None

    def run(place: int) -> None:
        assert barrier is not None
        try:
            barrier.wait(within)
            results[place] = calls[place]()
        except Exception as problem:
            results[place] = problem

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + within
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(results)


def eventually(probe: Callable[[], Value], within: float = 2.0) -> Value:
    """Ask again until the answer is true, at most `within` seconds, and return the last answer.

    A probe that raises is asked again; if its last try raised too, that exception goes to the caller.
    """
    deadline = time.monotonic() + within
    while True:
        last_try = time.monotonic() >= deadline
        try:
            value = probe()
        except Exception:
            if last_try:
                raise
        else:
            if value or last_try:
                return value
        time.sleep(POLL_SECONDS)


def rows(database: str | Path | sqlite3.Connection, sql: str, *args: object) -> list[dict[str, Any]]:
    """Return the rows of a query as dictionaries, reading only.

    Args:
        database: an SQLite file, a data folder that holds exactly one *.db file, or an open connection.
        sql: the query, with ? for each of args.

    Raises:
        FileNotFoundError: there is no such database.
    """
    if isinstance(database, sqlite3.Connection):
        return _fetch(database, sql, args)
    address = f"{_database_file(Path(database)).resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS)) as connection:
        return _fetch(connection, sql, args)


def _fetch(connection: sqlite3.Connection, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(sql, args)
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _database_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.db")) if path.is_dir() else []
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found) or "none"
    raise FileNotFoundError(f"one database expected at {path.name}, found: {names}")
