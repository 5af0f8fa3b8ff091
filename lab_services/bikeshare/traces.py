"""Traces: where the services of the city send their spans and logs, and where they are looked up. Calls nobody.

It is told by OTLP/HTTP (POST /v1/traces, /v1/logs) and asked by Jaeger's query API (/api/traces), so that a real Jaeger
can take its place. MOST_SPANS are kept; the oldest traces make room for new ones.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import speak_problems
from lab_services.telemetry import jaeger_routes, otlp_routes, span_store

MOST_SPANS = int(os.environ.get("MOST_SPANS", str(span_store.MOST_SPANS)))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    store = app.state.store = span_store.SpanStore(Path(os.environ.get("DATA_DIR", "data")), MOST_SPANS)
    yield
    store.close()


app = FastAPI(title="traces", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: app.state.store.probe())
app.include_router(otlp_routes.telling)
app.include_router(jaeger_routes.asking)
