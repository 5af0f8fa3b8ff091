"""Ask over the network whether a server is ready: never a log line, never a bare connect when more can be asked.

Plain asyncio streams, so that the supervisor can import this without an HTTP library.
Every question has a time limit and every answer is a plain value: a refused connection is "not yet", no exception.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

PROBE_SECONDS = 1.0  # one question
PAUSE_SECONDS = 0.01  # between two questions at first ...
PAUSE_MAX_SECONDS = 0.1  # ... growing to this, so that a slow server is not kept busy by being asked
LINE_BYTES = 64 * 1024  # NATS sends its INFO in one line of about 500 bytes; anything longer than this is not NATS


async def http_status(url: str, timeout: float = PROBE_SECONDS, *, at: str = "") -> int | None:
    """Send one GET and return the status of the answer, or None when no HTTP answer came in `timeout` seconds.

    `at` is where to connect to, if not at the host and port of `url`: host:port, or unix:/path of a socket file.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    request = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    line = await _first_line(at or f"{parts.hostname or ''}:{parts.port or 80}", request.encode(), timeout)
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return None
    return int(words[1])


async def http_ready(url: str, timeout: float = PROBE_SECONDS) -> bool:
    """Return whether GET `url` answers with a 2xx status within `timeout` seconds."""
    status = await http_status(url, timeout)
    return status is not None and 200 <= status < 300


async def nats_ready(url: str, timeout: float = PROBE_SECONDS) -> bool:
    """Return whether a NATS server greets at `url` (nats://host:port): its first line is INFO and a JSON object."""
    parts = urlsplit(url)
    line = await _first_line(f"{parts.hostname or ''}:{parts.port or 4222}", b"", timeout)
    return line.startswith(b"INFO {") and line.endswith(b"\r\n")


async def tcp_open(host: str, port: int, timeout: float = PROBE_SECONDS) -> bool:
    """Return whether something accepts connections at `host`:`port`; says nothing about who it is."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
    except (TimeoutError, OSError):
        return False
    writer.close()
    return True


async def tcp_accepts(target: str, timeout: float = PROBE_SECONDS) -> bool:
    """Return whether something accepts connections at `host:port`, for a service whose protocol nobody else knows."""
    host, _, port = target.rpartition(":")
    return await tcp_open(host, int(port), timeout)


async def wait_until(
    probe: Callable[[], Awaitable[bool]], seconds: float, stop: Callable[[], str | None] = lambda: None
) -> str | None:
    """Ask `probe` again and again; return None as soon as it says yes, else one sentence on why waiting ended.

    Waiting ends after `seconds`, or as soon as `stop` returns a reason (the process has ended: no use in asking on).
    """
    began = time.monotonic()
    pause = PAUSE_SECONDS
    while (left := began + seconds - time.monotonic()) > 0:
        if reason := stop():
            return reason
        if await _within(probe(), left):
            return None
        await asyncio.sleep(min(pause, max(0.0, began + seconds - time.monotonic())))
        pause = min(pause * 1.5, PAUSE_MAX_SECONDS)
    return stop() or f"not ready after {seconds:g} s"


async def _within(question: Awaitable[bool], seconds: float) -> bool:
    try:
        return await asyncio.wait_for(question, seconds)
    except TimeoutError:
        return False


async def connect(place: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to host:port, or to unix:/path, the socket file of a program beside a sidecar."""
    if place.startswith("unix:"):
        return await asyncio.open_unix_connection(place.removeprefix("unix:"), limit=LINE_BYTES)
    host, _, port = place.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port), limit=LINE_BYTES)


async def _first_line(place: str, request: bytes, timeout: float) -> bytes:
    try:
        return await asyncio.wait_for(_ask(place, request), timeout)
    except (TimeoutError, OSError, ValueError):  # ValueError: a line longer than LINE_BYTES
        return b""


async def _ask(place: str, request: bytes) -> bytes:
    reader, writer = await connect(place)
    try:
        writer.write(request)
        return await reader.readline()
    finally:
        writer.transport.abort()
