"""Single flight: of many who miss the same answer at the same time, one goes to the origin and the others wait.

They do not get its answer handed on: they look into the cache again. What must not be kept is therefore never shared,
and for an address whose answers cannot be kept nobody waits (they would queue up behind each other for nothing).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx

WAIT_SECONDS = 5.0  # for the one that went; then each goes by itself
ALONE_SECONDS = 10.0  # for so long nobody waits at an address whose last answer was not kept
MOST_ALONE = 1000

Look = Callable[[], Awaitable[httpx.Response | None]]
Go = Callable[[], Awaitable[httpx.Response]]


class SingleFlight:
    """The requests that are on their way to the origin, by their keys."""

    def __init__(self) -> None:
        self._flights: dict[str, asyncio.Event] = {}
        self._alone_until: dict[str, float] = {}

    async def answer(self, key: str, look: Look, go: Go) -> httpx.Response:
        """Return what `look` finds in the cache, at once or after the wait for another's `go`; else go.

        `look` must not wait for the network: between its None and the take-off nobody else may take off.
        """
        if (found := await look()) is not None:
            return found
        if self._alone_until.get(key, 0.0) > time.monotonic():
            return await go()
        if (flight := self._flights.get(key)) is None:
            return await self._lead(key, look, go)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(flight.wait(), WAIT_SECONDS)
        if (found := await look()) is not None:
            found.extensions["collapsed"] = True
            return found
        return await go()

    async def _lead(self, key: str, look: Look, go: Go) -> httpx.Response:
        self._flights[key] = landed = asyncio.Event()
        try:
            answer = await go()
            if answer.status_code < 500 and await look() is None:
                self._go_alone(key)
            return answer
        finally:  # also after an error: those who wait go on, and the next miss takes off anew
            del self._flights[key]
            landed.set()

    def _go_alone(self, key: str) -> None:
        if len(self._alone_until) >= MOST_ALONE:
            self._alone_until.clear()
        self._alone_until[key] = time.monotonic() + ALONE_SECONDS
