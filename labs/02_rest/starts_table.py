"""The tables of `rides.db`, which both replicas share. A ride is accepted, then either started or refused."""

import sqlite3
from datetime import UTC, datetime

from taps import Answer, Json, Keep, Wish, as_text, created

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.problems import Problem

TABLES = """
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, rider_id, bike_id, from_station, state TEXT, cents INTEGER, started_at TEXT);
    CREATE TABLE IF NOT EXISTS alerts(alert_id TEXT PRIMARY KEY, rider_id, station_id);
    CREATE TABLE IF NOT EXISTS keys(
        rider_id, route, key, fingerprint, made_id, leased_until REAL, answer TEXT,
        PRIMARY KEY (rider_id, route, key))
"""


def accept(db: sqlite3.Connection, ride_id: str, wish: Wish) -> None:
    """Write the ride down; the same again changes nothing. A start that was refused is not taken up again."""
    insert = "INSERT OR IGNORE INTO rides VALUES (?, ?, NULL, ?, 'accepted', NULL, ?)"
    db.execute(insert, [ride_id, wish.rider_id, wish.station_id, datetime.now(UTC).isoformat()])
    require_not_refused(find(db, "ride", ride_id))


def begin(db: sqlite3.Connection, ride_id: str, bike_id: str) -> Json:
    """Let an accepted ride be started; the same again changes nothing."""
    change = "UPDATE rides SET state = 'started', bike_id = ? WHERE ride_id = ? AND state = 'accepted'"
    db.execute(change, [bike_id, ride_id])
    return require_not_refused(find(db, "ride", ride_id))


def refuse(db: sqlite3.Connection, ride_id: str) -> bool:
    """Let an accepted ride be refused; return False when it was started meanwhile, and must not be undone."""
    db.execute("UPDATE rides SET state = 'refused' WHERE ride_id = ? AND state = 'accepted'", [ride_id])
    return bool(find(db, "ride", ride_id)["state"] == "refused")


def write_alert(wish: Wish, alert_id: str, keep: Keep) -> Answer:
    """Write an alert down; the same again changes nothing."""
    with transaction("rides") as db:
        db.execute("INSERT OR IGNORE INTO alerts VALUES (?, ?, ?)", [alert_id, wish.rider_id, wish.station_id])
        answer = created(f"/alerts/{alert_id}", find(db, "alert", alert_id))
        keep(db, answer)
        return answer


def keep_answer(made_id: str, db: sqlite3.Connection, answer: Answer) -> None:
    """Write an answer beside the key under which this ride or alert was made."""
    db.execute("UPDATE keys SET answer = ? WHERE made_id = ?", [as_text(answer), made_id])


def find(db: sqlite3.Connection, kind: str, made_id: str) -> Json:
    if row := db.execute(f"SELECT * FROM {kind}s WHERE {kind}_id = ?", [made_id]).fetchone():
        return dict(row)
    raise Problem(404, f"unknown {kind}", f"there is no {kind} {made_id}")


def require_not_refused(ride: Json) -> Json:
    if ride["state"] == "refused":
        raise Problem(503, "start was undone", f"the start of ride {ride['ride_id']} was undone half-way: tap again")
    return ride
