"""Clients of compare.py: the ways in which a program can ask for an order. Each opens once and calls many times."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import compare
import grpc
import httpx

LANES = 16  # calls under way at once
STREAMED = 200  # orders in one stream
NO_PROXY = (("grpc.enable_http_proxy", 0),)
Call = Callable[[], Awaitable[int]]  # it returns how many orders have come


@asynccontextmanager
async def by_httpx(url: str) -> AsyncIterator[Call]:
    """Call by httpx, the client of the other chapters."""
    async with httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=LANES)) as client:

        async def call() -> int:
            return len((await client.get(f"{url}/orders/o-1")).json()["items"]) // 5

        yield call


@asynccontextmanager
async def by_aiohttp(url: str) -> AsyncIterator[Call]:
    """Call the same service by aiohttp, whose parser of HTTP is written in C."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=LANES)) as client:

        async def call() -> int:
            async with client.get(f"{url}/orders/o-1") as answer:
                return len((await answer.json())["items"]) // 5

        yield call


@asynccontextmanager
async def by_grpc(target: str) -> AsyncIterator[Call]:
    """Call by the stub that was generated; all lanes share one connection."""
    async with grpc.aio.insecure_channel(target, options=NO_PROXY) as channel:
        stub, request = compare.services.PartsServiceStub(channel), compare.messages.GetOrderRequest(order_id="o-1")

        async def call() -> int:
            return len((await stub.GetOrder(request)).order.items) // 5

        yield call


@asynccontextmanager
async def by_stream(target: str) -> AsyncIterator[Call]:
    """Have many orders sent in one call."""
    async with grpc.aio.insecure_channel(target, options=NO_PROXY) as channel:
        stub, request = compare.services.PartsServiceStub(channel), compare.messages.ListOrdersRequest(count=STREAMED)

        async def call() -> int:
            return sum([len(answer.order.items) // 5 async for answer in stub.ListOrders(request)])

        yield call


WAYS = {"JSON, httpx": by_httpx, "JSON, aiohttp": by_aiohttp, "gRPC": by_grpc, "gRPC, one stream": by_stream}
