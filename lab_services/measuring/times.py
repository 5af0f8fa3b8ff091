"""The program that measures what `measured` returns. The ways take turns: what else the machine does meets all of them.

`python -m lab_services.measuring.times` reads {"rounds": 6, "ways": [...]} and prints a list of WayCosts, as JSON.
It asks by a few lines on the socket: a client library would need more time for an answer than what is measured, and
hide it. Every connection has had its first answer before its calls count, so it is warm, and so are those behind it:
what a handshake costs is not measured here.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from time import perf_counter
from typing import Any

import psutil

from .facts import Round, WayCosts
from .ways import Way

ANSWER_SECONDS = 20.0
ALONE_CALLS, WAITING_CALLS = 100, 5  # of each way in each round, on one connection
CONNECTIONS, TOGETHER_SECONDS = 8, 0.15


class Refused(Exception):
    """A call had another answer than 200."""


class Connection(asyncio.Protocol):
    """One connection, on which each call waits for the answer to the one before."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._received = b""
        self._done: asyncio.Future[None] | None = None

    async def call(self, request: bytes, calls: int, until: float = 0.0) -> None:
        """Make so many calls and note how long each one took; with `until`, as many more as fit before that moment."""
        self._request, self._left, self._until = request, calls, until
        self._done = asyncio.get_running_loop().create_future()
        self._ask()
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        now = perf_counter()
        self.milliseconds.append(1000 * (now - self._asked))
        self._left -= 1
        if not head.startswith(b"HTTP/1.1 200 "):
            self._end(Refused(self._received.decode(errors="replace")))
        elif self._left > 0 or now < self._until:
            self._ask()
        else:
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("the connection was closed before the answer"))

    def _ask(self) -> None:
        self._received, self._asked = b"", perf_counter()
        self.transport.write(self._request)

    def _end(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error) if error else self._done.set_result(None)


def _length(head: bytes) -> int:
    """Return the length of the body, as the head says; an answer in chunks is none that this program can read."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise Refused(head.decode(errors="replace"))


def request(way: Way, target: str) -> bytes:
    """Return the bytes of one call."""
    return f"GET {target} HTTP/1.1\r\nHost: {way.host}\r\nAccept: */*\r\n\r\n".encode()


async def connected(way: Way, count: int) -> list[Connection]:
    """Return connections that have had their first answer."""
    loop = asyncio.get_running_loop()
    found = [(await loop.create_connection(Connection, "127.0.0.1", way.port))[1] for _ in range(count)]
    await asyncio.gather(*(each.call(request(way, way.quick), 1) for each in found))
    for each in found:
        each.milliseconds.clear()
    return found


async def in_turn(targets: Sequence[tuple[Way, str]], calls: int) -> list[list[float]]:
    """Return how many milliseconds each call of each way has taken: a call of each, then the next of each."""
    connections = [(await connected(way, 1))[0] for way, _ in targets]
    for _ in range(calls):
        for (way, target), connection in zip(targets, connections, strict=True):
            await connection.call(request(way, target), 1)
    for connection in connections:
        connection.transport.close()
    return [connection.milliseconds for connection in connections]


async def together(way: Way) -> Round:
    """Call for a part of a second on several connections at once."""
    connections = await connected(way, CONNECTIONS)
    app, beside, began = busy([way.app]), busy(way.beside), perf_counter()
    end = began + TOGETHER_SECONDS
    await asyncio.gather(*(each.call(request(way, way.quick), 1, end) for each in connections))
    seconds = perf_counter() - began
    spent = busy([way.app]) - app, busy(way.beside) - beside
    for each in connections:
        each.transport.close()
    return Round(sum(len(each.milliseconds) for each in connections), seconds, *spent)


def busy(pids: Sequence[int]) -> float:
    """Return the seconds of processor time that processes have used."""
    return sum(times.user + times.system for times in (psutil.Process(pid).cpu_times() for pid in pids))


class Found:
    """What was found of one way so far."""

    def __init__(self) -> None:
        self.alone: list[float] = []
        self.waiting: list[float] = []
        self.rounds: list[Round] = []

    def facts(self, way: Way) -> WayCosts:
        """Return it, with the memory that the processes hold now, after their work."""
        times = tuple(sorted(self.alone)), tuple(sorted(self.waiting))
        memory = private_megabytes([way.app]), private_megabytes(way.beside)
        return WayCosts(way.name, len(way.beside), *memory, *times, tuple(self.rounds))


async def measure(ways: Sequence[Way], rounds: int) -> list[WayCosts]:
    """Measure all ways, every other round in the opposite order; before the first one the ways are warmed up."""
    found = {way.name: Found() for way in ways}
    for way in ways:
        await together(way)
    for number in range(rounds):
        order = ways[::-1] if number % 2 else ways
        waits = [way for way in order if way.waiting]
        alone = await in_turn([(way, way.quick) for way in order], ALONE_CALLS)
        waiting = await in_turn([(way, way.waiting) for way in waits], WAITING_CALLS)
        for way, milliseconds in zip(order, alone, strict=True):
            found[way.name].alone += milliseconds
            found[way.name].rounds.append(await together(way))
        for way, milliseconds in zip(waits, waiting, strict=True):
            found[way.name].waiting += milliseconds
    return [found[way.name].facts(way) for way in ways]


def private_megabytes(pids: Sequence[int]) -> float:
    """Return the memory that would be free without these processes: what several of them share counts for none."""
    return sum(psutil.Process(pid).memory_full_info().uss for pid in pids) / 1e6


def main(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure what is asked for, without pauses for garbage."""
    gc.disable()
    ways = [Way(**{**way, "beside": tuple(way["beside"])}) for way in asked["ways"]]
    return [asdict(found) for found in asyncio.run(measure(ways, asked["rounds"]))]


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
