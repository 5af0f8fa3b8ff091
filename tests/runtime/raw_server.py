"""A server of raw bytes in a thread, which keeps a ledger: for tests of what stands before a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

Call = tuple[str, str, dict[str, str], bytes]  # method, target, headers in lower case, body
Answer = Callable[[str, str, dict[str, str], bytes], bytes]


@dataclass
class RawServer:
    """A server of raw bytes in a thread: what it received, and what it answers."""

    answer: Answer
    keep_alive: bool = True
    calls: list[Call] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = ""
        self.start()

    def start(self) -> None:
        """Listen, on the port of before when there was one."""
        port = int(self.url.rpartition(":")[2] or 0)
        serve = asyncio.start_server(self._talk, "127.0.0.1", port)
        self._server = asyncio.run_coroutine_threadsafe(serve, self._loop).result(5)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Refuse connections from now on."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)

    def end(self) -> None:
        """Stop and give the thread back."""
        self.stop()
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()

    async def _cancel(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # so that the transports close

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while answer := self.answer(*await self._next_call(reader)):
                writer.write(answer)
                await writer.drain()
                if not self.keep_alive:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _next_call(self, reader: asyncio.StreamReader) -> Call:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path == "/health/ready":
            return method, path, headers, body
        self.calls.append((method, path, headers, body))
        return self.calls[-1]


def ok(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Answer 200 with the body that came."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def nothing(method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """Close the connection without an answer, once the request is in."""
    return b""
