"""Live: three kinds of stream for the phones of riders. Speaks gRPC by live.proto; calls the locks.

The streams themselves are in feed.py, which replica of the locks serves them is decided in spread.py.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
from feed import AWAY, Way, add_up, converse, follow, live
from spread import Spread, locks

_, services = grpc.protos_and_services("live.proto")

ANSWER_SECONDS = 2.0
TRIES = 4  # a replica or two may just have left


class Live(services.LiveServiceServicer):
    """Each rpc, from the phone's words to the locks' and back; what the locks refuse is passed on."""

    def __init__(self) -> None:
        self.spread = Spread()

    async def Follow(self, request: Any, context: Any) -> None:
        async with passing_on(context), aclosing(follow(self.spread, request.after_sequence)) as events:
            async for event in events:
                is_open = event.kind == locks.EVENT_KIND_OPENED
                told = live.FollowResponse(sequence=event.sequence, lock_id=event.lock_id, open=is_open)
                await context.write(told)  # returns when the phone has room for it

    async def RecordPings(self, requests: AsyncIterator[Any], context: Any) -> Any:
        way = Way()
        await add_up(requests, way)
        return way.answer()

    async def Converse(self, requests: AsyncIterator[Any], context: Any) -> None:
        async with passing_on(context), aclosing(converse(self.spread, map_commands(requests))) as answers:
            async for answer in answers:
                sequence, before = answer.event.sequence, answer.answered_before
                await context.write(live.ConverseResponse(sequence=sequence, answered_before=before))

    async def GetLock(self, request: Any, context: Any) -> Any:
        async with passing_on(context):
            lock = await self.find(request.lock_id)
        is_open = lock.state == locks.LOCK_STATE_OPEN
        return live.GetLockResponse(lock_id=lock.lock_id, open=is_open, battery_percent=lock.battery_percent)

    async def find(self, lock_id: str) -> Any:
        """Ask for a lock; it is safe to ask again, so a replica that leaves costs a second try."""
        asked = locks.GetLockRequest(lock_id=lock_id)
        for left in reversed(range(TRIES)):
            try:
                return (await self.spread.stub().GetLock(asked, timeout=ANSWER_SECONDS)).lock
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY or not left:
                    raise


async def map_commands(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Say each command of a phone in the words of the locks."""
    async for wish in requests:
        command = locks.SESSION_COMMAND_OPEN if wish.open else locks.SESSION_COMMAND_CLOSE
        ids = {"lock_id": wish.lock_id, "ride_id": wish.ride_id, "request_id": wish.request_id}
        yield locks.LockSessionRequest(command=command, **ids)


@asynccontextmanager
async def passing_on(context: Any) -> AsyncIterator[None]:
    """End the call with the status that the locks have answered."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        await context.abort(error.code(), error.details())


async def serve(server: Any) -> AsyncIterator[None]:
    services.add_LiveServiceServicer_to_server(Live(), server)
    yield
