"""Rides of task 6.4: a rider starts a ride, and its lock opens. Given.

The rider is who the header x-rider names. This service believes it: that nobody but the edge can write it, and that the
edge writes what a token has proved, is what its sidecar is for. What the rides are is forgotten at the end.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import grpc
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

from lab_services.bikeshare.interfaces import compiled

messages, services = compiled("bikeshare/locks/v1/locks.proto")
LOCKS_URL = os.environ["LOCKS_URL"]  # a port of this service's own sidecar
CALL_SECONDS = 5.0
Rider = Annotated[str, Header(alias="x-rider")]


class Start(BaseModel):
    """Which lock to open."""

    lock_id: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a channel to the locks."""
    async with grpc.aio.insecure_channel(LOCKS_URL) as channel:
        app.state.locks = services.LocksServiceStub(channel)
        yield


app = FastAPI(title="Rides", lifespan=lifespan)
rides: dict[str, dict[str, str]] = {}


@app.put("/rides/{ride_id}")
async def start(ride_id: str, wish: Start, rider: Rider) -> dict[str, str]:
    """Start a ride; the same again is the same ride. 503 when the lock cannot be opened."""
    ride = rides.setdefault(ride_id, {"ride_id": ride_id, "rider": rider, "lock_id": wish.lock_id})
    if ride["rider"] != rider:
        raise HTTPException(403, "this is another rider's ride")
    message = messages.UnlockRequest(lock_id=ride["lock_id"], ride_id=ride_id, request_id=ride_id)
    try:
        await app.state.locks.Unlock(message, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        code: Any = error.code()  # type: ignore[attr-defined]  # grpc has no types
        raise HTTPException(503, f"the lock says {code.name}: {error.details()}") from error  # type: ignore[attr-defined]
    return ride


@app.get("/rides/{ride_id}")
async def find(ride_id: str, rider: Rider) -> dict[str, str]:
    """Show a rider the own ride."""
    if ride_id not in rides:
        raise HTTPException(404, "no such ride")
    if rides[ride_id]["rider"] != rider:
        raise HTTPException(403, "this is another rider's ride")
    return rides[ride_id]


@app.get("/rides")
async def every() -> list[dict[str, str]]:
    """Show all rides: who is where, and so nothing for riders."""
    return list(rides.values())


@app.delete("/rides/{ride_id}")
async def forget(ride_id: str) -> dict[str, str]:
    """Forget a ride. It was added last week, and nobody has said yet who may do it."""
    return rides.pop(ride_id, {})


@app.get("/health/live")
@app.get("/health/ready")
async def healthy() -> dict[str, str]:
    """Say that the service runs."""
    return {"status": "ready"}
