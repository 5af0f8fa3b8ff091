"""What billing writes: each ride's price off its rider's wallet, and beside it, in one transaction, whose event it was.

An event that comes again finds its id there and changes nothing, however long ago that was: the broker's own memory
for duplicates ends after two minutes. A second event of the same ride is not the same event.
"""

from __future__ import annotations

import sqlite3
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab_services.bikeshare import charges
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Event, Id

SCHEMA = f"""
    {charges.SCHEMA};
    CREATE TABLE IF NOT EXISTS billed(event_id TEXT PRIMARY KEY, ride_id TEXT UNIQUE)
"""


class Unbillable(Exception):
    """An event that can be read and still cannot be billed, now or at its next delivery; the text is the reason."""


class RideEnded(BaseModel):
    """The facts of ride.ended that billing needs; others are ignored."""

    model_config = ConfigDict(strict=True)

    ride_id: Id
    rider_id: Id
    cents: Annotated[int, Field(ge=0, le=100_000_000)]


def facts_of(event: Event) -> RideEnded:
    """Return the facts of an event.

    Raises:
        Unbillable: one is missing or not what it should be.
    """
    try:
        return RideEnded.model_validate(event.data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unbillable(f"data.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def bill(event: Event) -> bool:
    """Charge the ride of an event, unless this event was billed before; return whether it was charged now.

    Raises:
        Unbillable: nothing has changed.
        sqlite3.Error: nothing has changed; later it may succeed.
    """
    ride = facts_of(event)
    with transaction("wallet") as db:
        if db.execute("SELECT 1 FROM billed WHERE event_id = ?", [event.id]).fetchone():
            return False
        _note(db, event, ride)
        _charge(db, ride)
    return True


def _note(db: sqlite3.Connection, event: Event, ride: RideEnded) -> None:
    try:
        db.execute("INSERT INTO billed VALUES (?, ?)", [event.id, ride.ride_id])
    except sqlite3.IntegrityError:
        raise Unbillable(f"ride {ride.ride_id} has been billed before, by another event") from None


def _charge(db: sqlite3.Connection, ride: RideEnded) -> None:
    try:
        charges.charge(db, ride.ride_id, ride.rider_id, ride.cents)
    except LookupError as error:
        raise Unbillable(str(error)) from None
    [balance] = db.execute("SELECT balance_cents FROM wallets WHERE rider_id = ?", [ride.rider_id]).fetchone()
    if balance < 0:
        raise Unbillable(f"{ride.rider_id} has {balance + ride.cents} cents, the ride costs {ride.cents}")
