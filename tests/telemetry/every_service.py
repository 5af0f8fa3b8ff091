"""A process of its own in which every finished HTTP service is instrumented, and asked with each kind of trace context.

Prints one JSON document: {service: {case: [status, trace id of its one span, its parent, its tracestate]}}.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lab_services.telemetry.instrument import Instrumentation
from tests.telemetry.trace_contexts import CASES

BIKESHARE = Path(__file__).parents[2] / "lab_services" / "bikeshare"


def services() -> list[str]:
    """Return the names of all finished services that answer HTTP."""
    return sorted(path.stem for path in BIKESHARE.glob("*.py") if "\napp = FastAPI(" in path.read_text())


async def ask_all(app: Any, kept: InMemorySpanExporter, watching: Instrumentation) -> dict[str, list[Any]]:
    found = {}
    transport = httpx.ASGITransport(app)
    client = httpx.AsyncClient(transport=transport, base_url="http://city")
    async with app.router.lifespan_context(app), client:
        for case in CASES:
            kept.clear()
            answer = await client.get(
                "/openapi.json", headers=[(k.encode(), v.encode("latin-1")) for k, v in case.headers]
            )
            assert watching._spans is not None and watching._spans.provider.force_flush()
            spans = [span for span in kept.get_finished_spans() if span.kind.name == "SERVER"]
            (span,) = spans
            parent = f"{span.parent.span_id:016x}" if span.parent else ""
            state = span.context.trace_state.to_header()
            found[case.name] = [answer.status_code, f"{span.context.trace_id:032x}", parent, state]
    return found


def main() -> None:
    kept = InMemorySpanExporter()
    watching = Instrumentation("lab_services.bikeshare:app", traces=True, exporter=kept)
    found = {}
    for name in services():
        app = importlib.import_module(f"lab_services.bikeshare.{name}").app
        found[name] = asyncio.run(ask_all(app, kept, watching))
    json.dump(found, sys.stderr)
    watching.end()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(NATS_URL="nats://127.0.0.1:1", DATA_DIR=folder)
        main()
