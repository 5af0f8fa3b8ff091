"""Locks: the device gateway of the city, over gRPC. Opens and closes simulated locks, and tells what they did.

What bolts did is in locks_ledger.py, what callers did in locks_notes.py. Calls nobody. Run it without the course by
`python -m lab_services.bikeshare.locks 50051`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from grpc import StatusCode

from lab_services.bikeshare import locks_ledger as ledger
from lab_services.bikeshare import locks_notes
from lab_services.bikeshare.database import opened
from lab_services.bikeshare.grpc_alone import run_alone
from lab_services.bikeshare.locks_calls import Calls, Refusal, check_ids
from lab_services.bikeshare.locks_feed import Feed
from lab_services.bikeshare.locks_health import keep_health
from lab_services.bikeshare.locks_ledger import Wish
from lab_services.bikeshare.locks_messages import Track, event_of, lock_of, messages, patiently, services

FLEET = int(os.environ.get("FLEET", "64"))
DEVICE_SECONDS = float(os.environ.get("DEVICE_SECONDS", "0.02"))  # a command's way to the bolt
CONFIRM_SECONDS = float(os.environ.get("CONFIRM_SECONDS", "0"))  # the way back of what the bolt did
MOST_LOCKS = 200  # in one batch
NAME = messages.DESCRIPTOR.services_by_name["LocksService"].full_name
KINDS = {messages.SESSION_COMMAND_OPEN: "opened", messages.SESSION_COMMAND_CLOSE: "closed"}


class Locks(services.LocksServiceServicer):  # type: ignore[misc]  # made from the .proto at import
    """The rpcs, each as locks.proto describes it."""

    def __init__(self) -> None:
        self.calls, self.feed = Calls(), Feed()

    async def Unlock(self, request: Any, context: Any) -> Any:
        async with self.calls.answer(context, "Unlock", request):
            return messages.UnlockResponse(**await self.command("opened", request))

    async def Lock(self, request: Any, context: Any) -> Any:
        async with self.calls.answer(context, "Lock", request):
            return messages.LockResponse(**await self.command("closed", request))

    async def GetLock(self, request: Any, context: Any) -> Any:
        async with self.calls.answer(context, "GetLock", request):
            check_ids(request, "lock_id")
            return messages.GetLockResponse(lock=lock_of(await asyncio.to_thread(ledger.find, request.lock_id)))

    async def GetBattery(self, request: Any, context: Any) -> Any:
        async with self.calls.answer(context, "GetBattery", request):
            check_ids(request, "lock_id")
            lock = await asyncio.to_thread(ledger.find, request.lock_id)
            await asyncio.sleep(DEVICE_SECONDS)
            await asyncio.to_thread(ledger.stumble, request.lock_id, False)
            return messages.GetBatteryResponse(battery_percent=lock["battery_percent"])

    async def ListLocks(self, request: Any, context: Any) -> Any:
        async with self.calls.answer(context, "ListLocks", request):
            if len(request.lock_ids) > MOST_LOCKS:
                raise Refusal(StatusCode.INVALID_ARGUMENT, f"lock_ids: {MOST_LOCKS} at most")
            rows = await asyncio.to_thread(ledger.find_many, request.lock_ids)
            return messages.ListLocksResponse(locks=map(lock_of, rows))

    async def WatchLocks(self, request: Any, context: Any) -> None:
        async with self.calls.answer(context, "WatchLocks"):
            newest = await asyncio.to_thread(ledger.newest)
            after = request.after_sequence if request.HasField("after_sequence") else newest
            if not 0 <= after <= newest:
                raise Refusal(StatusCode.OUT_OF_RANGE, f"after_sequence: the ledger goes from 0 to {newest}")
            await context.send_initial_metadata(())
            async with aclosing(self.feed.after(after)) as events:
                async for row in events:
                    await context.write(messages.WatchLocksResponse(event=event_of(row)))

    async def RecordPositions(self, requests: AsyncIterator[Any], context: Any) -> Any:
        async with self.calls.answer(context, "RecordPositions"):
            known = {row["lock_id"] for row in await asyncio.to_thread(ledger.find_many, ())}
            track = Track(known)
            async for request in patiently(requests):
                track.add(request)
            await self.calls.write(ledger.place, track.places)
            return track.summary()

    async def LockSession(self, requests: AsyncIterator[Any], context: Any) -> None:
        async with self.calls.answer(context, "LockSession"):
            async for request in patiently(requests):
                if request.command not in KINDS:
                    raise Refusal(StatusCode.INVALID_ARGUMENT, "command: to open or to close")
                answer = await self.command(KINDS[request.command], request)
                await context.write(messages.LockSessionResponse(**answer))

    async def command(self, kind: str, request: Any) -> dict[str, Any]:
        """Have a device move its bolt. Until it has, a caller that leaves stops it; afterwards nothing can."""
        check_ids(request, "lock_id", "ride_id", *(["request_id"] if request.request_id else []))
        wish = Wish(kind, request.lock_id, request.ride_id, request.request_id or None)
        if before := await asyncio.to_thread(ledger.look, wish):
            return {"event": event_of(before), "answered_before": True}
        await asyncio.sleep(DEVICE_SECONDS)
        row, again = await self.calls.write(ledger.move, wish)
        await asyncio.sleep(CONFIRM_SECONDS)
        await asyncio.to_thread(ledger.stumble, request.lock_id, True)
        return {"event": event_of(row), "answered_before": again}


@asynccontextmanager
async def serve(server: Any, health: Any) -> AsyncIterator[None]:
    """Add the locks to a server before it starts; close them after it has stopped."""
    with opened("locks", f"{ledger.SCHEMA};{locks_notes.SCHEMA}"):
        ledger.furnish(FLEET)
        locks = Locks()
        services.add_LocksServiceServicer_to_server(locks, server)
        async with locks.calls.notes.writing(), locks.feed.looking(), keep_health(health, NAME, locks.calls.leave):
            yield


if __name__ == "__main__":
    run_alone(serve, NAME)
