"""Relay: says what the outboxes of the other services hold. It hears outbox.*, which wakes it before its next look.

It lives beside the services, on the disk that has their files, and of all services it alone publishes into the streams.
While it is away nothing is said and nothing is lost.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg

from lab_services.bikeshare import outbox
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.intake import side_by_side
from lab_services.bikeshare.problems import speak_problems
from lab_services.bikeshare.relaying import STREAMS, Relay
from lab_services.bikeshare.streams import make

POLL_SECONDS = float(os.environ.get("POLL_SECONDS", "0.5"))  # between two looks of a relay that nobody wakes
REPLICA = os.environ.get("REPLICA", "1")
OUTBOXES = os.environ.get("OUTBOXES", "starts,wallet,stations,locks,rides")  # or a file: "wallet=../books/wallet"
NAMES = [each.partition("=") for each in OUTBOXES.split(",")]
FILES = {name: file or f"../{name}/{name}" for name, _, file in NAMES}  # as seen from our own folder, without .db
relays = {name: Relay(file, f"relay-{REPLICA}", POLL_SECONDS) for name, file in FILES.items()}


async def wake(message: Msg) -> None:
    if relay := relays.get(message.subject.removeprefix("outbox.")):
        relay.woken.set()


async def prepare(client: Client) -> None:
    for stream in STREAMS.values():
        await make(client, stream)
    await client.subscribe("outbox.*", cb=wake)


async def work(client: Client, over: asyncio.Event) -> None:
    await side_by_side(over, *(relay.work(client, over) for relay in relays.values()))


line = Line(prepare, work)
app = FastAPI(title="relay", lifespan=line.lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=line.client)


@app.get("/outboxes")
def list_outboxes() -> dict[str, Any]:
    return {"outboxes": [{"service": name, **outbox.waiting(file)} for name, file in FILES.items()]}
