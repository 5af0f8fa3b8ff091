"""The health of the gateway (grpc.health.v1): it serves while its database can be read, and sees when it must leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from lab_services.bikeshare.database import probe

LOOK_SECONDS = 0.1
SERVING: int = HealthCheckResponse.SERVING
NOT_SERVING: int = HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def keep_health(health: Any, name: str, leave: Callable[[], None]) -> AsyncIterator[None]:
    """Set the health of the process and of the service `name` time and again; call `leave` once the server drains."""
    await _say(health, name, await asyncio.to_thread(_state))
    looker = asyncio.create_task(_keep(health, name, leave))
    try:
        yield
    finally:
        looker.cancel()
        with suppress(asyncio.CancelledError):
            await looker


async def _keep(health: Any, name: str, leave: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        state = await asyncio.to_thread(_state)
        await _say(health, name, state)
        answer = await health.Check(HealthCheckRequest(service=""), None)
        if answer.status != state:  # whoever runs the server has told its health to say no: it drains
            leave()
            return


async def _say(health: Any, name: str, state: int) -> None:
    for each in ("", name):
        await health.set(each, state)


def _state() -> int:
    try:
        probe("locks")
    except Exception:
        return NOT_SERVING
    return SERVING
