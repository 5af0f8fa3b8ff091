"""The message relay of an outbox: says its rows in their order, each until its stream has it.

Two relays that meet say the same row twice under one id, and the stream keeps the first. Each waits for the stream's
answer before it says the next row, so that even then no row of a ride overtakes the one before it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from contextlib import suppress

from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from lab_services.bikeshare import carried, outbox
from lab_services.bikeshare.streams import COMMANDS, REPLIES, RIDES, keep

MOST_REFUSED = 10  # rides of which the broker refuses a row, in one round: then the trouble is not with the rows
STREAMS: Mapping[str, StreamConfig] = {"command": COMMANDS, "reply": REPLIES, "ride": RIDES}
log = logging.getLogger("relay")


class Relay:
    """Empties one outbox; `woken` is set by whoever knows that there is something in it."""

    def __init__(
        self, books: str, name: str, poll_seconds: float, streams: Mapping[str, StreamConfig] = STREAMS
    ) -> None:
        self.woken = asyncio.Event()
        self._books, self._name, self._poll_seconds, self._streams = books, name, poll_seconds, streams
        self._trouble = ""

    async def work(self, client: Client, over: asyncio.Event) -> None:
        """Say what there is, then wait to be woken, at most until the next look."""
        while not over.is_set():
            self.woken.clear()
            try:
                await self._empty(client, over)
            except (Error, TimeoutError, sqlite3.Error) as trouble:  # the rows wait; a stream may have the last one
                self._tell(trouble)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self.woken.wait()

    async def _empty(self, client: Client, over: asyncio.Event) -> None:
        blocked: set[str] = set()
        while not over.is_set() and len(blocked) < MOST_REFUSED:
            rows = await asyncio.to_thread(outbox.due, self._books, self._name, blocked)
            if not rows:
                return
            await self._say_each(client, rows, blocked)
            self._trouble = ""

    async def _say_each(self, client: Client, rows: list[sqlite3.Row], blocked: set[str]) -> None:
        """Say rows; one that is refused holds up those of its own ride, and no others."""
        said: list[int] = []
        refused: dict[int, str] = {}
        try:
            for row in rows:
                if row["ride_id"] in blocked:
                    continue
                try:
                    await self._say(client, row)
                    said.append(row["seq"])
                except APIError as no:
                    refused[row["seq"]] = f"{no.err_code}: {no.description}"
                    blocked.add(row["ride_id"])
        finally:
            await asyncio.to_thread(outbox.forget, self._books, said, refused)

    async def _say(self, client: Client, row: sqlite3.Row) -> None:
        stream = self._streams.get(row["subject"].split(".")[0])
        if stream is None:
            raise APIError(description="no stream keeps such a subject", err_code=0)
        with carried.resumed(carried.stamp_of(row["content"])):
            await keep(client, stream, row["subject"], row["content"], {"Nats-Msg-Id": row["event_id"]})

    def _tell(self, trouble: Exception) -> None:
        if (words := f"{self._books}: {type(trouble).__name__}: {trouble}") != self._trouble:
            log.warning("tried again every %g s: %s", self._poll_seconds, words)
        self._trouble = words
