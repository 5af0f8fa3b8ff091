"""Reads the stream RIDES for the city map: each map that is kept has a reader of its own.

A map knows how far it is, so its reader asks the broker for what comes behind that, and acknowledges nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from lab_services.bikeshare import projection
from lab_services.bikeshare.carried import handling_batch
from lab_services.bikeshare.intake import fetch
from lab_services.bikeshare.projection import Generation
from lab_services.bikeshare.streams import RIDES, make

BATCH = 250
LOOK_SECONDS = 0.2  # between two looks for a map without a reader
LEFT_SECONDS = 60.0  # after which the broker forgets where a reader was that does not come back


async def prepare(client: Client) -> None:
    """See to it that there are a stream and a map of it."""
    await make(client, RIDES)
    info = await client.jetstream().stream_info("RIDES")
    await asyncio.to_thread(projection.greet, str(info.created))


async def work(client: Client, over: asyncio.Event) -> None:
    """Keep each map up to date in a task of its own."""
    tasks: dict[int, asyncio.Task[None]] = {}
    try:
        while not over.is_set():
            for number in [number for number, task in tasks.items() if task.done()]:
                tasks.pop(number).result()
            for own in await asyncio.to_thread(projection.generations):
                if not {own.number, own.number - 2} & tasks.keys():  # the one before last has the same name
                    tasks[own.number] = asyncio.create_task(_follow(client, over, own))
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        over.set()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


async def _follow(client: Client, over: asyncio.Event, own: Generation) -> None:
    """Read on behind the position of a map until it is not kept any more, or a message is missing in between."""
    goal = (await client.jetstream().stream_info("RIDES")).state.last_seq
    reading, count, kept = await _read_behind(client, own), 0, True
    try:
        while kept and not over.is_set():
            batch = await fetch(client, reading, BATCH)
            numbers = [message.metadata.sequence.consumer for message in batch]
            if numbers != list(range(count + 1, count + 1 + len(batch))):
                return  # what got lost on the way to us is read again, from the position of the map
            count += len(batch)
            messages = [(message.metadata.sequence.stream, message.data) for message in batch]
            with handling_batch(batch):
                kept = await asyncio.to_thread(projection.project, own.number, messages, goal)
    finally:
        if not client.is_closed:
            await reading.unsubscribe()
    if not kept:
        await _forget(client, own)


async def _read_behind(client: Client, own: Generation) -> JetStreamContext.PullSubscription:
    await _forget(client, own)  # whatever a reader before us had asked for
    wish = ConsumerConfig(
        name=_name(own),
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=own.position + 1,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=LEFT_SECONDS,
        mem_storage=True,
    )
    stream = client.jetstream()
    await stream.add_consumer("RIDES", wish)
    return await stream.pull_subscribe_bind(_name(own), "RIDES")


async def _forget(client: Client, own: Generation) -> None:
    with suppress(NotFoundError):
        await client.jetstream().delete_consumer("RIDES", _name(own))


def _name(own: Generation) -> str:
    return f"citymap_{own.number % 2}"  # two maps at most: the one that is shown and the next one
