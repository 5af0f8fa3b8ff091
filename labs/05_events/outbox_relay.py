"""Relay: the process that runs relay.py, for as long as it lives. There are two of it, with one outbox.

GET /outbox lists what waits there, at most MOST_LISTED rows, oldest first: how often each was tried, and the reason why
it was not told. What relay.run raises is logged, and it is begun again BACKOFF_SECONDS later.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import relay
from fastapi import FastAPI
from outbox_book import BOOK, SCHEMA, do
from outbox_line import CityLine

from lab_services.bikeshare.database import opened, probe
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

MOST_LISTED = 100
line = CityLine()
log = logging.getLogger("relay")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened(BOOK, f"{SCHEMA}; {relay.MORE_TABLES}"):
        async with line.opened():
            working = asyncio.create_task(work())
            yield
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


app = FastAPI(title="relay", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe(BOOK))


async def work() -> None:
    """Run the relay, whatever it raises."""
    while True:
        try:
            await relay.run(line)
        except Exception:
            log.exception("the relay begins again")
        await asyncio.sleep(relay.BACKOFF_SECONDS)


@app.get("/outbox")
async def show_outbox() -> dict[str, Any]:
    columns = "seq, event_id, ride_id, time, tries, reason"
    rows = await do(f"SELECT {columns} FROM outbox ORDER BY seq LIMIT :most", most=MOST_LISTED)
    [count] = await do("SELECT count(*) FROM outbox")
    return {"waiting": count[0], "rows": [dict(row) for row in rows]}
