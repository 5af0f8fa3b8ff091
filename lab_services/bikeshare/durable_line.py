"""A service's line to the engine for durable execution: a client, and a worker that is given steps to carry out.

The line comes back by itself, also to an engine that was killed. Without one a service answers 503.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from lab_services.bikeshare.problems import Problem, answer

ADDRESS = os.environ.get("ENGINE_URL", "127.0.0.1:7233")
QUEUE = "starts"  # where the engine lays what is to be done, for any worker that asks there
RPC_SECONDS = timedelta(seconds=2)  # of one question to the engine; the library would go on asking for ten
STICKY_SECONDS = timedelta(seconds=1)  # until another worker goes on where one that knows the start is gone; else ten
LEAVE_SECONDS = timedelta(seconds=2)  # until a worker that was told to leave drops the steps it has in hand
RETRY_SECONDS = 0.5
log = logging.getLogger("durable_line")


class Engine:
    """Keeps a worker at the engine for as long as the service lives."""

    def __init__(self, workflow: type, activity: Callable[..., Any]) -> None:
        self._workflow, self._activity = workflow, activity
        self._client: Client | None = None

    def client(self) -> Client:
        """Return the connection.

        Raises:
            Problem: 503, there has not been an engine yet.
        """
        if self._client is None:
            raise Problem(503, "no engine", "the engine cannot be reached; the same request may succeed later")
        return self._client

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Work until the block ends; then end the steps that have begun."""
        working = asyncio.create_task(self._work())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.wait([working])

    async def _work(self) -> None:
        while True:
            try:
                self._client = await Client.connect(ADDRESS)
                worker = Worker(
                    self._client,
                    task_queue=QUEUE,
                    workflows=[self._workflow],
                    activities=[self._activity],
                    sticky_queue_schedule_to_start_timeout=STICKY_SECONDS,
                    graceful_shutdown_timeout=LEAVE_SECONDS,
                )
                await worker.run()
            except Exception as error:
                log.warning("at the engine: %s: %s", type(error).__name__, error)
            await asyncio.sleep(RETRY_SECONDS)


def speak_of_engine(app: FastAPI) -> None:
    """Make what the engine refuses a problem document: 404 for what it does not know, 503 when it cannot be reached."""
    app.add_exception_handler(RPCError, _refused)


def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RPCError)
    if error.status == RPCStatusCode.NOT_FOUND:
        return answer(Problem(404, "not found", "the engine knows no such start"))
    return answer(Problem(503, "no engine", f"the engine cannot be reached: {error.status.name}"))
