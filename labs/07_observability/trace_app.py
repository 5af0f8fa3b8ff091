"""The app of a service whose requests are traced: FastAPI makes a span for each, and reads the caller's traceparent.

FastAPI finds the TracerProvider by itself once it is set; what it cannot see (calls, messages, threads, queues) is told
by trace_calls.py and trace_context.py. When the last span is sent, or given up, left.txt says so.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import trace_setup
from fastapi import FastAPI
from opentelemetry import trace

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import speak_problems

LEFT = Path(os.environ["DATA_DIR"]) / f"left-{os.environ['REPLICA']}.txt"
Life = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def traced_app(title: str, life: Life | None = None) -> FastAPI:
    """Return an app whose `life` is traced from before its begin until after its end."""

    @asynccontextmanager
    async def whole_life(app: FastAPI) -> AsyncIterator[None]:
        provider = trace_setup.start()
        trace.set_tracer_provider(provider)
        try:
            if life is None:
                yield
            else:
                async with life(app):
                    yield
        finally:
            await asyncio.to_thread(trace_setup.end, provider)
            LEFT.write_text("the last span is sent, or given up\n")

    wishes = {"operation_spans": False, "exclude": lambda scope: scope["path"].startswith("/health/")}
    app = FastAPI(title=title, lifespan=whole_life, telemetry=wishes)
    speak_problems(app)
    answer_health(app)
    return app


def name_ride(ride_id: str) -> None:
    """Say in the current span which ride it is about: a ride's number says nothing of its rider."""
    trace.get_current_span().set_attribute("ride.id", ride_id)
