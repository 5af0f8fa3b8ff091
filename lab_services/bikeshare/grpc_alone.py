"""Run a gRPC service without the course: `python -m lab_services.bikeshare.locks 50051` (port 0: one that is free)."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

DRAIN_SECONDS = 5.0  # on SIGTERM: a call that is not finished by then is cancelled
SILENCE_MILLISECONDS = 5_000  # whoever connects and says nothing, or agrees to nothing, is sent away
OPTIONS = [(f"grpc.{each}", SILENCE_MILLISECONDS) for each in ("server_handshake_timeout_ms", "http2.settings_timeout")]
Serve = Callable[[Any, Any], AbstractAsyncContextManager[Any]]


def run_alone(serve: Serve, name: str) -> None:
    """Serve on 127.0.0.1 and the port of the command line until SIGTERM or Ctrl-C."""
    asyncio.run(_run(serve, name, int(sys.argv[1]) if len(sys.argv) > 1 else 0))


async def _run(serve: Serve, name: str, port: int) -> None:
    server = grpc.aio.server(options=OPTIONS)
    states = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    reflection.enable_server_reflection([name, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    told = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, told.set)
    async with serve(server, states):
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        print(f"{name} on 127.0.0.1:{port}", flush=True)
        await told.wait()
        await states.enter_graceful_shutdown()
        await server.stop(DRAIN_SECONDS)
