"""How a night is published: an event is kept when the broker has said so, and not before.

The broker answers each publication to a stream with a PubAck. What the report says of the event follows from it:

| what has come                                       | then                                                        |
| --------------------------------------------------- | ----------------------------------------------------------- |
| a PubAck, also one that says `duplicate`            | kept                                                        |
| a PubAck with an error                              | refused, for the reason in the broker's words (its          |
|                                                     |   `description`); not tried again                           |
| none within ACK_SECONDS, or none can come: nobody   | tried again after PAUSE_SECONDS, MOST_TRIES times in all;   |
|   listens, the connection has gone                  |   then the report says nothing of it                        |

What becomes of one event decides nothing about another. Each is published under its id as `Nats-Msg-Id`, the same at
every try and whenever its line comes: the stream keeps one event for an id. The order in the stream is not promised.

More than one publication is on its way at a time, and never more than MOST_IN_FLIGHT (an event that waits for its next
try may count as one). `publish_all` returns after TOTAL_SECONDS, whatever the broker does. The report then has what is
known by then, and no work is left behind: what was not begun is not published later.

`stream.publish` waits for the PubAck and raises an APIError for one that says no. (`publish_async` of nats-py 2.16 does
not suit: a PubAck with an error never reaches the future that it returns, nats.py issue 985.)
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.errors import APIError

ACK_SECONDS = float(os.environ.get("ACK_SECONDS", "1"))
PAUSE_SECONDS = float(os.environ.get("PAUSE_SECONDS", "0.1"))
TOTAL_SECONDS = float(os.environ.get("TOTAL_SECONDS", "10"))
MOST_TRIES = 3
MOST_IN_FLIGHT = 16
NO_PUBACK = (Error, TimeoutError)  # what nats-py raises when none has come; an APIError, which is an Error too, is one


@dataclass(frozen=True)
class Publication:
    """An event as it is to be published; `id` is the event's."""

    id: str
    subject: str
    content: bytes


@dataclass
class Report:
    """What the broker has said: the ids that it keeps, and the ids that it refuses, each with its reason."""

    kept: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


def reason_of(error: APIError) -> str:
    """Return why the broker refuses, in its own words."""
    return error.description or str(error)


# --- your turn 4.5 ---
async def publish_all(stream: JetStreamContext, events: Sequence[Publication]) -> Report:
    """Publish each event, and report what the broker has said of it."""
    report = Report()
    async with asyncio.timeout(TOTAL_SECONDS):
        for event in events:
            with suppress(*NO_PUBACK):
                await stream.publish(event.subject, event.content, timeout=ACK_SECONDS)
            report.kept.add(event.id)
    return report


# --- end 4.5 ---
