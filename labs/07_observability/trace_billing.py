"""Billing: hears of each ride that has started, and has the wallet charge its fare over HTTP.

A message that it cannot read, or whose charge fails, is given up, and the next one is taken.
"""

import asyncio
import json
import os
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from trace_app import name_ride, traced_app
from trace_calls import asking
from trace_context import hearing

from lab_services.bikeshare.messages import connected

CALL_SECONDS = 2.0
SUBJECT = "ride.started"


@asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    async with (
        connected() as broker,
        httpx.AsyncClient(base_url=os.environ["WALLET_URL"], timeout=CALL_SECONDS, trust_env=False) as wallet,
    ):
        await broker.jetstream().add_stream(name="RIDES", subjects=[f"{SUBJECT}.*"])
        busy = asyncio.Lock()
        hearing_all = asyncio.create_task(hear_all(broker.jetstream(), wallet, busy))
        yield
        async with busy:  # between two messages
            hearing_all.cancel()


app = traced_app("billing", life)


async def hear_all(stream: JetStreamContext, wallet: httpx.AsyncClient, busy: asyncio.Lock) -> None:
    heard = await stream.subscribe(f"{SUBJECT}.*", durable="billing", stream="RIDES", manual_ack=True)
    async for message in heard.messages:
        async with busy:
            await take(message, wallet)


async def take(message: Msg, wallet: httpx.AsyncClient) -> None:
    try:
        with hearing(f"process {SUBJECT}", message):
            await bill(message, wallet)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} in {os.path.basename(place.filename)}, line {place.lineno}: {place.line}"
        print(f"{message.subject} is given up: {what}", flush=True)
        await message.term()
    else:
        await message.ack()


async def bill(message: Msg, wallet: httpx.AsyncClient) -> None:
    ride_id = message.subject.removeprefix(f"{SUBJECT}.")
    name_ride(ride_id)
    body = json.loads(message.data)
    path = f"/charges/{ride_id}"
    answer = await asking("PUT charges", lambda headers: wallet.put(path, json=body, headers=headers))
    answer.raise_for_status()
