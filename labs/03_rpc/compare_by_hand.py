"""Parts, told by hand: the order of compare.py as JSON in your own frames, through your own stub and skeleton.

`serve` is the service, `by_hand` a client of it in the form of those in compare_clients.py.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import compare
from skeleton import serve_calls
from stub import Stub


async def get_order(order_id: str) -> dict[str, Any]:
    """Return the order, made anew for each call."""
    return {"order_id": order_id, **compare.FACTS}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await serve_calls({"get_order": get_order}, reader, writer)


@asynccontextmanager
async def by_hand(target: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Call by the stub of chapter 3.1; all lanes share one connection."""
    stub = await Stub.connect(target)

    async def call() -> int:
        return len((await stub.call("get_order", order_id="o-1"))["items"]) // 5

    try:
        yield call
    finally:
        stub.listening.cancel()
