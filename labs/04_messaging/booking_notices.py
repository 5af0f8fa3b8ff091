"""Notices: tells riders that their booking ends soon. Reads reminder.due by the durable consumer `notices`.

A notice is a row of notices.db, written once for each event id, before the message is acknowledged: after a crash in
between it comes again, and nothing is written. What nobody can read is logged, and given up.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import reminders
from fastapi import FastAPI
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import Event, Unreadable, connected, read
from lab_services.bikeshare.problems import Id, speak_problems

TABLES = """
    CREATE TABLE IF NOT EXISTS notices(event_id TEXT PRIMARY KEY, booking_id TEXT, bike_id TEXT, rider_id TEXT,
        due_at REAL, came_at REAL)
"""
VERSIONS = {"booking.ending": 1}
FETCH_SECONDS = float(os.environ.get("FETCH_SECONDS", "5"))  # a broker that is killed forgets that somebody waits
REST_SECONDS = 0.1  # before a broker is asked again that has said no
log = logging.getLogger("notices")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("notices", TABLES):
        async with connected() as client:
            broker = client.jetstream()
            await reminders.opened(broker)
            reading = asyncio.create_task(read_on(broker))
            yield
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


app = FastAPI(title="notices", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: probe("notices"))


@app.get("/riders/{rider_id}/notices")
def show(rider_id: Id) -> list[dict[str, Any]]:
    with transaction("notices", "BEGIN") as db:
        return [
            dict(row) for row in db.execute("SELECT * FROM notices WHERE rider_id = ? ORDER BY came_at", [rider_id])
        ]


async def read_on(broker: JetStreamContext) -> None:
    """Take one message after the other, for as long as the service lives."""
    pile = await broker.pull_subscribe("reminder.due", durable="notices", stream="REMINDERS")
    while True:
        try:
            [message] = await pile.fetch(1, timeout=FETCH_SECONDS)
        except TimeoutError:
            continue
        except Error as error:
            log.warning("no message: %s", error)
            await asyncio.sleep(REST_SECONDS)
            continue
        await handle(message)


async def handle(message: Msg) -> None:
    try:
        await asyncio.to_thread(note, read(message.data, VERSIONS))
        await message.ack()
    except (Unreadable, KeyError) as error:
        log.warning("message %s: %s", message.metadata.sequence.stream, error)
        await message.term()
    except Exception:
        log.exception("message %s comes again", message.metadata.sequence.stream)


def note(event: Event) -> None:
    row = [event.id, *(str(event.data[name]) for name in ("booking_id", "bike_id", "rider_id"))]
    with transaction("notices") as db:
        times = [event.time.timestamp(), time.time()]
        db.execute("INSERT OR IGNORE INTO notices VALUES (?, ?, ?, ?, ?, ?)", [*row, *times])
