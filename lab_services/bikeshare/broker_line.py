"""A service's line to the broker, opened beside HTTP: without a broker the service still answers, and leaves when told.

The line comes back by itself, also from a broker that has lost its streams or that refused us for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from nats.aio.client import Client

from lab_services.bikeshare.messages import connected, settled
from lab_services.bikeshare.problems import Problem

RETRY_SECONDS = 0.5  # between two lines, when the broker is there and something else is wrong
log = logging.getLogger("broker_line")

Prepare = Callable[[Client], Awaitable[object]]
Work = Callable[[Client, asyncio.Event], Awaitable[object]]


async def nothing(client: Client) -> None:
    """Prepare nothing."""


async def listen(client: Client, over: asyncio.Event) -> None:
    """Leave the work to the subscriptions that were prepared."""
    await over.wait()


class Line:
    """What a service does at the broker: it prepares, is ready, then works until `over` is set, whatever happens.

    `options` are those of nats.connect, as in `connected`.
    """

    def __init__(self, prepare: Prepare = nothing, work: Work = listen, **options: Any) -> None:
        self._prepare, self._work, self._options = prepare, work, options
        self._client: Client | None = None
        self._over = asyncio.Event()
        self._leaving = False
        self._trouble = ""

    def client(self) -> Client:
        """Return the connection.

        Raises:
            Problem: 503, nobody is on the line now.
        """
        if self._client is None or not self._client.is_connected:
            raise Problem(503, "no broker", "the broker cannot be reached; the same request may succeed later")
        return self._client

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep the line open; on leaving, let the work end what it has begun."""
        self._leaving = False
        holding = asyncio.create_task(self._hold())
        try:
            yield
        finally:
            self._leaving = True
            self._over.set()
            if self._client is None:  # it waits for a broker: there is nothing to end
                holding.cancel()
            await asyncio.wait([holding])

    def lifespan(self, app: FastAPI) -> AbstractAsyncContextManager[None]:
        """Keep the line open while an app is served that needs nothing else."""
        return self.opened()

    async def _hold(self) -> None:
        while not self._leaving:
            try:
                await self._hold_once()
            except Exception as error:
                self._tell(f"{type(error).__name__}: {error}")
            finally:
                self._client = None
            if not self._leaving:
                await asyncio.sleep(RETRY_SECONDS)

    async def _hold_once(self) -> None:
        over = self._over = asyncio.Event()

        async def closed() -> None:
            over.set()

        async with connected(closed_cb=closed, **self._options) as client:
            await self._prepare(client)
            await settled(client)
            self._client, self._trouble = client, ""
            await self._work(client, over)

    def _tell(self, trouble: str) -> None:
        """Log a trouble, one that comes again and again once."""
        if trouble != self._trouble:
            log.warning("at the broker: %s", trouble)
        self._trouble = trouble
