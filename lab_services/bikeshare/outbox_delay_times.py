"""The program that measures what outbox_delays.py shows: from the commit of a row to the delivery of its event.

`python -m lab_services.bikeshare.outbox_delay_times URL` prints the milliseconds of an OutboxDelays as JSON. Both
relays have the same rows to say at the same moments, each in an outbox and to a stream of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from time import perf_counter

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StreamConfig

from lab_services.bikeshare import outbox
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.messages import new_event, settled
from lab_services.bikeshare.relaying import Relay

CONNECT_SECONDS = 5
GIVE_UP_SECONDS = 30
ROWS = 60
PAUSE_SECONDS = 0.1  # at most, between two rows; no two are alike, so that no row waits for a look in step with it
POLL_SECONDS = 1.0
WAKING, POLLING = "woken", "a look each second"
Hear = Callable[[Msg], Awaitable[None]]
SUBJECTS = {WAKING: "delaywoken", POLLING: "delaypolled"}


async def measure(url: str) -> dict[str, list[float]]:
    """Return the milliseconds of each row, by relay."""
    with TemporaryDirectory() as folder, ExitStack() as books:
        os.environ["DATA_DIR"] = folder
        for subject in SUBJECTS.values():
            books.enter_context(opened(subject, outbox.SCHEMA))
        client = Client()
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.connect(url.split(","), allow_reconnect=False)
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS), relays_of(client):
                return await delays(client)
        finally:
            for subject in SUBJECTS.values():
                await client.jetstream().delete_stream(subject.upper())
            await client.close()


@asynccontextmanager
async def relays_of(client: Client) -> AsyncIterator[None]:
    """Let two relays work; the first one hears when there is something to say."""
    over, tasks = asyncio.Event(), []
    for name, subject in SUBJECTS.items():
        stream = StreamConfig(name=subject.upper(), subjects=[f"{subject}.*"])
        await client.jetstream().add_stream(stream)
        relay = Relay(subject, name, POLL_SECONDS, {subject: stream})
        if name == WAKING:
            await client.subscribe(f"outbox.{subject}", cb=waker(relay))
        tasks.append(asyncio.create_task(relay.work(client, over)))
    await settled(client)
    try:
        yield
    finally:
        over.set()
        await asyncio.wait(tasks)


def waker(relay: Relay) -> Hear:
    async def wake(message: Msg) -> None:
        relay.woken.set()

    return wake


async def delays(client: Client) -> dict[str, list[float]]:
    """Commit rows at odd moments; return how long each one took to whoever listens to its stream."""
    chance = random.Random(1)
    committed: dict[str, dict[str, float]] = {name: {} for name in SUBJECTS}
    delivered: dict[str, dict[str, float]] = {name: {} for name in SUBJECTS}
    for name, subject in SUBJECTS.items():
        await client.jetstream().subscribe(f"{subject}.*", cb=noter(delivered[name]), ordered_consumer=True)
    for number in range(ROWS):
        await asyncio.sleep(chance.uniform(0, PAUSE_SECONDS))
        for name, subject in SUBJECTS.items():
            await asyncio.to_thread(commit, subject, f"r{number}")
            committed[name][f"r{number}"] = perf_counter()
            await client.publish(f"outbox.{subject}", b"")
    while any(len(found) < ROWS for found in delivered.values()):
        await asyncio.sleep(PAUSE_SECONDS)
    return {name: [1000 * (delivered[name][ride] - at) for ride, at in committed[name].items()] for name in SUBJECTS}


def noter(delivered: dict[str, float]) -> Hear:
    async def note(message: Msg) -> None:
        delivered[message.subject.split(".")[1]] = perf_counter()

    return note


def commit(subject: str, ride_id: str) -> None:
    event = new_event("ride.ended", datetime.now(UTC), {"ride_id": ride_id}, event_id=f"{ride_id}.ended")
    with transaction(subject) as db:
        outbox.put(db, subject, event)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))
