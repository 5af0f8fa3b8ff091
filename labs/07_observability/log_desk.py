"""Desk: POST /failures with lines of log, as many as there are; the answer is what log_query.py finds in them.

200: {"failures": [...], "taken": lines that were taken, "peak_bytes": memory beside the lines at its most}.
500: {"problem": ...}, when the search has raised.
"""

import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from log_query import find_failures

from lab_services.bikeshare.health import answer_health

app = FastAPI(title="desk")
answer_health(app)


@app.post("/failures")
async def failures(request: Request) -> JSONResponse:
    status, found = await run_in_threadpool(search, io.BytesIO(await request.body()))
    return JSONResponse(found, status)


def search(content: io.BytesIO) -> tuple[int, dict[str, Any]]:
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        for line in content:
            taken += 1
            yield line.decode("utf-8", "replace")

    tracemalloc.start()
    try:
        found = [asdict(failure) for failure in find_failures(lines())]
        return 200, {"failures": found, "taken": taken, "peak_bytes": tracemalloc.get_traced_memory()[1]}
    except Exception as problem:
        return 500, {"problem": f"{type(problem).__name__} at line {taken}"}
    finally:
        tracemalloc.stop()
