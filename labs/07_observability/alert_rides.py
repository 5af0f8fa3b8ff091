"""Rides: five rides a second end, and billing is asked to bill each of them; counted as alert_rules.yml says."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest

BILLING_URL = os.environ["BILLING_URL"]
PAUSE_SECONDS, BILL_SECONDS = 0.2, 2.0
registry = CollectorRegistry()
ended = Counter("rides_ended", "Rides that have ended.", registry=registry)


async def end_rides() -> None:
    """End one ride after another; a bill that fails is lost, which is what BillingStands is there for."""
    async with httpx.AsyncClient(timeout=BILL_SECONDS, trust_env=False) as web:
        while True:
            ended.inc()
            with suppress(httpx.HTTPError):
                await web.post(f"{BILLING_URL}/bills")
            await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(end_rides())
    yield
    task.cancel()


app = FastAPI(title="rides", lifespan=lifespan)


@app.get("/health/{kind}")
def health(kind: str) -> dict[str, str]:
    """Say that the replica is there."""
    return {"status": "ok"}


@app.get("/metrics")
def metrics() -> Response:
    """Show the figures to Prometheus."""
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
