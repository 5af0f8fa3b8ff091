"""Leases: a bike is booked by one rider, for LEASE_SECONDS. All bookings are at the broker, in the bucket BOOKINGS.

The key is the bike_id, the value a Booking; a key that is there is a bike that is booked. Three replicas of
bookings.py do this at the same time. Each of them may be killed or paused between any two lines, and go on later.

take       A bike that nobody has is the rider's: a new Booking. Of all who ask at once, one gets it. A rider who has
           the bike renews: the same Booking, and its time begins anew.
give_back  The bike is free at once.
the end    A booking that is not renewed ends LEASE_SECONDS after the last `take`, or up to half a second later, and
           never before. It ends also when the replica that made it is dead, and it is kept when the broker is killed
           and comes back.

Only the rider who has the bike may renew or give back: `Taken` for anybody else. Between the look at a booking and the
write, the bike may have become somebody else's. Then nothing is written, and what nats-py raises goes to the caller,
who answers 409: the broker refuses a write that says which revision it follows, if another one is there. (create and
update raise `Changed` then, delete its parent BadRequestError.)

A bike_id is a key at the broker and a part of a subject, where a dot, `*`, `>` and a blank mean something. It is 1 to
32 characters of A-Z a-z 0-9 _ and -; for any other one FastAPI answers 422 and names `bike_id` (`BikeId`).
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Annotated
from uuid import uuid4

from fastapi import Path
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, StorageType
from nats.js.errors import BadRequestError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "600"))  # whole seconds, where the header Nats-TTL has to say it
Changed = KeyWrongLastSequenceError


class Taken(Exception):
    """Somebody else has the bike."""


class Free(Exception):
    """Nobody has the bike."""


@dataclass(frozen=True)
class Booking:
    """Who has a bike; a booking that is renewed keeps its booking_id."""

    booking_id: str
    rider_id: str

    def written(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def new_booking(rider_id: str) -> Booking:
    return Booking(uuid4().hex, rider_id)


async def opened(broker: JetStreamContext) -> KeyValue:
    """Return the bucket; whoever starts first makes it, the others find it."""
    try:
        return await broker.create_key_value(BOOKINGS)
    except BadRequestError as error:
        raise RuntimeError(f"BOOKINGS: {error.description}; lab.stop() and lab.start() make it anew") from error


async def find(bucket: KeyValue, bike_id: str) -> tuple[Booking, int]:
    """Return the booking of a bike and the revision of its key, which each write changes; Free, if nobody has it."""
    try:
        entry = await bucket.get(bike_id)
    except KeyNotFoundError:
        raise Free(f"nobody has {bike_id}") from None
    if not entry.value or not entry.revision:  # what a broker leaves for a while that marks the end of a key
        raise Free(f"nobody has {bike_id}")
    return Booking(**json.loads(entry.value)), entry.revision


async def held_by(bucket: KeyValue, bike_id: str, rider_id: str) -> tuple[Booking, int]:
    """Return the same, if it is the booking of this rider; Taken, if it is another's."""
    booking, revision = await find(bucket, bike_id)
    if booking.rider_id != rider_id:
        raise Taken(f"{booking.rider_id} has {bike_id}")
    return booking, revision


# --- your turn 4.6 ---
BikeId = Annotated[str, Path(min_length=1, max_length=32)]
BOOKINGS = KeyValueConfig(bucket="BOOKINGS", storage=StorageType.MEMORY)


async def take(bucket: KeyValue, bike_id: str, rider_id: str) -> tuple[Booking, bool]:
    """Return the booking that the rider has now, and whether it is a new one."""
    booking, new = new_booking(rider_id), True
    with suppress(Free):
        booking, _ = await held_by(bucket, bike_id, rider_id)
        new = False
    await bucket.put(bike_id, booking.written())
    return booking, new


async def give_back(bucket: KeyValue, bike_id: str, rider_id: str) -> Booking:
    """Let the bike be free, and return the booking that it had."""
    booking, _ = await held_by(bucket, bike_id, rider_id)
    await bucket.delete(bike_id)
    return booking


# --- end 4.6 ---
