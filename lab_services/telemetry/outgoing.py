"""What a process asks of others, over HTTP and gRPC: watched by the official instrumentation."""

from __future__ import annotations

import os
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import Span


def instrument_outgoing() -> None:
    """Trace every client of httpx in this process, and every channel of gRPC that is opened from now on."""

    async def name_callee_soon(span: Span, request: Any) -> None:
        name_callee(span, request)

    HTTPXClientInstrumentor().instrument(request_hook=name_callee, async_request_hook=name_callee_soon)
    # grpc is imported by those who call: a tenth of a second. Whoever does not call has it not.
    if any(name.endswith("_REPLICAS_FILE") for name in os.environ):
        instrument_grpc_clients()


def instrument_grpc_clients() -> None:
    """Trace the channels of gRPC, those of threads and those of asyncio."""
    from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient, filters

    from lab_services.telemetry.grpc_client import instrument_channels

    GrpcInstrumentorClient(filter_=filters.negate(filters.health_check())).instrument()  # type: ignore[no-untyped-call]
    instrument_channels()


def name_callee(span: Span, request: Any) -> None:
    """Say in a client's span which service of the lab it asks, where the address tells."""
    if span.is_recording():
        url = request.url  # bytes in parts, or httpx.URL
        if name := _named(str(url.host), url.port or 80):
            span.set_attribute("peer.service", name)
            span.update_name(f"{request.method.decode()} {name}")


@cache
def _addresses() -> dict[tuple[str, int], str]:
    """Return the services at the addresses that the lab has told this process (RIDES_URL)."""
    found = {}
    for key, value in os.environ.items():
        if key.endswith("_URL") and value.startswith("http"):
            where = urlsplit(value)
            found[where.hostname or "", where.port or 80] = key.removesuffix("_URL").lower()
    return found


def _named(host: str, port: int) -> str:
    return _addresses().get((host, port), "")
