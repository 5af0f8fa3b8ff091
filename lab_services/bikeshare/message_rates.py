"""The program that measures what message_costs.py shows: publishing, sharing and a flood, at two real brokers.

`python -m lab_services.bikeshare.message_rates URL SYNCED_URL` prints the numbers of a MessageCosts as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import psutil
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

CONNECT_SECONDS = 5
GIVE_UP_SECONDS = 60
PUBLISHED, BODY = 1000, bytes(200)  # messages of a turn, and the bytes in each
IN_FLIGHT = 64
SHARED, BANK_SECONDS = 120, 0.005  # bills of a turn, and how long the bank takes for one; it is waiting, not work
WORKERS = (1, 2, 3)
FLOOD, FLOOD_BODY, LOOKS = 2000, bytes(8000), 40
TILLS, TILL_SECONDS = 16, 0.01  # of the bank in a flood: 1,600 bills a second, and messages arrive many times faster
BOUND = 64  # bills in work at once
ONE_BY_ONE = "one after the other"
WAYS = (ONE_BY_ONE, f"{IN_FLIGHT} at once", "asynchronous")
FLUSHED = "each write on the disk"
Intake = Callable[[Any, "Looks"], Awaitable[None]]


async def measure(url: str, synced_url: str) -> dict[str, Any]:
    """Return the numbers of a MessageCosts."""
    publishing = {way: await _with_stream(url, publish) for way, publish in zip(WAYS, PUBLISH, strict=True)}
    publishing[FLUSHED] = await _with_stream(synced_url, one_by_one)
    sharing = {f"{count} worker{'s' * (count > 1)}": await share(url, count) for count in WORKERS}
    memory = {f"at most {BOUND} at once": await flood(url, as_many_as_it_can)}
    memory["whatever comes"] = await flood(url, whatever_comes)
    return {"publishing": publishing, "sharing": sharing, "memory": memory}


async def one_by_one(stream: Any) -> None:
    """Publish, wait for the broker's answer, publish the next one."""
    for _ in range(PUBLISHED):
        await stream.publish("cost.publish", BODY)


async def bounded(stream: Any) -> None:
    """Publish with a bounded number of answers outstanding, each awaited by whoever published."""
    places = asyncio.Semaphore(IN_FLIGHT)

    async def publish() -> None:
        async with places:
            await stream.publish("cost.publish", BODY)

    async with asyncio.TaskGroup() as group:
        for _ in range(PUBLISHED):
            group.create_task(publish())


async def asynchronous(stream: Any) -> None:
    """Publish without waiting, and collect the broker's answers in the end."""
    futures = [await stream.publish_async("cost.publish", BODY) for _ in range(PUBLISHED)]
    await asyncio.gather(*futures)


PUBLISH = (one_by_one, bounded, asynchronous)


async def _with_stream(url: str, publish: Callable[[Any], Awaitable[None]]) -> float:
    """Return the publications a second of one way into a stream of its own, the better of two turns."""
    client = await _connected(url)
    try:
        stream = client.jetstream()  # nats-py's own bound on what is outstanding asynchronously: 4,000
        return max([await _rate(stream, publish) for _ in range(2)])
    finally:
        await client.close()


async def _rate(stream: Any, publish: Callable[[Any], Awaitable[None]]) -> float:
    await stream.add_stream(name="COST", subjects=["cost.publish"])
    began = perf_counter()
    await publish(stream)
    seconds = perf_counter() - began
    kept = (await stream.stream_info("COST")).state.messages
    await stream.delete_stream("COST")
    if kept != PUBLISHED:
        raise RuntimeError(f"{kept} messages are kept of {PUBLISHED}")
    return PUBLISHED / seconds


async def share(url: str, count: int) -> float:
    """Return the bills a second of so many workers with one durable consumer; each does one bill at a time."""
    client = await _connected(url)
    stream = client.jetstream()
    try:
        await stream.add_stream(name="COST", subjects=["cost.share"])
        for _ in range(SHARED):
            await stream.publish("cost.share", BODY)
        bills, done = await stream.pull_subscribe("cost.share", durable="billing"), asyncio.Event()
        written = 0

        async def work() -> None:
            nonlocal written
            while not done.is_set():
                for message in await bills.fetch(1, timeout=GIVE_UP_SECONDS):
                    await asyncio.sleep(BANK_SECONDS)
                    await message.ack_sync()
                    written += 1
                    if written == SHARED:
                        done.set()

        began = perf_counter()
        tasks = [asyncio.create_task(work()) for _ in range(count)]
        await done.wait()
        seconds = perf_counter() - began
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return SHARED / seconds
    finally:
        await stream.delete_stream("COST")
        await client.close()


async def flood(url: str, intake: Intake) -> list[float]:
    """Return the memory (MB above the start) at equal steps of a flood that meets a slow bank."""
    client = await _connected(url)
    stream = client.jetstream(publish_async_max_pending=IN_FLIGHT)
    try:
        await stream.add_stream(name="COST", subjects=["cost.flood"])
        for _ in range(FLOOD):
            await stream.publish_async("cost.flood", FLOOD_BODY)
        await stream.publish_async_completed()
        looks = Looks()
        await intake(stream, looks)
        return looks.grown
    finally:
        await stream.delete_stream("COST")
        await client.close()


class Looks:
    """The memory of this process as bills are written, a look at each LOOKS-th part of them."""

    def __init__(self) -> None:
        gc.collect()
        self.written, self.grown = 0, [0.0]
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._tills = asyncio.Semaphore(TILLS)

    async def bill(self, message: Msg) -> None:
        """Wait for a till of the bank, then write a bill."""
        async with self._tills:
            await asyncio.sleep(TILL_SECONDS)
        await message.ack()
        self.written += 1
        if self.written % (FLOOD // LOOKS) == 0:
            self.grown.append(max(0.0, (self._process.memory_info().rss - self._before) / 1e6))


async def as_many_as_it_can(stream: Any, looks: Looks) -> None:
    """Ask the broker for the next messages when the last ones are done: what waits, waits at the broker."""
    bills = await stream.pull_subscribe("cost.flood", durable="bounded")
    while looks.written < FLOOD:
        await asyncio.gather(*map(looks.bill, await bills.fetch(BOUND, timeout=GIVE_UP_SECONDS)))


async def whatever_comes(stream: Any, looks: Looks) -> None:
    """Begin a task for each message that arrives: what waits, waits in the memory of this process."""
    tasks: set[asyncio.Task[None]] = set()

    async def begin(message: Msg) -> None:
        tasks.add(asyncio.create_task(looks.bill(message)))

    everything = ConsumerConfig(max_ack_pending=FLOOD)  # the broker's own bound is 1,000
    await stream.subscribe("cost.flood", cb=begin, manual_ack=True, config=everything)
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while looks.written < FLOOD:
            await asyncio.sleep(TILL_SECONDS)


async def _connected(url: str) -> Client:
    client = Client()
    async with asyncio.timeout(CONNECT_SECONDS):
        await client.connect(url, allow_reconnect=False)
    return client


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(*sys.argv[1:]))))
