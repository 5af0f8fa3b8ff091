"""Facts: what an event of the stream RIDES says. It tells the whole ride as it was at that moment: whoever reads it
has to ask nobody, and has to have read no other event before.

| type           | version | data                                                                                  |
| -------------- | ------- | ------------------------------------------------------------------------------------- |
| ride.started   | 1       | ride_id, number, rider_id, bike_id, from_station                                      |
| ride.ended     | 2       | the same, to_station, and cents: what the ride has cost, whatever it would cost today |
| ride.ended     | 1       | as version 2, but euros, a text such as "3.40", in place of 340 cents                 |
| ride.corrected | 1       | as ride.ended 2: the desk has changed where the ride ended, or what it has cost       |

`number` counts the events of one ride, from 1 on. `time` is told by the clock of the bike, which can be years off.
Nobody writes version 1 of ride.ended any more, but the stream keeps what was written: `newest` returns the data of any
event as the newest version of its type tells them. It raises Unreadable, with the name of the field in its text, where
it cannot.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab_services.bikeshare.messages import Event, Id, Unreadable

VERSIONS = {"ride.started": 1, "ride.ended": 2, "ride.corrected": 1}
MOST_CENTS = 100_000_000


class Ride(BaseModel):
    """A ride as one event tells it, and as the picture shows it; two that are alike are equal."""

    model_config = ConfigDict(strict=True, frozen=True)

    ride_id: Id
    number: Annotated[int, Field(ge=1, le=1_000_000)]
    state: Literal["riding", "ended"]
    rider_id: Id
    bike_id: Id
    from_station: Id
    to_station: Id | None = None
    cents: Annotated[int, Field(ge=0, le=MOST_CENTS)] | None = None


class _Ended(Ride):
    to_station: Id
    cents: Annotated[int, Field(ge=0, le=MOST_CENTS)]


# --- your turn 5.3 ---
def newest(event: Event) -> Mapping[str, Any]:
    """Return the data of an event as the newest version of its type tells them."""
    return event.data


# --- end 5.3 ---


def ride_of(event: Event) -> Ride:
    """Return the ride that an event tells.

    Raises:
        Unreadable: a field is missing, or is not what it should be.
    """
    data = newest(event)
    try:
        if event.type == "ride.started":
            return Ride(**{**data, "state": "riding", "to_station": None, "cents": None})
        return Ride(**_Ended(**{**data, "state": "ended"}).model_dump())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unreadable(f"data.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
