"""The streams of the city, kept on disk by the broker.

RIDES has what happened to rides, COMMANDS what the start of a ride asks for, REPLIES what was answered, DEAD what
nobody could use.

Whoever comes first makes a stream. One that is full refuses what is new, so that its publisher hears of it; what is
old is not lost for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from nats.aio.client import Client
from nats.js.api import DiscardPolicy, PubAck, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NoStreamResponseError

from lab_services.bikeshare.messages import MOST_BYTES

PUBLISH_SECONDS = 2.0  # a PubAck that has not come by then may still be on its way: the same again does no harm
HEADER_BYTES = 4 * 1024
OTHER_LIMITS = 10058  # the broker's number for: there is a stream of this name, and it is configured differently
MEGABYTE = 1024 * 1024
DAY_SECONDS = 24 * 60 * 60

RIDES = StreamConfig(
    name="RIDES",
    subjects=["ride.*.*"],  # ride.<what happened>.<which ride>
    storage=StorageType.FILE,
    retention=RetentionPolicy.LIMITS,
    discard=DiscardPolicy.NEW,
    max_bytes=64 * MEGABYTE,
    max_age=30 * DAY_SECONDS,
    max_msg_size=MOST_BYTES + HEADER_BYTES,
    duplicate_window=120,
)
DEAD = StreamConfig(  # without an age: a dead letter waits until somebody has looked at it
    name="DEAD",
    subjects=["dead.*"],  # dead.<who could not use it>
    storage=StorageType.FILE,
    retention=RetentionPolicy.LIMITS,
    discard=DiscardPolicy.NEW,
    max_bytes=16 * MEGABYTE,
    duplicate_window=120,
)
ASKED_AGAIN_SECONDS = 1  # a command or reply that is repeated later than that is kept once more: somebody waits for it


def _of_a_saga(name: str, subject: str) -> StreamConfig:
    """Return a stream of commands or replies: what was not worked on within a day is of no use to a rider."""
    return StreamConfig(
        name=name,
        subjects=[subject],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        max_bytes=16 * MEGABYTE,
        max_age=DAY_SECONDS,
        max_msg_size=MOST_BYTES + HEADER_BYTES,
        duplicate_window=ASKED_AGAIN_SECONDS,
    )


COMMANDS = _of_a_saga("COMMANDS", "command.*.*.*")  # command.<participant>.<action>.<which ride>
REPLIES = _of_a_saga("REPLIES", "reply.*.*.*")  # reply.<participant>.<action>.<which ride>


def token(name: str) -> str:
    """Return an id as one part of a subject: a dot would make two of it, and no id contains a %."""
    return name.replace(".", "%2E")


async def make(client: Client, stream: StreamConfig) -> None:
    """Make a stream, unless it is there; one with other limits stays as it is.

    Raises:
        nats.errors.Error, TimeoutError: the broker does not let us, or does not answer.
    """
    try:
        await client.jetstream(timeout=PUBLISH_SECONDS).add_stream(stream)
    except BadRequestError as error:
        if error.err_code != OTHER_LIMITS:
            raise


async def keep(
    client: Client, stream: StreamConfig, subject: str, content: bytes, headers: Mapping[str, str]
) -> PubAck:
    """Return when a stream has stored the message; make the stream if nobody has.

    Raises:
        nats.errors.Error, TimeoutError: it may or may not have it.
    """
    publish = client.jetstream(timeout=PUBLISH_SECONDS).publish
    try:
        return await publish(subject, content, stream=stream.name, headers=dict(headers))
    except NoStreamResponseError:
        await make(client, stream)
        return await publish(subject, content, stream=stream.name, headers=dict(headers))
