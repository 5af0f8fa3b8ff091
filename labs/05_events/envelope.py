"""Envelope: what stands on the outside of each fact, after CloudEvents 1.0, as JSON in structured mode.

attributes(...) returns those of a new fact, for the SDK's CloudEvent:

| attribute       | value                                                                            |
| --------------- | -------------------------------------------------------------------------------- |
| id              | text that no other fact of this source ever has                                  |
| source          | /city/<SERVICE>                                                                  |
| type            | <name>.v<version of the data>: ride.wanted.v3                                    |
| subject         | the ride_id                                                                      |
| time            | when it was written, with its zone                                               |
| datacontenttype | application/json                                                                 |
| causationid     | the id of its cause; a fact without a cause has no such attribute                |
| correlationid   | the cause's, or the cause's id where it has none; without a cause its own id     |

read(content) returns the CloudEvent in a message. For what is none it raises Unreadable, whose text is the reason and
names the attribute that is wrong: bytes that are no text, no JSON, no JSON object, nested ten thousand levels deep; an
event without id, source, specversion, type, subject or time; another specversion than 1.0; a time without a zone, or
more than AHEAD_SECONDS ahead of our clock. Attributes that we do not know do no harm, neither does an old time.

Try the SDK before you trust it: JSONFormat().read(CloudEvent, content) raises many kinds of exceptions, and what it
does with an event without an id is in no list of them.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from dance_facts import NEWEST, SERVICE, Ride

from lab_services.bikeshare.messages import MOST_BYTES, Unreadable

CONTENT_TYPE = JSONFormat.CONTENT_TYPE  # application/cloudevents+json
AHEAD_SECONDS = float(os.environ.get("AHEAD_SECONDS", "60"))  # clocks differ
NEEDED = ("id", "source", "specversion", "type", "subject", "time")


# --- your turn 5.5 ---
def attributes(name: str, ride_id: str, cause: CloudEvent | None) -> dict[str, Any]:
    """Return the attributes of a new fact; `cause` is the envelope of the fact that it follows from."""
    new = {"id": uuid4().hex, "source": f"/city/{SERVICE}", "type": f"{name}.v{NEWEST[name]}"}
    return {**new, "subject": ride_id, "time": datetime.now(UTC)}


def read(content: bytes) -> CloudEvent:
    """Return the event in a message, or raise Unreadable."""
    try:
        event = JSONFormat().read(CloudEvent, content)
    except json.JSONDecodeError as error:
        raise Unreadable(f"no JSON: {error}") from None
    if event.get_time() > datetime.now(UTC) + timedelta(seconds=AHEAD_SECONDS):
        raise Unreadable(f"time: {event.get_time()} is in the future")
    return event


# --- end 5.5 ---


def opened(content: bytes, headers: Mapping[str, str]) -> CloudEvent:
    """Return the event in a message.

    Raises:
        Unreadable: it is none of ours.
    """
    said = next((value for name, value in headers.items() if name.lower() == "content-type"), "nothing")
    if said.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise Unreadable(f"content-type: {said}, and only {CONTENT_TYPE} is read")
    if not 0 < len(content) <= MOST_BYTES:
        raise Unreadable(f"{len(content):,} bytes, and between 1 and {MOST_BYTES:,} can be read")
    return read(content)


def sealed(name: str, ride: Ride, cause: CloudEvent | None) -> CloudEvent:
    return CloudEvent(attributes(name, ride.ride_id, cause), ride.model_dump(exclude={"ride_id"}))


def written(event: CloudEvent) -> bytes:
    return JSONFormat().write(event)
