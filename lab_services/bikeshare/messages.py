"""The city's messages: how a service reaches the broker, and what each message says of itself."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from nats.aio.client import Client

RECONNECT_SECONDS = 0.1  # between two tries to reach a broker that has gone; tried for as long as the service lives
CONNECT_SECONDS = 2
DRAIN_SECONDS = 2  # to end what has arrived, when the service leaves; after 3 s it would be killed
SETTLE_SECONDS = 2
MOST_BYTES = 64 * 1024  # of one message of the city; the broker itself takes 1 MB
log = logging.getLogger("messages")

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Type = Annotated[str, Field(pattern=r"^[a-z]+(\.[a-z_]+)+$", max_length=64)]


class Unreadable(ValueError):
    """A message that no second delivery makes readable; its text is the reason, for whoever looks at it later."""


class Event(BaseModel):
    """What has happened: `type` ("ride.ended") and its `version` say what `data` holds; a second copy has the same id.

    Fields that a newer service adds are ignored.
    """

    model_config = ConfigDict(frozen=True)

    id: Id
    type: Type
    version: Annotated[int, Field(ge=1, strict=True)]
    time: AwareDatetime
    data: dict[str, Any]


def new_event(kind: str, time: AwareDatetime, data: Mapping[str, Any], version: int = 1, event_id: str = "") -> Event:
    """Return an event; one that may be told twice gets the same `event_id` each time.

    Raises:
        ValidationError: it breaks the form that its readers rely on.
    """
    return Event(id=event_id or uuid4().hex, type=kind, version=version, time=time, data=dict(data))


def written(event: Event) -> bytes:
    """Return the event as the bytes of a message (UTF-8 JSON).

    Raises:
        ValueError: it has more than MOST_BYTES.
    """
    content = event.model_dump_json().encode()
    if len(content) > MOST_BYTES:
        raise ValueError(f"the event {event.type} has {len(content):,} bytes, {MOST_BYTES:,} at most")
    return content


def read(content: bytes, versions: Mapping[str, int]) -> Event:
    """Return the event in a message; `versions` are the types that the reader knows, with the newest version of each.

    Raises:
        Unreadable: empty, too long, no JSON, not of the form, or of a type or version that the reader does not know.
    """
    if not 0 < len(content) <= MOST_BYTES:
        raise Unreadable(f"{len(content):,} bytes, and between 1 and {MOST_BYTES:,} can be read")
    try:
        event = Event.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unreadable(f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}") from None
    if event.type not in versions:
        raise Unreadable(f"type: {event.type} is not known, {', '.join(versions) or 'nothing'} is")
    if event.version > versions[event.type]:
        raise Unreadable(f"version: {event.version} of {event.type}, and {versions[event.type]} is the newest known")
    return event


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[Client]:
    """Keep one connection to the broker at NATS_URL; on leaving, end what has arrived, then close it.

    Of a broker of several nodes NATS_URL lists all, with commas between: when one fails, another one is taken.
    It waits for a broker that is not there, at the start too, and comes back by itself, with its subscriptions. What
    reaches no caller (a subject that this service may not use, a subscription that cannot keep up) is logged, the same
    once. Answers come to _INBOX.<service>.>, so that a broker with users can keep others from hearing them. `options`
    are those of nats.connect.

    Raises:
        nats.errors.Error: the broker does not know this name and password.
    """
    from nats.aio.client import Client  # a quarter of a second, for those who have a broker

    told = _Told()
    service = os.environ.get("SERVICE_NAME", "city")
    settings = {
        "name": f"{service}-{os.environ.get('REPLICA', '1')}",
        "inbox_prefix": f"_INBOX.{service}",
        "connect_timeout": CONNECT_SECONDS,
        "reconnect_time_wait": RECONNECT_SECONDS,
        "max_reconnect_attempts": -1,
        "drain_timeout": DRAIN_SECONDS,
        "error_cb": told.error,
    }
    client = Client()
    servers = os.environ["NATS_URL"].split(",")
    connecting = asyncio.create_task(client.connect(servers, **{**settings, **options}))
    try:
        waits: set[asyncio.Future[Any]] = {connecting, told.refused}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            raise told.refused.result()
        await connecting
        told.refused.cancel()  # from now on there is nobody to whom a refusal could be raised: it is logged
        yield client
    finally:
        connecting.cancel()  # whoever stops waiting for a broker shall not be connected afterwards
        await _leave(client)


async def settled(client: Client, seconds: float = SETTLE_SECONDS) -> None:
    """Return when the broker has read all that this connection has sent so far: publications and subscriptions.

    One flush() is not enough: nats-py writes its PING past what still waits to be sent. The second PING is behind it.

    Raises:
        nats.errors.Error, TimeoutError: the broker has not answered in time.
    """
    async with asyncio.timeout(seconds):
        await client.flush()
        await client.flush()


async def _leave(client: Client) -> None:
    if client.is_closed or not client.is_connected:  # the broker has gone: there is nothing to wait for
        return await _close(client)
    draining = asyncio.create_task(_drain(client))  # it has waits of its own, and swallows a cancel: not to be awaited
    done, _ = await asyncio.wait([draining], timeout=DRAIN_SECONDS)
    if not done or draining.exception():
        log.warning("left before all that had arrived was done")
        draining.cancel()
        await _close(client)


async def _close(client: Client) -> None:
    with suppress(ConnectionError):  # it had something to say, and the connection was lost under it
        await client.close()


async def _drain(client: Client) -> None:
    """Drain, and lose nothing that others say meanwhile.

    As in flush(), the PING of drain() overtakes its UNSUB: nats-py forgets a subscription that the broker still serves.
    """
    for number in tuple(client._subs):
        await client._send_unsubscribe(number)
    await settled(client)
    await client.drain()


class _Told:
    """What the connection tells besides answers: `refused` is the broker's no to our password, until it said yes."""

    def __init__(self) -> None:
        self.refused: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._last = ""

    async def error(self, error: Exception) -> None:
        """Log an error, one that comes again and again once; a refusal is for whoever waits to be connected."""
        if "authorization violation" in str(error).lower() and not self.refused.done():
            return self.refused.set_result(error)
        if (words := f"{type(error).__name__}: {error}") != self._last:
            log.warning("at the broker: %s", words)
        self._last = words
