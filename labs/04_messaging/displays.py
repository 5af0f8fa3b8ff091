"""Displays: the panels at the stations. Three replicas, each a panel of its own that shows every storm warning.

* **Everybody hears.** Each event said on `storm.warning` is drawn by every display, once each time it is said, in the
  order in which the events were said: a warning that is lifted comes after the warning.
* **Ready means heard.** A display that is ready misses nothing that is said from then on.
* **A slow panel is its own trouble.** `draw(event)` is a plain function that may take seconds. Meanwhile this display
  answers HTTP, and the other displays draw on.
* **No failure vanishes.** What `read` refuses, and whatever exception `draw` raises, goes to `tally.failed`; each
  other event to `tally.done` when it is drawn. The next one is not held up.
* **The broker may go and come back.** nats-py subscribes again by itself; from then on all is as before, and nothing
  is drawn twice.

A display that was away never hears what was said meanwhile: the broker keeps nothing here.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from nats.aio.msg import Msg
from tally import Tally

from lab_services.bikeshare import messages
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import Event

KNOWN = {"storm.warning": 1}
PANEL = f"panel-{os.environ['REPLICA']}"  # of this replica alone: panel-1.db
tally = Tally()


# --- your turn 4.2 ---
@asynccontextmanager
async def hearing() -> AsyncIterator[None]:
    """Draw what is said on storm.warning, until the display leaves."""

    in_order = asyncio.Lock()

    async def hear(message: Msg) -> None:
        async with in_order:
            draw(messages.read(message.data, KNOWN))
        tally.done()

    async def listen() -> None:
        await client.subscribe("storm.warning", queue="displays", cb=hear)

    async with messages.connected(reconnected_cb=listen) as client:
        await listen()
        yield


# --- end 4.2 ---


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened(PANEL, "CREATE TABLE IF NOT EXISTS shown(event_id TEXT, text TEXT)"):
        async with hearing():
            yield


app = FastAPI(title="displays", lifespan=lifespan)
answer_health(app)


@app.get("/work")
async def work() -> dict[str, Any]:
    return tally.told()


@app.get("/shown")
def shown() -> list[str]:
    with transaction(PANEL, "BEGIN") as db:
        return [row["text"] for row in db.execute("SELECT text FROM shown ORDER BY rowid")]


def draw(warning: Event) -> None:
    """Write a warning on this panel. It waits until the panel is free, and whoever calls it waits with it."""
    with transaction(PANEL) as db:
        db.execute("INSERT INTO shown VALUES (?, ?)", [warning.id, warning.data["text"]])
