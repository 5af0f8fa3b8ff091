"""Taps: POST /unlock answers a rider's tap, and counts it as alert_rules.yml says.

PUT /fault {"status": 503, "seconds": 0, "every": 5}: every fifth tap is answered so, after so long; "every": 0 ends it.
GET /ledger says how many taps this replica has answered with which status.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from pydantic import BaseModel, Field

app = FastAPI(title="taps")
registry = CollectorRegistry()
requests = Histogram("request_seconds", "From request to answer.", ["route", "status"], registry=registry,
                     buckets=(0.1, 0.25, 0.5, 1.0))  # fmt: skip
ROUTES = ("/unlock", "/health/ready")
for route in ROUTES:
    requests.labels(route, "200")  # there from the start, at 0: what is not there cannot be told from what is lost
ledger: Counter[str] = Counter()


class Fault(BaseModel):
    """Which taps go wrong (`every` fifth, say), with which status, and after how many seconds."""

    status: int = Field(200, ge=200, le=599)
    seconds: float = Field(0, ge=0, le=5)
    every: int = Field(0, ge=0)


app.state.fault = Fault()


@app.middleware("http")
async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Observe each answer by route and status; whatever has no such route is not counted."""
    began = time.perf_counter()
    response = await call_next(request)
    if request.url.path in ROUTES:
        requests.labels(request.url.path, str(response.status_code)).observe(time.perf_counter() - began)
    return response


@app.post("/unlock")
async def unlock() -> Response:
    """Open a lock, unless this tap is one of those that go wrong."""
    fault: Fault = app.state.fault
    wrong = fault.every and ledger.total() % fault.every == 0
    status = fault.status if wrong else 200
    ledger[str(status)] += 1
    await asyncio.sleep(fault.seconds if wrong else 0)
    return Response(status_code=status)


@app.put("/fault")
def order(fault: Fault) -> Fault:
    """Go wrong like this from now on."""
    app.state.fault = fault
    return fault


@app.get("/ledger")
def read_ledger() -> dict[str, int]:
    """Return how many taps were answered with which status."""
    return dict(ledger)


@app.get("/health/{kind}")
def health(kind: str) -> dict[str, str]:
    """Say that the replica is there."""
    return {"status": "ok"}


@app.get("/metrics")
def metrics() -> Response:
    """Show the figures to Prometheus."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
