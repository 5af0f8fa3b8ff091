"""Mail: what commands and replies look like, the streams that keep them, and how a service takes them from there.

A command is an Event whose type is the action ("wallet.hold"), on command.<action>.<ride>; a reply is one of type
<action>.done or <action>.refused, on reply.<action>.<ride>. A stream says everything at least once.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, RetentionPolicy, StreamConfig
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lab_services.bikeshare.deliveries import bury, later
from lab_services.bikeshare.messages import Event, Id, Unreadable, new_event, read
from lab_services.bikeshare.streams import DEAD, make, token

ACTIONS = ("wallet.hold", "stations.reserve", "locks.unlock", "rides.start", "stations.cancel", "wallet.release")
ACK_SECONDS = float(os.environ.get("ACK_SECONDS", "2"))  # after which a message that nobody acknowledged comes again
FETCH_SECONDS = 0.5  # how long an empty hand waits before it asks again
REST_SECONDS = 0.1  # before a broker, or a handler, that has failed is asked again
MEGABYTE = 1024 * 1024
KEPT = {"retention": RetentionPolicy.LIMITS, "discard": DiscardPolicy.NEW, "max_bytes": 64 * MEGABYTE}
COMMANDS = StreamConfig(name="COMMANDS", subjects=["command.*.*.*"], **KEPT)
REPLIES = StreamConfig(name="REPLIES", subjects=["reply.*.*.*"], **KEPT)
REPLY_TYPES = {f"{action}.{end}": 1 for action in ACTIONS for end in ("done", "refused")}
RideId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")]  # <ride_id>.<action>.reply is an Id of 64 at most
log = logging.getLogger("mail")


class Ride(BaseModel):
    """What a command is about."""

    model_config = ConfigDict(strict=True, frozen=True)

    ride_id: RideId
    rider_id: Id
    bike_id: Id
    cents: Annotated[int, Field(ge=0, le=100_000)]


class Reply(BaseModel):
    """What a participant has answered: `command` is the id of the command, `outcome` is "done" or "refused"."""

    model_config = ConfigDict(strict=True, frozen=True)

    ride_id: RideId
    command: Id
    outcome: str
    reason: str = ""


def subject(kind: str, action: str, ride_id: str) -> str:
    return f"{kind}.{action}.{token(ride_id)}"


def reply_to(command: Event, reason: str) -> Event:
    """Return the reply to a command; without a reason it is done."""
    data = {"ride_id": command.data["ride_id"], "command": command.id} | ({"reason": reason} if reason else {})
    outcome = "refused" if reason else "done"
    return new_event(f"{command.type}.{outcome}", datetime.now(UTC), data, event_id=f"{command.id}.reply")


def read_reply(content: bytes) -> Reply:
    """Return the reply in a message; raises Unreadable."""
    event = read(content, REPLY_TYPES)
    try:
        return Reply.model_validate(event.data | {"outcome": event.type.rpartition(".")[2]})
    except ValidationError as error:
        raise Unreadable(f"data: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from None


async def open_box(client: Client, stream: str, name: str, filters: Sequence[str]) -> None:
    """Make the streams, and a consumer that remembers what `name` has acknowledged."""
    for each in (COMMANDS, REPLIES, DEAD):
        await make(client, each)
    explicit = {"ack_policy": AckPolicy.EXPLICIT, "ack_wait": ACK_SECONDS, "deliver_policy": DeliverPolicy.ALL}
    config = ConsumerConfig(durable_name=name, filter_subjects=list(filters), max_deliver=-1, **explicit)
    await client.jetstream().add_consumer(stream, config)


async def hear(
    client: Client, stream: str, name: str, handle: Callable[[Msg], Awaitable[None]], over: asyncio.Event
) -> None:
    """Handle one message after the other until `over`; what cannot be read goes to DEAD, what failed comes again."""
    box = await client.jetstream().pull_subscribe_bind(name, stream)
    while not over.is_set():
        try:
            [message] = await box.fetch(1, timeout=FETCH_SECONDS)
        except TimeoutError:
            continue  # nothing to do
        except Error as error:
            log.warning("no message: %s", error)
            await asyncio.sleep(REST_SECONDS)
            continue
        try:
            await handle(message)
        except Unreadable as error:
            await bury(client, message, str(error), REST_SECONDS)
        except Exception as trouble:
            log.exception("message %s of %s comes again", message.metadata.sequence.stream, stream)
            await later(message, REST_SECONDS, trouble)
