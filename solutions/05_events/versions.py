"""Versions: facts live as long as the stream that keeps them, and the form of their data changes meanwhile.

`ride.wanted` has had three forms. An upcaster makes the data of the next version out of those of one version, so that
the services know the newest alone:

| type           | data                                     | what to know of it                                 |
| -------------- | ---------------------------------------- | -------------------------------------------------- |
| ride.wanted.v1 | rider, bike, minutes (a whole number)    | it costs what it cost on its day                   |
| ride.wanted.v2 | rider_id, bike_id, euros (a float, 4.35) | it means the cents that it is nearest to           |
| ride.wanted.v3 | rider_id, bike_id, cents (435)           | the newest                                         |

`at` is the time of the event, and `price` knows the tariffs of all times. Data that lack a field, or have nonsense in
it, may raise KeyError, TypeError, ValueError or OverflowError: they are unreadable then, for that reason.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from cloudevents.core.v1.event import CloudEvent
from dance_facts import NEWEST, Fact, Ride
from pydantic import ValidationError

from lab_services.bikeshare.messages import Unreadable

TARIFFS = (  # from when on, cents for the start, cents for a minute; the newest first
    (datetime(2026, 3, 1, tzinfo=UTC), 130, 25),
    (datetime(2025, 3, 1, tzinfo=UTC), 100, 21),
    (datetime.min.replace(tzinfo=UTC), 80, 15),
)
Upcaster = Callable[[Mapping[str, Any], datetime], dict[str, Any]]


def price(minutes: int, at: datetime) -> int:
    """Return what a ride of so many minutes cost when it began at that time, in cents."""
    start, minute = next((start, minute) for since, start, minute in TARIFFS if since <= at)
    return start + minute * minutes


# --- your turn 5.5 ---
def from_minutes(data: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Return version 2 of ride.wanted, made of version 1."""
    # The tariff of that day: a replay next year must not make the rides of this year dearer.
    return {"rider_id": data["rider"], "bike_id": data["bike"], "euros": price(data["minutes"], at) / 100}


def from_euros(data: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Return version 3 of ride.wanted, made of version 2."""
    # Rounded: 100 times the float 4.35 is 434.99999999999994, and int() takes what is behind the dot away.
    return {"rider_id": data["rider_id"], "bike_id": data["bike_id"], "cents": round(data["euros"] * 100)}


# --- end 5.5 ---

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {("ride.wanted", 1): from_minutes, ("ride.wanted", 2): from_euros}


def current(event: CloudEvent) -> Fact:
    """Return the fact in an envelope, in the newest version of its data.

    Raises:
        Unreadable: of a type that we do not know, of a version newer than ours, or with data that it should not have.
    """
    name, _, number = event.get_type().rpartition(".v")
    if name not in NEWEST or not (number.isascii() and number.isdigit()) or len(number) > 3:
        raise Unreadable(f"type: {event.get_type()} is not known")
    if not 1 <= (version := int(number)) <= NEWEST[name]:
        raise Unreadable(f"version: {version} of {name}, and {NEWEST[name]} is the newest that is known")
    data = event.get_data()
    if not isinstance(data, dict):
        raise Unreadable(f"data: {type(data).__name__} is no JSON object")
    try:
        for old in range(version, NEWEST[name]):
            data = UPCASTERS[name, old](data, event.get_time())
        return Fact(name, Ride.model_validate({**data, "ride_id": event.get_subject()}), event)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unreadable(f"data: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Unreadable(f"data: version {version} of {name}: {type(error).__name__}: {error}") from None
