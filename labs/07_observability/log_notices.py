"""Notices: one worker hears `ride.started`, message after message, and tells the rider. Then it rests."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from log_lines import configure
from log_trace import trace_of

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import connected, settled

log = logging.getLogger("notices")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    configure("notices")
    async with connected() as broker:
        listening = await broker.subscribe("ride.started")
        await settled(broker)
        worker = asyncio.create_task(work(listening))
        yield
        worker.cancel()


app = FastAPI(title="notices", lifespan=lifespan)
answer_health(app)


async def work(listening: Any) -> None:
    async for message in listening.messages:
        with trace_of(message.headers):
            ride = json.loads(message.data)
            log.info("rider_told", extra={"ride_id": ride["ride_id"], "rider_id": ride["rider_id"]})
        log.info("notices_rest")
