"""Billing: charges each ended ride once. Replicas share the durable consumer `billing` of the stream RIDES.

It hears ride.ended.* there, and says dead.billing, into DEAD, for what it cannot bill, with the reason.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from lab_services.bikeshare.billing_table import SCHEMA, Unbillable, bill
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.carried import handling
from lab_services.bikeshare.charges import charges, furnish
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.deliveries import bury, later
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import Unreadable, read
from lab_services.bikeshare.problems import Id, speak_problems
from lab_services.bikeshare.streams import DEAD, RIDES, make

ACK_SECONDS = float(os.environ.get("ACK_SECONDS", "5"))  # who has not acknowledged by then is taken for dead
AGAIN_SECONDS = float(os.environ.get("AGAIN_SECONDS", "1"))  # a message that met with trouble rests so long
BILL_SECONDS = float(os.environ.get("BILL_SECONDS", "0"))  # how long a payment takes
MOST_TRIES = 5  # of a message that meets with a mistake of ours; a database in trouble is waited for
BATCH = 10
FETCH_SECONDS = 0.5  # also how long a replica without work may take to leave
NAME = "billing"
CONSUMER = ConsumerConfig(name=NAME, durable_name=NAME, filter_subject="ride.ended.*", ack_wait=ACK_SECONDS)
billed: deque[str] = deque(maxlen=1000)  # the newest events that this replica has billed


async def prepare(client: Client) -> None:
    await make(client, RIDES)
    await make(client, DEAD)
    await client.jetstream().add_consumer("RIDES", CONSUMER)


async def work(client: Client, over: asyncio.Event) -> None:
    pulling = await client.jetstream().pull_subscribe_bind(NAME, "RIDES")
    try:
        while not over.is_set():
            for message in await fetch(client, pulling):
                await (message.nak() if over.is_set() else handle(client, message))
    finally:
        if not client.is_closed:  # or nats-py waits in vain for what is left over of a fetch
            await pulling.unsubscribe()


async def fetch(client: Client, pulling: JetStreamContext.PullSubscription) -> list[Msg]:
    if not client.is_connected:  # nats-py would keep each request for later: they would all be served at once
        await asyncio.sleep(FETCH_SECONDS)
        return []
    try:
        return await pulling.fetch(BATCH, FETCH_SECONDS)
    except TimeoutError:
        return []


async def handle(client: Client, message: Msg) -> None:
    """Bill, then acknowledge: whoever dies in between has the message delivered again, and bills it no second time."""
    try:
        with handling(message):
            event = read(message.data, {"ride.ended": 1})
            await asyncio.sleep(BILL_SECONDS)
            if await asyncio.to_thread(bill, event):
                billed.append(event.id)
        await message.ack()
    except (Unreadable, Unbillable) as reason:
        await bury(client, message, str(reason), AGAIN_SECONDS)
    except sqlite3.Error as trouble:
        await later(message, AGAIN_SECONDS, trouble)
    except Exception as mistake:
        if message.metadata.num_delivered < MOST_TRIES:
            return await later(message, AGAIN_SECONDS, mistake)
        await bury(client, message, f"tried {MOST_TRIES} times, at last {type(mistake).__name__}", AGAIN_SECONDS)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("wallet", SCHEMA):
        with transaction("wallet") as db:
            furnish(db)
        async with line.opened():
            yield


def ready() -> None:
    probe("wallet")
    line.client()


line = Line(prepare, work)
app = FastAPI(title="billing", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready)


@app.get("/charges/{ride_id}")
def show_charges(ride_id: Id) -> dict[str, Any]:
    with transaction("wallet", "BEGIN") as db:
        return {"ride_id": ride_id, "charges": charges(db, ride_id)}


@app.get("/billed")
async def show_billed() -> dict[str, Any]:
    return {"replica": os.environ.get("REPLICA", "1"), "events": list(billed)}
