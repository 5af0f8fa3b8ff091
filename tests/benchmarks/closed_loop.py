"""A load that is cheaper to make than to answer: a few connections, each of which asks again once it is answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Load:
    """What one stretch of load came to."""

    per_second: float
    p99_ms: float


class Asking(asyncio.Protocol):
    """One connection that sends the same request again and again, and times each answer. It reads no more than it must:

    a client library would need more time for an answer than the server does, and hide what there is to be measured.
    """

    def __init__(self, request: bytes, until: float) -> None:
        self.seconds: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._until = request, until
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]):
            return
        now = time.perf_counter()
        self.seconds.append(now - self._asked)
        if not head.startswith(b"HTTP/1.1 200 "):
            self._end(AssertionError(head.decode()))
        elif now < self._until:
            self._ask()
        else:
            self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("the server hung up"))

    def _ask(self) -> None:
        self._received, self._asked = b"", time.perf_counter()
        self._transport.write(self._request)

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error) if error else self.done.set_result(None)
            self._transport.close()


def load(address: str, connections: int, seconds: float) -> Load:
    """Get an address for some seconds over so many connections at once.

    Raises:
        AssertionError: an answer was no 200.
        ConnectionError: the server hung up.
        TimeoutError: an answer did not come within 10 s.
    """
    return asyncio.run(_load(address, connections, seconds))


async def _load(address: str, connections: int, seconds: float) -> Load:
    parts = urlsplit(address)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: */*\r\n\r\n".encode()
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    pairs = [
        await loop.create_connection(lambda: Asking(request, began + seconds), parts.hostname, parts.port)
        for _ in range(connections)
    ]
    asking = [protocol for _, protocol in pairs]
    async with asyncio.timeout(seconds + ANSWER_SECONDS):
        await asyncio.gather(*(each.done for each in asking))
    took = time.perf_counter() - began
    times = sorted(second for each in asking for second in each.seconds)
    return Load(len(times) / took, times[int(len(times) * 0.99)] * 1000)
