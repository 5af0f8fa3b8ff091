"""Unlocks: the hop between a rider's phone and the locks. Serves unlocks.proto; asks the locks, two steps for a bike.

Time: a phone gives up after 800 ms and says so in its deadline (`context.time_remaining()`; None where a client has
set none: it has TOTAL_SECONDS). Both steps together have what is left of that, less MARGIN_SECONDS for the way back,
also without a deadline. Who has no more than the margin is refused, and the locks never hear of it.
End: when a caller leaves, the running step is cancelled too, and no other one is begun. Locks that are silent, or not
there, hold up a caller for no longer than its time, and no other caller at all: OpenBike runs for all callers on one
event loop, and what blocks there stops every one of them (`grpc.aio` has the channel that can be awaited).
Connection: the calls of all callers share one, for the life of this process; the metadata `traceparent` of a caller,
if it has one, goes along.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import grpc
from grpc import StatusCode

from lab_services.bikeshare.interfaces import compiled

unlocks, services = grpc.protos_and_services("unlocks.proto")
locks, locks_services = compiled("bikeshare/locks/v1/locks.proto")

LOCKS_URL = os.environ["LOCKS_URL"]  # "127.0.0.1:50051": what a channel takes
TOTAL_SECONDS = float(os.environ.get("TOTAL_SECONDS", "0.8"))
MARGIN_SECONDS = 0.1
LEAST_PERCENT = 5  # with less, a lock that opens may never close again


class Refusal(Exception):
    """Refuse a call: `raise Refusal(StatusCode.NOT_FOUND, "there is no bike b-99")`."""

    def __init__(self, code: StatusCode, details: str) -> None:
        self.code, self.details = code, details
        super().__init__(details)


@asynccontextmanager
async def passing_on(context: Any) -> AsyncIterator[None]:
    """End a call with what was refused here, or with the status that the locks have answered."""
    try:
        yield
    except Refusal as refusal:
        await context.abort(refusal.code, refusal.details)
    except grpc.RpcError as error:
        await context.abort(error.code(), f"locks: {error.details()}")


def now() -> float:
    """Return the seconds of a clock that nobody sets back."""
    return monotonic()


def about_battery(request: Any) -> Any:
    return locks.GetBatteryRequest(lock_id=request.lock_id)


def about_opening(request: Any) -> Any:
    return locks.UnlockRequest(lock_id=request.lock_id, ride_id=request.ride_id, request_id=request.request_id)


def check_battery(battery: Any) -> int:
    """Return what is in a battery, or refuse it."""
    if battery.battery_percent < LEAST_PERCENT:
        raise Refusal(StatusCode.FAILED_PRECONDITION, f"the battery has {battery.battery_percent} percent left")
    return int(battery.battery_percent)


def check_time(seconds: float) -> float:
    """Return what is left of a caller's time, or refuse it."""
    if seconds <= 0:
        raise Refusal(StatusCode.DEADLINE_EXCEEDED, "too little time is left to begin this")
    return seconds


def answer(percent: int, opened: Any) -> Any:
    return unlocks.OpenBikeResponse(sequence=opened.event.sequence, battery_percent=percent)


# --- your turn 3.3 ---
class Unlocks(services.UnlocksServiceServicer):
    def __init__(self, stub: Any) -> None:
        self.stub = stub

    async def OpenBike(self, request: Any, context: Any) -> Any:
        # One possibility. One end for both steps; a caller who leaves cancels this coroutine and the call it awaits.
        left = context.time_remaining()
        ends_at = now() + (TOTAL_SECONDS if left is None else left) - MARGIN_SECONDS
        trace = [(key, value) for key, value in context.invocation_metadata() if key == "traceparent"]

        async def ask(rpc: Any, message: Any) -> Any:
            return await rpc(message, timeout=check_time(ends_at - now()), metadata=trace)

        async with passing_on(context):
            percent = check_battery(await ask(self.stub.GetBattery, about_battery(request)))
            return answer(percent, await ask(self.stub.Unlock, about_opening(request)))


async def serve(server: Any) -> AsyncIterator[None]:
    """Run in the server's event loop: before `yield` when this process starts, after it when it leaves."""
    async with grpc.aio.insecure_channel(LOCKS_URL) as channel:  # one, made when the loop runs
        services.add_UnlocksServiceServicer_to_server(Unlocks(locks_services.LocksServiceStub(channel)), server)
        yield


# --- end 3.3 ---
