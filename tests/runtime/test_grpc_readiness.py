"""The question for a gRPC server's health: True, what it said, or False when nothing sensible came in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lab_services.runtime.readiness_grpc import grpc_health
from tests.runtime.test_readiness import free_port, listening


@asynccontextmanager
async def serving(status: int | None) -> AsyncIterator[str]:
    """Run a real gRPC server whose health is `status`; None: it has no health service."""
    server = grpc.aio.server()
    if status is not None:
        servicer = health.aio.HealthServicer()
        await servicer.set("", status)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (health_pb2.HealthCheckResponse.SERVING, True),
        (health_pb2.HealthCheckResponse.NOT_SERVING, "grpc.health.v1 answered NOT_SERVING"),
        (health_pb2.HealthCheckResponse.UNKNOWN, "grpc.health.v1 answered UNKNOWN"),
        (None, "grpc.health.v1 answered no status: the call was refused"),
    ],
)
def test_a_real_server_is_ready_when_it_says_serving(status: int | None, answer: bool | str) -> None:
    """Against gRPC's own server: SERVING is ready, anything else is told in its words."""

    async def ask() -> bool | str:
        async with serving(status) as target:
            return await grpc_health(target, 5.0)

    assert asyncio.run(ask()) == answer


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\0\0\0\4\0\0\0\0\0",  # settings, and then nothing
        b"\xff\xff\xff\0\0\0\0\0\1" + b"x" * 100,  # a frame that never ends
        b"x" * 5,
    ],
)
def test_another_protocol_is_not_ready(answer: bytes) -> None:
    """HTTP/1, half a frame, a frame without end or a closed connection are "not yet"."""

    async def ask() -> bool | str:
        async with listening(answer) as port:
            return await grpc_health(f"127.0.0.1:{port}", 0.5)

    assert asyncio.run(ask()) is False


@pytest.mark.parametrize("silent", [True, False])
def test_silence_and_refusal_are_answered_in_time(silent: bool) -> None:
    """A server that accepts and says nothing costs the time limit and no more; a refused connection costs nothing."""

    async def ask(question: Callable[[str, float], Awaitable[bool | str]]) -> bool | str:
        if not silent:
            return await question(f"127.0.0.1:{free_port()}", 5.0)
        async with listening(b"", stay=True) as port:
            return await question(f"127.0.0.1:{port}", 0.2)

    began = time.monotonic()
    assert asyncio.run(ask(grpc_health)) is False
    assert time.monotonic() - began < 2
