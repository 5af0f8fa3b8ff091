"""How the gateway answers a call: what its work raises becomes a status code, and streams are counted.

The status of a call is gRPC's, never a field of an answer; what is our own mistake gives nothing away.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from threading import Event
from typing import Any, TypeVar

import grpc
from grpc import StatusCode

from lab_services.bikeshare.locks_notes import Notes

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
MOST_STREAMS = int(os.environ.get("MOST_STREAMS", "100"))  # of all kinds, open at one replica
CLOCK_SECONDS = 0.1  # a caller's own clock ends first: whoever goes away so shortly before the end had no time left
Result = TypeVar("Result")


class Refusal(Exception):
    """Refuse a call: `raise Refusal(StatusCode.NOT_FOUND, "there is no lock l-99")`."""

    def __init__(self, code: StatusCode, detail: str) -> None:
        self.code, self.detail = code, detail
        super().__init__(detail)


def check_ids(request: Any, *fields: str) -> None:
    """Refuse a request in which one of these fields is missing or no id."""
    for field in fields:
        if not ID.fullmatch(getattr(request, field)):
            raise Refusal(StatusCode.INVALID_ARGUMENT, f"{field}: 1 to 64 characters of A-Z a-z 0-9 . _ -")


class Calls:
    """The calls of one replica."""

    def __init__(self) -> None:
        self.notes = Notes()
        self._streams: set[asyncio.Task[Any]] = set()
        self._leaving = False
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def answer(self, context: Any, rpc: str, request: Any = None) -> AsyncIterator[None]:
        """Note a call and end it with the status of what its work raises; without a request it is a stream."""
        note = self.notes.begin(context, rpc, getattr(request, "lock_id", ""))
        task = asyncio.current_task()
        assert task is not None
        try:
            if request is None:
                self._admit(task)
            yield
            self.notes.end(note, StatusCode.OK)
        except BaseException as error:
            code, detail = self._status(error, task, context)
            self.notes.end(note, code)
            if code in (StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED):
                raise  # there is nobody to be answered
            await context.abort(code, detail)
        finally:
            self._streams.discard(task)

    async def write(self, change: Callable[..., Result], *arguments: Any) -> Result:
        """Change the database in a thread; the last argument of the change tells whether its caller has gone since.

        One at a time for each replica: SQLite lets one write anyway, and whoever waits here holds up no thread.
        """
        gone = Event()
        try:
            await self._writing.acquire()
            here = contextvars.copy_context()  # a thread of the executor knows nothing of the call's trace
            job = partial(here.run, change, *arguments, gone.is_set)
            work = asyncio.get_running_loop().run_in_executor(None, job)
            work.add_done_callback(lambda _: self._writing.release())
            return await asyncio.shield(work)
        finally:
            gone.set()

    def leave(self) -> None:
        """Take no more streams, and end those that are open: their clients go on at another replica."""
        self._leaving = True
        for task in self._streams:
            task.cancel()

    def _admit(self, stream: asyncio.Task[Any]) -> None:
        if self._leaving:
            raise Refusal(StatusCode.UNAVAILABLE, "this replica leaves")
        if len(self._streams) >= MOST_STREAMS:
            raise Refusal(StatusCode.RESOURCE_EXHAUSTED, f"this replica has {MOST_STREAMS} streams, and takes no more")
        self._streams.add(stream)

    def _status(self, error: BaseException, task: asyncio.Task[Any], context: Any) -> tuple[StatusCode, str]:
        if isinstance(error, Refusal):
            return error.code, error.detail
        if isinstance(error, sqlite3.DatabaseError):
            return StatusCode.UNAVAILABLE, f"the database is in trouble: {error}"
        if isinstance(error, asyncio.CancelledError | GeneratorExit | grpc.aio.InternalError):  # the last: of a write
            left = context.time_remaining()
            if left is not None and left <= CLOCK_SECONDS:
                return StatusCode.DEADLINE_EXCEEDED, ""
            if self._leaving and task in self._streams and not context.cancelled():
                task.uncancel()
                return StatusCode.UNAVAILABLE, "this replica leaves"
            return StatusCode.CANCELLED, ""
        logging.getLogger(__name__).error("a mistake in this service", exc_info=error)
        return StatusCode.INTERNAL, "a mistake in this service; its log has the details"
