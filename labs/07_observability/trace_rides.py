"""Rides: starts a ride. Asks the wallet over HTTP and the locks over gRPC, and tells the city of it by a message.

PUT /rides/{ride_id} answers 201; 402 when the wallet refuses; 503 when wallet or locks fail. The fare is computed in a
thread of a pool while the wallet is asked. The message is told by a task that was there before, from a queue: a rider
waits for no broker.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx
from fastapi import FastAPI, Request
from nats.js import JetStreamContext
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from pydantic import BaseModel
from trace_app import name_ride, traced_app
from trace_calls import asking, calling
from trace_context import here, there

from lab_services.bikeshare.locks_messages import messages, services
from lab_services.bikeshare.messages import connected
from lab_services.bikeshare.problems import Problem

CALL_SECONDS = 2.0
SUBJECT = "ride.started"
POOL = ThreadPoolExecutor(1)
tracer = trace.get_tracer("city")


class Ride(BaseModel):
    rider_id: str
    card: str
    lock_id: str


@asynccontextmanager
async def life(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    async with (
        connected() as broker,
        httpx.AsyncClient(base_url=os.environ["WALLET_URL"], timeout=CALL_SECONDS, trust_env=False) as state.wallet,
        grpc.aio.insecure_channel(os.environ["LOCKS_URL"]) as channel,
    ):
        state.locks, state.queue = services.LocksServiceStub(channel), asyncio.Queue()
        await broker.jetstream().add_stream(name="RIDES", subjects=[f"{SUBJECT}.*"])
        telling = asyncio.create_task(tell_all(broker.jetstream(), state.queue))
        yield
        await state.queue.join()
        telling.cancel()


app = traced_app("rides", life)


@app.put("/rides/{ride_id}", status_code=201)
async def start_ride(ride_id: str, ride: Ride, request: Request) -> dict[str, Any]:
    name_ride(ride_id)
    state, body = request.app.state, ride.model_dump()
    wallet = asyncio.create_task(
        asking("PUT holds", lambda headers: state.wallet.put(f"/holds/{ride_id}", json=body, headers=headers))
    )
    fare = await asyncio.get_running_loop().run_in_executor(POOL, compute_fare, ride_id, here())
    try:
        held = await wallet
        if held.status_code == 402:
            raise Problem(402, "no money", "the wallet refuses")
        held.raise_for_status()
        await open_lock(state.locks, ride.lock_id, ride_id)
    except (httpx.HTTPError, grpc.aio.AioRpcError) as error:
        raise Problem(503, "not now", "the wallet or the locks fail") from error
    state.queue.put_nowait((here(), f"{SUBJECT}.{ride_id}", ride.model_dump_json().encode()))
    return {"ride_id": ride_id, "fare_cents": fare}


def compute_fare(ride_id: str, place: Any) -> int:
    with there(place), tracer.start_as_current_span("compute fare"):
        name_ride(ride_id)
        return sum(25 for _ in range(8))


async def open_lock(locks: Any, lock_id: str, ride_id: str) -> None:
    headers: dict[str, str] = {}
    with calling("Unlock", headers):
        wish = messages.UnlockRequest(lock_id=lock_id, ride_id=ride_id)
        await locks.Unlock(wish, metadata=tuple(headers.items()), timeout=CALL_SECONDS)


async def tell_all(stream: JetStreamContext, queue: asyncio.Queue[tuple[Any, str, bytes]]) -> None:
    while True:
        place, subject, content = await queue.get()
        headers: dict[str, str] = {}
        try:
            with there(place), calling(f"publish {SUBJECT}", headers, SpanKind.PRODUCER):
                name_ride(subject.removeprefix(f"{SUBJECT}."))
                await stream.publish(subject, content, headers=headers or None)
        except Exception as error:
            print(f"{subject} is not told: {type(error).__name__}", flush=True)
        queue.task_done()
