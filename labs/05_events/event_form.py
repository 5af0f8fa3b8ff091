"""The form of an event: what it says of itself, and what is refused before it is written down.

It is the Event of bikeshare/messages.py, with two fields more: `subject`, the bike that it is about, and `caused_by`,
the id of the event that it follows from (None: it follows from none).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

from pydantic import Field, ValidationError

from lab_services.bikeshare.messages import Event, Unreadable, read
from lab_services.bikeshare.problems import ID, Problem

VERSIONS = {"ride.started": 1, "ride.ended": 1, "bike.worn": 1, "bike.serviced": 1, "bike.moved": 1}
FUTURE_SECONDS = 60  # as far as a clock of the city may be ahead
Id = Annotated[str, Field(pattern=ID)]


class CityEvent(Event):
    subject: Id
    caused_by: Id | None = None


def read_event(content: bytes) -> CityEvent:
    """Return the event in a request.

    Raises:
        Problem: 422, it is none, of a type or version that nobody here knows, or of a time that is still to come.
    """
    try:
        read(content, VERSIONS)
        event = CityEvent.model_validate_json(content)
    except Unreadable as error:
        raise Problem(422, "no event", str(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Problem(422, "no event", f"{first['loc'][0]}: {first['msg']}") from None
    if event.time > datetime.now(UTC) + timedelta(seconds=FUTURE_SECONDS):
        raise Problem(422, "no event", f"time: {event.time.isoformat()} is still to come")
    return event


def following(cause: CityEvent, said: Mapping[str, Any]) -> CityEvent:
    """Return the new event that a handler says on account of another: with a new id, each time it is called.

    Raises:
        Problem: 422, as read_event.
    """
    fields = {"version": 1, "subject": cause.subject, "data": {}, **said}
    now = datetime.now(UTC)
    event = CityEvent.model_construct(**{**fields, "id": uuid4().hex, "time": now, "caused_by": cause.id})
    return read_event(event.model_dump_json(warnings=False).encode())
