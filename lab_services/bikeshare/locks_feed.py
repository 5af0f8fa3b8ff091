"""The live feed of the locks: whoever watches reads the ledger itself, page by page, at its own pace.

There is no queue: the ledger on disk is the buffer. So a slow watcher costs one page of memory, a watcher that comes
back misses nothing, and what another replica has written is in the feed as well.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

from lab_services.bikeshare import locks_ledger as ledger

POLL_SECONDS = 0.05  # how late an opening at another replica may come
PAGE = 100  # lines of the ledger that one watcher has in memory


class Feed:
    """Wakes the watchers of one replica when the ledger has grown; looks only while somebody watches."""

    def __init__(self) -> None:
        self._newest = 0
        self._grown = asyncio.Event()
        self._watchers = 0

    async def after(self, seq: int) -> AsyncGenerator[sqlite3.Row, None]:
        """Yield every line of the ledger after this one, without end."""
        self._watchers += 1
        try:
            while True:
                grown = self._grown
                page = await asyncio.to_thread(ledger.events_after, seq, PAGE)
                for row in page:
                    yield row
                    seq = row["seq"]
                if not page:
                    await grown.wait()
        finally:
            self._watchers -= 1

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look after the ledger until the end."""
        looker = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looker.cancel()
            with suppress(asyncio.CancelledError):
                await looker

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if not self._watchers:
                continue
            try:
                newest = await asyncio.to_thread(ledger.newest)
            except sqlite3.DatabaseError as error:
                logging.getLogger(__name__).warning("the feed stands still: %s", error)
                continue
            if newest != self._newest:
                self._newest = newest
                self._grown.set()
                self._grown = asyncio.Event()
