"""Pricing: GET /quote says what a ride costs, and which replica has said it.

GET /quote?slow=true is answered only after POST /go to the same replica; GET /slow says how many of these are waiting.
"""

import asyncio
import os
from typing import Any

from fastapi import FastAPI

from lab_services.bikeshare.health import answer_health

REPLICA = int(os.environ.get("REPLICA", "1"))
app = FastAPI(title="pricing")
answer_health(app)
go = asyncio.Event()
waiting: set[object] = set()


@app.get("/quote")
async def quote(slow: bool = False) -> dict[str, Any]:
    if slow:
        waiting.add(mark := object())
        await go.wait()
        waiting.discard(mark)
    return {"cents": 700, "replica": REPLICA}


@app.get("/slow")
async def count_slow() -> int:
    return len(waiting)


@app.post("/go")
async def let_go() -> None:
    go.set()
