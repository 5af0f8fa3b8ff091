"""Readiness is asked over the network; whatever is wrong on the other side is "not yet", never an exception."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from lab_services.runtime import readiness

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answer: bytes, *, stay: bool = False) -> AsyncIterator[int]:
    """Serve `answer` to whoever connects, then close, or stay silent with the connection open."""
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if stay:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()


def free_port() -> int:
    """Return a port on which nobody listens (bound once, closed again)."""
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return int(once.getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "status", "ready"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, True),
        (b"HTTP/1.0 204 No Content\r\n\r\n", 204, True),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 503, False),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 404, False),
        (b"INFO {}\r\n", None, False),
        (b"", None, False),
        (b"x" * 200_000, None, False),
    ],
)
def test_http_is_ready_only_with_a_2xx_status(answer: bytes, status: int | None, ready: bool) -> None:
    """Only a 2xx answer counts as ready; a 503, another protocol, silence or an endless line do not."""

    async def ask() -> tuple[int | None, bool]:
        async with listening(answer) as port:
            url = f"http://127.0.0.1:{port}/health/ready"
            return await readiness.http_status(url), await readiness.http_ready(url)

    assert asyncio.run(ask()) == (status, ready)


def test_http_asks_for_the_path_and_query_it_was_given() -> None:
    """The request line carries path and query, and the Host is the address asked."""
    seen: list[bytes] = []

    async def ask() -> int:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = int(server.sockets[0].getsockname()[1])
        assert await readiness.http_ready(f"http://127.0.0.1:{port}/ready?x=1")
        server.close()
        return port

    port = asyncio.run(ask())
    assert seen[0].startswith(b"GET /ready?x=1 HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{port}\r\n".encode() in seen[0]


def test_a_silent_server_costs_one_time_limit() -> None:
    """A server that accepts and says nothing is not ready after the limit, for HTTP and for NATS."""

    async def ask() -> tuple[bool, bool, float]:
        async with listening(b"", stay=True) as port:
            began = time.monotonic()
            http = await readiness.http_ready(f"http://127.0.0.1:{port}/", timeout=0.1)
            nats = await readiness.nats_ready(f"nats://127.0.0.1:{port}", timeout=0.1)
            return http, nats, time.monotonic() - began

    http, nats, took = asyncio.run(ask())
    assert (http, nats) == (False, False)
    assert 0.2 <= took < 1.0


def test_nobody_listening_is_not_ready() -> None:
    """A refused connection is an answer, not an error."""

    async def ask() -> list[bool]:
        port = free_port()
        return [
            await readiness.http_ready(f"http://127.0.0.1:{port}/"),
            await readiness.nats_ready(f"nats://127.0.0.1:{port}"),
            await readiness.tcp_open("127.0.0.1", port),
        ]

    assert asyncio.run(ask()) == [False, False, False]


def test_nats_is_ready_when_it_greets_with_info() -> None:
    """NATS speaks first: INFO and a JSON object; an HTTP server at that address is no NATS."""

    async def ask(answer: bytes) -> tuple[bool, bool]:
        async with listening(answer) as port:
            return await readiness.nats_ready(f"nats://127.0.0.1:{port}"), await readiness.tcp_open("127.0.0.1", port)

    assert asyncio.run(ask(b'INFO {"server_id":"N"} \r\n')) == (True, True)
    assert asyncio.run(ask(b"HTTP/1.1 400 Bad Request\r\n\r\n")) == (False, True)


def test_waiting_ends_with_the_first_yes() -> None:
    """The probe is asked until it says yes, and not once more."""
    answers = [False, False, True, True]

    async def probe() -> bool:
        return answers.pop(0)

    assert asyncio.run(readiness.wait_until(probe, 5)) is None
    assert answers == [True]


def test_waiting_ends_at_once_when_the_process_has_ended() -> None:
    """When `stop` gives a reason, no time is spent on a server that cannot come any more."""

    async def probe() -> bool:
        return False

    began = time.monotonic()
    assert asyncio.run(readiness.wait_until(probe, 30, lambda: "it ended with status 3")) == "it ended with status 3"
    assert time.monotonic() - began < 1


def test_waiting_is_bounded_even_when_a_probe_hangs() -> None:
    """A probe that never answers is cut off at the limit, which is named in the sentence."""

    async def probe() -> bool:
        await asyncio.Event().wait()
        return True

    began = time.monotonic()
    assert asyncio.run(readiness.wait_until(probe, 0.2)) == "not ready after 0.2 s"
    assert 0.2 <= time.monotonic() - began < 1
