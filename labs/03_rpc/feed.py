"""The three streams of live.

follow    yields each event after a sequence, once and in order, also when the replica that tells them dies or leaves.
          A phone that reads slowly slows down its own stream: nothing is dropped and nothing piles up here
          (back-pressure), for the locks have the ledger on disk, and WatchLocks tells it from any sequence on. What
          every replica would refuse is raised as it came (grpc.aio.AioRpcError). A phone that leaves takes its stream
          at the locks along.
add_up    adds all pings to a Way, in memory that does not grow with their number.
converse  yields the locks' answer to each command before the next one comes. No command is sent twice.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from spread import Spread, locks

live, _ = grpc.protos_and_services("live.proto")

AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # a replica has died; it was leaving as we came
REST_SECONDS = 0.05  # before a feed tries the next replica


class Way:
    """The way of all bikes together; of each bike only its last place is kept."""

    def __init__(self) -> None:
        self.places: dict[str, tuple[int, int]] = {}
        self.pings = self.metres = 0

    def add(self, pings: Iterable[Any]) -> None:
        for ping in pings:
            x, y = self.places.get(ping.bike_id, (ping.x_metres, ping.y_metres))
            self.metres += abs(ping.x_metres - x) + abs(ping.y_metres - y)
            self.places[ping.bike_id] = (ping.x_metres, ping.y_metres)
            self.pings += 1

    def answer(self) -> Any:
        return live.RecordPingsResponse(pings=self.pings, bikes=len(self.places), metres=self.metres)


# --- your turn 3.5 ---
async def follow(spread: Spread, after: int) -> AsyncIterator[Any]:
    events: asyncio.Queue[Any] = asyncio.Queue()  # what has come and is not yet written to the phone

    async def listen() -> None:
        async for told in spread.stub().WatchLocks(locks.WatchLocksRequest(after_sequence=after)):
            await events.put(told.event)

    listening = asyncio.create_task(listen())
    while not (listening.done() and events.empty()):
        yield await events.get()


async def add_up(batches: AsyncIterator[Any], way: Way) -> None:
    way.add([ping async for batch in batches for ping in batch.pings])


async def converse(spread: Spread, commands: AsyncIterator[Any]) -> AsyncIterator[Any]:
    wishes = [command async for command in commands]
    async for answer in spread.stub().LockSession(wishes):
        yield answer


# --- end 3.5 ---
