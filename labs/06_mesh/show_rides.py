"""A caller for the demonstrations: it asks pricing or locks as often as it is told, and says who has answered.

It calls http://pricing and the gRPC address of its environment; what the sidecar makes of that, it does not know.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import grpc
import httpx
from fastapi import FastAPI, Query, Request

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.locks_messages import messages, services

RIDERS = 10
PASSED_ON = ("traceparent", "x-ticket", "x-way", "x-envoy-fault-abort-request", "x-envoy-fault-delay-request")
Many = Annotated[int, Query(ge=1, le=500)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=os.environ["PRICING_URL"], timeout=10) as client:
        app.state.client = client
        yield


app = FastAPI(title="A caller", lifespan=lifespan)
answer_health(app)


@app.get("/ask")
async def ask(request: Request, path: str = "/quote", calls: Many = 1, at_once: Many = 1) -> list[dict[str, Any]]:
    """Ask pricing for riders r-0 to r-9 in turn; return who was asked for, the status, and who has answered."""
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> dict[str, Any]:
        rider = f"r-{number % RIDERS}"
        async with places:
            answer = await app.state.client.get(path, headers={"x-rider": rider, **headers})
        replica, body = answer.headers.get("x-replica"), answer.text
        return {"rider": rider, "status": answer.status_code, "replica": replica, "body": body}

    return list(await asyncio.gather(*map(one, range(calls))))


@app.get("/locks")
async def ask_locks(calls: Many = 1) -> list[str]:
    """Ask locks on one connection, call after call; return which replica has answered each of them."""
    found = []
    async with grpc.aio.insecure_channel(os.environ["LOCKS_URL"]) as channel:
        stub = services.LocksServiceStub(channel)
        for _ in range(calls):
            call = stub.GetLock(messages.GetLockRequest(lock_id="l-01"), timeout=10, wait_for_ready=True)
            found.append(str(dict(await call.initial_metadata()).get("x-replica")))
            await call
    return found
