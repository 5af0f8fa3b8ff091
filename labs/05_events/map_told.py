"""Told: what the stream RIDES tells, in its order. Here it keeps everything for ever: who draws anew needs the first.

`history` ends with what was the newest message when it was asked; `onwards` never ends. Both hand out batches. A
Follower goes on for as long as citymap lives, and gives its handler one batch after the other.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from lab_services.bikeshare import streams

RIDES = streams.RIDES.evolve(max_age=0)
ALL = "ride.*.*"
BROKER_SECONDS = float(os.environ.get("BROKER_SECONDS", "2"))  # for each question to the broker
FETCH_SECONDS = float(os.environ.get("FETCH_SECONDS", "5"))  # how long to wait for something new, before asking anew
REST_SECONDS = 0.1
IDLE_SECONDS = 10  # after that the broker forgets a reader who has gone without a word
BATCH = 500
log = logging.getLogger("citymap")


@dataclass(frozen=True)
class Told:
    """A message of the stream: its position there, from 1 on, and its bytes, whatever they are."""

    position: int
    content: bytes


class Incomplete(Exception):
    """The stream no longer has its first message."""


async def history(broker: JetStreamContext, after: int) -> AsyncGenerator[list[Told]]:
    """Yield all that follows a position, up to the message that is the newest now.

    Raises:
        Incomplete: all is wanted (`after` is 0), and the beginning is missing.
        nats.errors.Error, TimeoutError: the broker is not there.
    """
    state = (await broker.stream_info("RIDES")).state
    if not after and state.first_seq > 1:
        raise Incomplete(f"the stream begins with message {state.first_seq}")
    if after >= state.last_seq:
        return
    async with aclosing(_batches(broker, after, ALL, BROKER_SECONDS)) as batches:
        async for batch in batches:
            if wanted := [told for told in batch if told.position <= state.last_seq]:
                yield wanted
            if batch[-1].position >= state.last_seq:
                return


async def onwards(broker: JetStreamContext, after: int, subject: str = ALL) -> AsyncGenerator[list[Told]]:
    """Yield all that follows a position on a subject, without end; a broker that is not there is waited for."""
    while True:
        try:
            async for batch in _batches(broker, after, subject, FETCH_SECONDS):
                after = batch[-1].position
                yield batch
        except TimeoutError:
            pass  # nothing new, or a broker that has forgotten us when it fell
        except Error as error:
            log.warning("nothing is told: %s", error)
            await asyncio.sleep(REST_SECONDS)


class Follower:
    """Whoever is told all that happens, and knows how far it has come; `busy` is locked while its handler works."""

    def __init__(
        self,
        position: Callable[[], Awaitable[int]],
        handle: Callable[[list[Told]], Awaitable[None]],
        subject: str = ALL,
    ) -> None:
        self.busy = asyncio.Lock()
        self.handle = handle
        self._position = position
        self._subject = subject

    async def follow(self, broker: JetStreamContext) -> None:
        """Handle one batch after the other; one that fails comes again, from the position that was reached."""
        while True:
            try:
                async with aclosing(onwards(broker, await self._position(), self._subject)) as batches:
                    async for batch in batches:
                        async with self.busy:
                            await self.handle(batch)
            except Exception:
                log.exception("not handled: it comes again")
                await asyncio.sleep(REST_SECONDS)


FOLLOWERS: dict[str, Follower] = {}  # citymap.py has two: "map" draws, and "notices" tells the riders


async def _batches(broker: JetStreamContext, after: int, subject: str, seconds: float) -> AsyncGenerator[list[Told]]:
    reader = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=after + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=IDLE_SECONDS,
        mem_storage=True,
    )
    pile = await broker.pull_subscribe(subject, stream="RIDES", config=reader)
    try:
        while True:
            found = await pile.fetch(BATCH, timeout=seconds)
            yield [Told(message.metadata.sequence.stream, message.data) for message in found]
    finally:
        with suppress(Error, TimeoutError):
            await pile.unsubscribe()
