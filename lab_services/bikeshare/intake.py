"""How a service takes in messages from streams: a batch at a time, in one transaction, acknowledged after its commit.

Whoever dies before the acknowledgement has the messages delivered again: what is done with one must not be done twice.
What nobody can use goes into DEAD with the reason; what meets with trouble comes again later.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig

from lab_services.bikeshare.carried import handling
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.deliveries import bury, later
from lab_services.bikeshare.messages import Event, Unreadable, read
from lab_services.bikeshare.streams import DEAD, make

ACK_SECONDS = float(os.environ.get("ACK_SECONDS", "2"))  # who has not acknowledged by then is taken for dead
AGAIN_SECONDS = 0.5  # a message that met with trouble rests so long
MOST_TRIES = 5  # of a message that meets with a mistake of ours; a database in trouble is waited for
BATCH = 100
FETCH_SECONDS = 1.0  # also how long a service without work may take to leave


class Unusable(Exception):
    """A message that can be read and still is of no use, now or at its next delivery; the text is the reason."""


class Later(Exception):
    """A message whose time has not come."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"in {seconds:g} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Source:
    """What of a stream a service takes in: `known` are the types with their newest version, `take` works on one.

    `take` gets the transaction, the event, and how often this message has been delivered.
    """

    stream: StreamConfig
    subject: str
    known: Mapping[str, int]
    take: Callable[[sqlite3.Connection, Event, int], None]


class Intake:
    """Takes in all sources of a service; its replicas share one durable consumer of the service's name for each."""

    def __init__(self, books: str, *sources: Source) -> None:
        self._books, self._sources = books, sources

    async def prepare(self, client: Client) -> None:
        """Make the streams and the consumers, unless they are there."""
        await make(client, DEAD)
        for source in self._sources:
            await make(client, source.stream)
            wish = ConsumerConfig(
                name=self._books, durable_name=self._books, filter_subject=source.subject, ack_wait=ACK_SECONDS
            )
            await client.jetstream().add_consumer(str(source.stream.name), wish)

    async def work(self, client: Client, over: asyncio.Event) -> None:
        """Take in what comes until `over` is set."""
        await side_by_side(over, *(self._pull(client, over, source) for source in self._sources))

    async def _pull(self, client: Client, over: asyncio.Event, source: Source) -> None:
        pulling = await client.jetstream().pull_subscribe_bind(self._books, str(source.stream.name))
        try:
            while not over.is_set():
                if batch := await fetch(client, pulling):
                    await self._take_in(client, over, source, batch)
        finally:
            if not client.is_closed:  # or nats-py waits in vain for what is left over of a fetch
                await pulling.unsubscribe()

    async def _take_in(self, client: Client, over: asyncio.Event, source: Source, batch: list[Msg]) -> None:
        if over.is_set():
            for message in batch:
                await message.nak()
            return
        try:
            verdicts = await asyncio.to_thread(self._take_each, source, batch)
        except sqlite3.Error as trouble:
            verdicts = [trouble] * len(batch)
        await client.publish(f"outbox.{self._books}", b"")  # wakes the relay: whatever was done, it has to be said
        for message, verdict in zip(batch, verdicts, strict=True):
            await settle(client, message, verdict)

    def _take_each(self, source: Source, batch: list[Msg]) -> list[Exception | None]:
        with transaction(self._books) as db:
            return [_take(db, source, message) for message in batch]


def _take(db: sqlite3.Connection, source: Source, message: Msg) -> Exception | None:
    """Work on one message; return what is wrong with it, which has changed nothing.

    Raises:
        sqlite3.Error: the database is in trouble, whatever the message.
    """
    db.execute("SAVEPOINT message")
    try:
        with handling(message, Later):
            source.take(db, read(message.data, source.known), message.metadata.num_delivered)
    except Exception as error:
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise
        db.execute("ROLLBACK TO message")
        return error
    finally:
        with suppress(sqlite3.OperationalError):  # a full disk has rolled back everything already
            db.execute("RELEASE message")
    return None


async def settle(client: Client, message: Msg, verdict: Exception | None) -> None:
    """Acknowledge a message, give it back or bury it."""
    if verdict is None:
        await message.ack()
    elif isinstance(verdict, Later):
        await message.nak(verdict.seconds)
    elif isinstance(verdict, Unreadable | Unusable):
        await bury(client, message, str(verdict), AGAIN_SECONDS)
    elif isinstance(verdict, sqlite3.Error) or message.metadata.num_delivered < MOST_TRIES:
        await later(message, AGAIN_SECONDS, verdict)
    else:
        await bury(client, message, f"tried {MOST_TRIES} times, at last {type(verdict).__name__}", AGAIN_SECONDS)


async def fetch(client: Client, pulling: JetStreamContext.PullSubscription, count: int = BATCH) -> list[Msg]:
    """Return the next messages of a consumer; none when none came in time."""
    if not client.is_connected:  # nats-py would keep each request for later: they would all be served at once
        await asyncio.sleep(FETCH_SECONDS)
        return []
    try:
        return await pulling.fetch(count, FETCH_SECONDS)
    except TimeoutError:
        return []


async def side_by_side(over: asyncio.Event, *works: Coroutine[Any, Any, object]) -> None:
    """Do several works until `over` is set; when one of them fails, set it, and raise the error after the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        over.set()
        await asyncio.wait(tasks)
    for task in tasks:
        task.result()
