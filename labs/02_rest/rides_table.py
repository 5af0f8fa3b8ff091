"""What happens to a ride. Knows nothing of HTTP: what it cannot do, it refuses (Refusal).

Calls the wallet, the stations and pricing. Each step may be repeated: a repeated step finds its work done.
"""

from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

from rides_words import Json

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.problems import Problem

HOLD_CENTS = 2000
RIDES = """
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, rider_id, bike_id, from_station, to_station, state TEXT,
        minutes INTEGER, cents INTEGER, started_at TEXT, ended_at TEXT)
"""
KINDS = {402: "too poor", 404: "unknown", 409: "conflict"}  # what other services refuse; all else: "away"


class Refusal(Exception):
    """Something that cannot be done. `kind` is "unknown", "too poor", "conflict" or "away"; str() says what it is."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        super().__init__(detail)


def start(rider_id: str, station_id: str) -> Json:
    """Block the money, take a bike and return the new ride."""
    ride_id = f"r-{uuid4().hex[:12]}"
    with transaction("rides") as db:
        insert = "INSERT INTO rides(ride_id, rider_id, from_station, state, started_at) VALUES (?, ?, ?, 'accepted', ?)"
        db.execute(insert, [ride_id, rider_id, station_id, now()])
    try:
        ask("wallet", f"/holds/{ride_id}", {"rider_id": rider_id, "cents": HOLD_CENTS})
        bike = ask("stations", f"/stations/{station_id}/taken/{ride_id}")
    except Refusal:
        undo(ride_id, station_id)
        raise
    return change(ride_id, "accepted", "started", bike_id=bike["bike_id"])


def end(ride_id: str, station_id: str, minutes: int) -> Json:
    """Take the bike back and the price of the ride; the same end again changes nothing and returns the same ride."""
    ride = find_ride(ride_id)
    if ride["state"] == "ended" and (ride["to_station"], ride["minutes"]) != (station_id, minutes):
        raise Refusal("conflict", f"ride {ride_id} ended at {ride['to_station']} after {ride['minutes']} minutes")
    if ride["state"] == "ended":
        return ride
    if ride["state"] != "started":
        raise Refusal("conflict", f"ride {ride_id} is {ride['state']}")
    cents = ask("pricing", f"/quote?minutes={minutes}", method="GET")["cents"]
    ask("stations", f"/stations/{station_id}/returned/{ride_id}")
    ask("wallet", f"/holds/{ride_id}/captured", {"cents": cents})
    return change(ride_id, "started", "ended", to_station=station_id, minutes=minutes, cents=cents, ended_at=now())


def find_ride(ride_id: str) -> Json:
    with transaction("rides", "BEGIN") as db:
        if row := db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone():
            return dict(row)
    raise Refusal("unknown", f"there is no ride {ride_id}")


def ask(service: str, path: str, body: Json | None = None, method: str = "PUT") -> Json:
    """Call another service; what it refuses becomes a refusal of ours, in our words."""
    try:
        return call(service, method, path, body)
    except Problem as problem:
        raise Refusal(KINDS.get(problem.status, "away"), problem.detail) from problem


def change(ride_id: str, before: str, state: str, **facts: object) -> Json:
    columns = ", ".join(f"{name} = ?" for name in ["state", *facts])
    with transaction("rides") as db:
        update = f"UPDATE rides SET {columns} WHERE ride_id = ? AND state = ?"
        db.execute(update, [state, *facts.values(), ride_id, before])
    return find_ride(ride_id)


def undo(ride_id: str, station_id: str) -> None:
    """Give bike and money back after a start that failed half-way; what had not happened is refused, which is fine."""
    with suppress(Refusal):
        ask("stations", f"/stations/{station_id}/returned/{ride_id}")
    with suppress(Refusal):
        ask("wallet", f"/holds/{ride_id}/released")
    change(ride_id, "accepted", "refused")


def now() -> str:
    return datetime.now(UTC).isoformat()
