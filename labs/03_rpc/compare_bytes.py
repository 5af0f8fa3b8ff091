"""How long an order is, in either format and on the wire with all that travels beside it; and what encoding costs."""

import asyncio
import json
import timeit
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import compare
from compare_clients import Call

CALLS = 50
ROUNDS, REPEATS = 2000, 5


def bodies() -> dict[str, int]:
    """Return the bytes of one order by format."""
    return {"JSON": len(as_json()), "protobuf": len(as_protobuf())}


def as_json() -> bytes:
    """Write the order as FastAPI does."""
    return compare.Order(order_id="o-1", **compare.FACTS).model_dump_json().encode()


def as_protobuf() -> bytes:
    """Write the order as the servicer does."""
    return compare.messages.Order(order_id="o-1", **compare.FACTS).SerializeToString()


def codecs() -> dict[str, dict[str, float]]:
    """Return the microseconds that making and writing an order takes, and reading it, by format."""
    text, data = as_json(), as_protobuf()
    work = {
        "JSON": {"write": as_json, "read": lambda: json.loads(text)},
        "protobuf": {"write": as_protobuf, "read": lambda: compare.messages.Order.FromString(data)},
    }
    return {name: {verb: microseconds(one) for verb, one in each.items()} for name, each in work.items()}


def microseconds(work: Callable[[], object]) -> float:
    """Return what one run takes, in the best of some rounds."""
    return min(timeit.repeat(work, number=ROUNDS, repeat=REPEATS)) / ROUNDS * 1e6


async def on_the_wire(way: Callable[[str], AbstractAsyncContextManager[Call]], address: str) -> float:
    """Return the bytes that travel for one order, both directions together, once the connection is open."""
    host, port = address.removeprefix("http://").split(":")
    count = 0

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while part := await reader.read(65536):
            count += len(part)
            writer.write(part)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond = await asyncio.open_connection(host, int(port))
        await asyncio.gather(carry(reader, beyond[1]), carry(beyond[0], writer), return_exceptions=True)

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        between = address.removesuffix(port) + str(server.sockets[0].getsockname()[1])
        async with way(between) as call:
            await call()
            before = count
            orders = sum([await call() for _ in range(CALLS)])
            return (count - before) / orders
