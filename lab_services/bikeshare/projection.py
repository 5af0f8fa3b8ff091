"""The city map as tables that are derived from the stream RIDES, and from nothing else.

A generation is one map with the number of the last message that is in it, written in the same transaction. One of them
is shown; a rebuild fills another one from the first message on, and is shown when it has caught up.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lab_services.bikeshare.commands import RideId
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Event, Id, Unreadable, read
from lab_services.bikeshare.problems import Problem

RANKS = {"started": 1, "refused": 2, "ended": 2}  # a ride only goes up: an event that comes late changes nothing
KNOWN = {f"ride.{state}": 1 for state in RANKS}
SCHEMA = """
    CREATE TABLE IF NOT EXISTS generations(
        generation INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT, position INTEGER DEFAULT 0, shown INTEGER DEFAULT 0);
    CREATE TABLE IF NOT EXISTS map(
        generation INTEGER, ride_id TEXT, state TEXT, rider_id TEXT, bike_id TEXT, station_id TEXT, changed_at INTEGER,
        PRIMARY KEY (generation, ride_id));
    CREATE TABLE IF NOT EXISTS unreadable(
        generation INTEGER, position INTEGER, reason TEXT, PRIMARY KEY (generation, position))
"""
SHOWN = "SELECT * FROM generations WHERE shown"
RIDE = "SELECT * FROM map WHERE generation = ? AND ride_id = ?"
WRITE = """INSERT OR REPLACE INTO map VALUES (:generation, :ride_id, :state, :rider_id, :bike_id, :station_id, :at)"""
BIKES = """SELECT bike_id, ride_id, state, station_id, max(changed_at) FROM map
    WHERE generation = ? AND state != 'refused' GROUP BY bike_id ORDER BY bike_id"""
COUNTS = "SELECT state, count(*) AS rides FROM map WHERE generation = ? GROUP BY state ORDER BY state"
UNREADABLE = "SELECT position, reason FROM unreadable WHERE generation = ? ORDER BY position DESC LIMIT 100"


class Fact(BaseModel):
    """What the map needs of an event about a ride."""

    model_config = ConfigDict(strict=True)

    ride_id: RideId
    rider_id: Id
    bike_id: Id
    station_id: Id | None = None


@dataclass(frozen=True)
class Generation:
    """One map: of which stream (the time when it was made), how far it is, and whether it is the one that is shown."""

    number: int
    stream: str
    position: int
    shown: bool


def generations() -> list[Generation]:
    """Return all maps that are kept up to date, the oldest first."""
    with transaction("citymap", "BEGIN") as db:
        rows = db.execute("SELECT * FROM generations ORDER BY generation").fetchall()
    return [Generation(row["generation"], row["stream"], row["position"], bool(row["shown"])) for row in rows]


def greet(stream: str) -> None:
    """See to it that there is a map of this stream; that of a stream that is lost is shown until it is built."""
    with transaction("citymap") as db:
        shown = db.execute(SHOWN).fetchone()
        db.execute("DELETE FROM generations WHERE NOT shown AND stream != ?", [stream])
        if not db.execute("SELECT 1 FROM generations WHERE stream = ?", [stream]).fetchone():
            db.execute("INSERT INTO generations(stream, shown) VALUES (?, ?)", [stream, shown is None])
        _sweep(db)


def begin_rebuild() -> int:
    """Return the number of the map that is being built, a new one unless there is one already.

    Raises:
        Problem: 503, there is no map yet.
    """
    with transaction("citymap") as db:
        if building := db.execute("SELECT generation FROM generations WHERE NOT shown").fetchone():
            return int(building[0])
        shown = db.execute(SHOWN).fetchone()
        if shown is None:
            raise Problem(503, "no map yet", "the stream RIDES has not been seen so far")
        return db.execute("INSERT INTO generations(stream) VALUES (?)", [shown["stream"]]).lastrowid or 0


def project(number: int, messages: Iterable[tuple[int, bytes]], goal: int) -> bool:
    """Add messages (position and content) to a map; show it once it has reached `goal` and what is shown now.

    Return False when this map is not kept any more.
    """
    with transaction("citymap") as db:
        own = db.execute("SELECT * FROM generations WHERE generation = ?", [number]).fetchone()
        if own is None:
            return False
        position = own["position"]
        for at, content in messages:
            if at > position:
                _add(db, number, at, content)
                position = at
        db.execute("UPDATE generations SET position = ? WHERE generation = ?", [position, number])
        if not own["shown"] and position >= goal:
            _show(db, number, own["stream"], position)
        return True


def _add(db: sqlite3.Connection, number: int, at: int, content: bytes) -> None:
    try:
        event = read(content, KNOWN)
        fact = Fact.model_validate(event.data)
    except (Unreadable, ValidationError) as error:
        reason = str(error) if isinstance(error, Unreadable) else f"data: {error.error_count()} faults"
        db.execute("INSERT OR REPLACE INTO unreadable VALUES (?, ?, ?)", [number, at, reason])
    else:
        _change(db, number, at, event, fact)


def _change(db: sqlite3.Connection, number: int, at: int, event: Event, fact: Fact) -> None:
    """Set a ride to what the event says, never add to it: the same event twice is the same map."""
    before = db.execute(RIDE, [number, fact.ride_id]).fetchone()
    state = event.type.removeprefix("ride.")
    if before is None or RANKS[state] > RANKS[before["state"]]:
        db.execute(WRITE, fact.model_dump() | {"generation": number, "state": state, "at": at})


def _show(db: sqlite3.Connection, number: int, stream: str, position: int) -> None:
    shown = db.execute(SHOWN).fetchone()
    if shown and shown["stream"] == stream and shown["position"] > position:
        return  # a reader must not see the map go back
    db.execute("UPDATE generations SET shown = (generation = ?)", [number])
    db.execute("DELETE FROM generations WHERE NOT shown")
    _sweep(db)


def _sweep(db: sqlite3.Connection) -> None:
    for table in ("map", "unreadable"):
        db.execute(f"DELETE FROM {table} WHERE generation NOT IN (SELECT generation FROM generations)")


def require_map() -> None:
    """Raise unless there is a map to show."""
    with transaction("citymap", "BEGIN") as db:
        _shown(db)


def whole_map() -> dict[str, Any]:
    """Return the map: where each bike was last seen, how many rides are in which state, and what could not be read."""
    with transaction("citymap", "BEGIN") as db:
        shown = _shown(db)
        bikes = {row["bike_id"]: _place(row) for row in db.execute(BIKES, [shown["generation"]])}
        counts = {row["state"]: row["rides"] for row in db.execute(COUNTS, [shown["generation"]])}
        building = db.execute("SELECT generation, position FROM generations WHERE NOT shown").fetchone()
        unreadable = [dict(row) for row in db.execute(UNREADABLE, [shown["generation"]])]
    about: dict[str, Any] = {"generation": shown["generation"], "position": shown["position"]}
    about["rebuild"] = dict(building) if building else None
    return about | {"rides": counts, "bikes": bikes, "unreadable": unreadable}


def ride_on_map(ride_id: str) -> dict[str, Any]:
    """Return what the map knows of a ride, and up to which position of the stream.

    Raises:
        Problem: 404, no event about it has come so far.
    """
    with transaction("citymap", "BEGIN") as db:
        shown = _shown(db)
        row = db.execute(RIDE, [shown["generation"], ride_id]).fetchone()
    if row is None:
        raise Problem(404, "unknown ride", f"up to position {shown['position']} nobody has told of ride {ride_id}")
    facts = {key: row[key] for key in ("ride_id", "state", "rider_id", "bike_id", "station_id")}
    return facts | {"changed_at": row["changed_at"], "position": shown["position"]}


def _shown(db: sqlite3.Connection) -> sqlite3.Row:
    if row := db.execute(SHOWN).fetchone():
        found: sqlite3.Row = row
        return found
    raise Problem(503, "no map yet", "the stream RIDES has not been seen so far")


def _place(row: sqlite3.Row) -> dict[str, str]:
    return {"ride_id": row["ride_id"]} if row["state"] == "started" else {"station_id": row["station_id"]}
