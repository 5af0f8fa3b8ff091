"""How the hotline calls the locks: again where that can help and does no harm, and not in step with all the others.

Only UNAVAILABLE is tried again; any other status is an answer. What may run twice:

| rpc                 | twice?                                                                                     |
| ------------------- | ------------------------------------------------------------------------------------------ |
| GetBattery, GetLock | yes: they read                                                                             |
| Lock                | yes: to close what this ride has closed moves nothing                                      |
| Unlock              | with one request_id for all tries, that of the wish or one made up for it: the bolt moves  |
|                     |   once, and the second try hears what the first did; without one it moves at each try      |

MOST_TRIES is for all tries of a wish together, whoever makes them: a loop, or gRPC by a retryPolicy in the channel's
service config (which passes on the time that is left, and waits at random, too). Before the second try comes a pause
of FIRST_PAUSE_SECONDS, before each further one twice as much, times a random number: callers that fail together must
not come back together. A wish has one end, `ends_at` by the clock of the event loop: each try is told what is left
until then, and none begins afterwards. If the operator hangs up, all ends at once.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import grpc
from grpc import StatusCode

from lab_services.bikeshare.interfaces import compiled

_, lock_services = compiled("bikeshare/locks/v1/locks.proto")

LOCKS_URL = os.environ["LOCKS_URL"]
TOTAL_SECONDS = 2.0  # for an operator who sets no deadline
MOST_TRIES = 3
FIRST_PAUSE_SECONDS = float(os.environ.get("FIRST_PAUSE_SECONDS", "0.1"))
chance = random.Random()  # of this process: no other one throws the same
Ask = Callable[[str, Any, float], Awaitable[Any]]  # ask(rpc, wish, ends_at)


# --- your turn 3.4 ---
@asynccontextmanager
async def calling_the_locks() -> AsyncIterator[Ask]:
    """Keep a channel to the locks, and give `ask`, which makes a call and returns its answer or raises its error."""
    async with grpc.aio.insecure_channel(LOCKS_URL) as channel:
        stub = lock_services.LocksServiceStub(channel)

        async def ask(rpc: str, wish: Any, ends_at: float) -> Any:
            for tries in range(1, MOST_TRIES + 1):
                try:
                    if rpc == "Unlock":
                        wish.request_id = uuid4().hex
                    return await getattr(stub, rpc)(wish, timeout=TOTAL_SECONDS)
                except grpc.RpcError as error:
                    if tries == MOST_TRIES or error.code() is StatusCode.NOT_FOUND:
                        raise
                    await asyncio.sleep(FIRST_PAUSE_SECONDS)

        yield ask


# --- end 3.4 ---
