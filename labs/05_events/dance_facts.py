"""Facts: what the services of the dance tell each other, and the stream FACTS that keeps it.

| said by  | fact                                          | the next step is for             |
| -------- | --------------------------------------------- | -------------------------------- |
| rides    | ride.wanted, ride.withdrawn                   | the wallet, the locks            |
| wallet   | money.held, money.refused, money.released     | the stations, rides, rides       |
| stations | bike.reserved, bike.refused, bike.freed       | the locks, the wallet, the wallet |
| locks    | dock.opened, dock.refused                     | stations and rides, the stations |
| rides    | ride.started, ride.refused                    | nobody: the start is over        |

A fact is a CloudEvent (envelope.py) on fact.<its name>.<its ride>: fact.money.held.r1. All facts carry the same data.
"""

import os
from dataclasses import dataclass
from typing import Annotated

from cloudevents.core.v1.event import CloudEvent
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from pydantic import BaseModel, ConfigDict, Field

from lab_services.bikeshare.messages import MOST_BYTES, Id
from lab_services.bikeshare.streams import HEADER_BYTES, token

SERVICE = os.environ.get("SERVICE_NAME", "city")
NEWEST = {  # the names that we know, each with the version of its data that we write
    "ride.wanted": 3, "ride.withdrawn": 1, "ride.started": 1, "ride.refused": 1,
    "money.held": 1, "money.refused": 1, "money.released": 1,
    "bike.reserved": 1, "bike.refused": 1, "bike.freed": 1,
    "dock.opened": 1, "dock.refused": 1,
}  # fmt: skip
FACTS = StreamConfig(
    name="FACTS",
    subjects=["fact.*.*.*"],
    retention=RetentionPolicy.LIMITS,
    discard=DiscardPolicy.NEW,
    max_bytes=64 * 1024 * 1024,
    max_msg_size=MOST_BYTES + HEADER_BYTES,
    duplicate_window=120,
)


class Ride(BaseModel):
    """The data of every fact, in the newest version; fields that a newer service adds are ignored."""

    model_config = ConfigDict(strict=True, frozen=True)

    ride_id: Id
    rider_id: Id
    bike_id: Id
    cents: Annotated[int, Field(ge=1, le=100_000)]
    reason: Annotated[str, Field(max_length=200)] = ""


@dataclass(frozen=True)
class Fact:
    """A fact that was read: its name, the ride that it tells of, and the envelope in which it came."""

    name: str
    ride: Ride
    event: CloudEvent | None = None


@dataclass(frozen=True)
class Say:
    """A fact that is to be said of the same ride; its name is one of NEWEST."""

    name: str
    reason: str = ""


def subject_of(name: str, ride_id: str) -> str:
    return f"fact.{name}.{token(ride_id)}"
