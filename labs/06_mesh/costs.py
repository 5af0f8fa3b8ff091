"""The callee whose calls are measured: an answer of 1 kB at once, or after as many milliseconds as are asked for.

It stands in for callers too: the program that measures uses their sidecars in their place.
"""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query

QUOTES = [{"bike_id": f"b-{number:04}", "cents": 100 + number} for number in range(29)]  # 1 kB as JSON

app = FastAPI(title="The callee of the measurement")


@app.get("/quotes")
async def quotes(milliseconds: Annotated[int, Query(ge=0, le=1000)] = 0) -> list[dict[str, str | int]]:
    """Return the quotes; waiting stands for a database, or for another service."""
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)
    return QUOTES


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """Say that it can serve."""
    return {"status": "ready"}
