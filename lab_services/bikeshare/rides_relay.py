"""The other half of rides: one bounded call to a service, the outbox of notices, and the undoing of failed starts."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from lab_services.bikeshare import carried
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.problems import Problem

ANSWER_SECONDS = 2.0
RELAY_SECONDS = 0.2
BATCH = 100
LATE_SECONDS = 6.0  # a call that we gave up may arrive later; a ride accepted for longer than this lost its process
SCHEMA = """;
    CREATE TABLE IF NOT EXISTS pending_notices(notice_id TEXT PRIMARY KEY, rider_id, ride_id, text);
    CREATE TABLE IF NOT EXISTS pending_undos(ride_id TEXT PRIMARY KEY, station_id TEXT, until TEXT)
"""
SCHEMA += carried.SCHEMA
UNDO = "INSERT OR IGNORE INTO pending_undos SELECT ride_id, from_station, ? FROM rides WHERE "
REFUSE = "UPDATE rides SET state = 'refused', ended_at = ? WHERE "
LIMITS = httpx.Limits(keepalive_expiry=2.0)  # uvicorn hangs up an idle connection after 5 s: let go well before
city: httpx.Client  # the connections to the other services, open as long as the relay
log = logging.getLogger("uvicorn.error")


def moment(seconds_from_now: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds_from_now)).isoformat(timespec="milliseconds")


def call(service: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask another service: its 4xx becomes ours, and every other trouble is a 503 that names the service."""
    try:
        answer = city.request(method, os.environ.get(f"{service.upper()}_URL", "") + path, json=body)
        document = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        why = f"{service} does not answer: {type(error).__name__}"
        raise Problem(503, "service unavailable", why, service=service) from error
    if not isinstance(document, dict) or not (answer.is_success or answer.is_client_error):
        raise Problem(503, "service unavailable", f"{service} answers {answer.status_code}", service=service)
    if answer.is_client_error:
        title, detail = str(document.get("title", "refused")), str(document.get("detail", answer.reason_phrase))
        raise Problem(answer.status_code, title, detail, service=service)
    return document


def refuse(ride_id: str, problem: Problem) -> None:
    """Close a start that failed: the hold is released at once, all else is undone by the relay."""
    unsure = problem.status == 503
    with transaction("rides") as db:
        db.execute(UNDO + "ride_id = ?", [moment(LATE_SECONDS if unsure else 0), ride_id])
        db.execute(REFUSE + "ride_id = ?", [moment(), ride_id])
        carried.remember(db, ride_id)
    if problem.extra["service"] == "stations":
        with suppress(Problem):
            call("wallet", "PUT", f"/holds/{ride_id}/released")


@contextmanager
def relay() -> Iterator[None]:
    """Deliver notices and undo failed starts in a thread, as long as the service runs."""
    global city
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=[stop], name="relay", daemon=True)
    with httpx.Client(timeout=ANSWER_SECONDS, limits=LIMITS) as city:
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(2 * ANSWER_SECONDS + 1)  # one call connects for so long and waits for so long


def _work(stop: threading.Event) -> None:
    while not stop.wait(RELAY_SECONDS):
        for step in (deliver_notices, undo_failed_starts):
            try:
                step(stop)
            except Problem:
                pass  # a service is away: the rows wait for the next round
            except sqlite3.Error as error:
                log.warning("the relay cannot use its database: %s", error)


def deliver_notices(stop: threading.Event) -> None:
    """Outbox: send each notice, then forget it. After a crash in between it is sent again, under the same id."""
    for row in _pending("pending_notices"):
        if stop.is_set():
            return
        notice_id = row.pop("notice_id")
        try:
            with _resumed(notice_id):
                call("notices", "PUT", f"/notices/{notice_id}", row)
        except Problem as problem:
            if problem.status == 503:
                raise
            log.warning("notice %s was refused and is dropped: %s", notice_id, problem)
        with transaction("rides") as db:
            db.execute("DELETE FROM pending_notices WHERE notice_id = ?", [notice_id])
            carried.forget(db, notice_id)


def undo_failed_starts(stop: threading.Event) -> None:
    """Compensation: release the hold and return the bike, until both have answered and no call can be late any more."""
    with transaction("rides") as db:
        db.execute(UNDO + "state = 'accepted' AND started_at < ?", [moment(), moment(-LATE_SECONDS)])
        db.execute(REFUSE + "state = 'accepted' AND started_at < ?", [moment(), moment(-LATE_SECONDS)])
    for row in _pending("pending_undos"):
        if stop.is_set():
            return
        for service, path in _steps_back(row["ride_id"], row["station_id"]):
            try:
                with _resumed(row["ride_id"]):
                    call(service, "PUT", path)
            except Problem as problem:
                if problem.status == 503:
                    raise  # 4xx: there was nothing to undo
        if moment() >= row["until"]:
            with transaction("rides") as db:
                db.execute("DELETE FROM pending_undos WHERE ride_id = ?", [row["ride_id"]])
                carried.forget(db, row["ride_id"])


def _steps_back(ride_id: str, station_id: str) -> list[tuple[str, str]]:
    return [
        ("wallet", f"/holds/{ride_id}/released"),
        ("stations", f"/stations/{station_id}/returned/{ride_id}"),
    ]


def _resumed(key: str) -> AbstractContextManager[None]:
    """Go on in the trace of the request that has left a row behind."""
    with transaction("rides", "BEGIN") as db:
        return carried.resumed(carried.recall(db, key))


def _pending(table: str) -> list[dict[str, Any]]:
    with transaction("rides", "BEGIN") as db:
        return [dict(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY rowid LIMIT ?", [BATCH])]
