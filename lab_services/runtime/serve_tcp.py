"""One service that speaks a protocol of its own over TCP, in a process of its own: one call per connection.

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ...                                    # until the caller has gone; the runtime closes the connection then

Handing over: both processes accept from one listening socket, so no connection is refused. The older one cannot know
what a connection's bytes mean. It lets each reader see its end, as if the caller had said all, so `serve` answers what
it owes and returns; what the caller sends after that is not read. Whatever is not finished in time is cancelled.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, SupportsIndex

from lab_services.errors import BrokenCode
from lab_services.runtime.control import Control, report_broken
from lab_services.runtime.loading import load

FORM = "async def serve(reader, writer): ..."
LINGER_SECONDS = 2.0  # a caller that does not read its last answers is cut off
CANCEL_SECONDS = 0.5  # for what a cancelled connection does in its `finally`
GONE = (ConnectionError, asyncio.IncompleteReadError)  # the caller left, in the middle of a message or not


class EndableReader(asyncio.StreamReader):
    """A reader that can be given its end before the caller has hung up."""

    ended = False

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take what has come; after the end it is thrown away, so that a close does not become a reset."""
        if not self.ended:
            super().feed_data(data)

    def feed_eof(self) -> None:
        """Let whoever reads see the end, behind what has come so far."""
        self.ended = True
        super().feed_eof()


class TcpProcess:
    """Serves until SIGTERM, or until the supervisor says that a newer process has taken over."""

    def __init__(self, serve: Callable[..., Any], listener: socket.socket, channel: socket.socket) -> None:
        self._serve = serve
        self._listener = listener
        self._control = Control(channel)
        self._connections: dict[asyncio.Task[None], EndableReader] = {}

    async def run(self) -> None:
        """Serve from start to drain."""
        server = await asyncio.get_running_loop().create_server(self._protocol, sock=self._listener)
        self._control.serving()
        grace = await self._control.leave
        server.close()
        self._control.closed()
        await self._drain(grace)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = EndableReader()
        return asyncio.StreamReaderProtocol(reader, lambda _, writer: self._begin(reader, writer))

    def _begin(self, reader: EndableReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._connections[task] = reader
        task.add_done_callback(self._connections.pop)
        if self._control.leave.done():  # it was accepted just before the server closed
            reader.feed_eof()

    async def _connection(self, reader: EndableReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except Exception as error:
            if mistake := _mistake(error):
                traceback.print_exception(mistake)
        finally:
            await _hang_up(writer)

    async def _drain(self, grace: float) -> None:
        for reader in self._connections.values():
            reader.feed_eof()
        if self._connections:
            await asyncio.wait(self._connections, timeout=grace)
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CANCEL_SECONDS)


def _mistake(error: Exception) -> Exception | None:
    """Return what is worth a place in the log, also out of the group that a TaskGroup makes; else None."""
    if not isinstance(error, ExceptionGroup):
        return None if isinstance(error, GONE) else error
    rest = error.split(GONE)[1]
    return _mistake(rest.exceptions[0]) if rest and len(rest.exceptions) == 1 else rest


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection when the last answers are out, or after LINGER_SECONDS without them."""
    writer.close()
    try:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await writer.wait_closed()
    finally:
        writer.transport.abort()


def _refuse_other_forms(function: Any, target: str) -> None:
    try:
        inspect.signature(function).bind("reader", "writer")
        if inspect.iscoroutinefunction(function):
            return
        evidence = f"{target} is no coroutine function"
    except TypeError as error:
        evidence = f"{target} cannot be called with a reader and a writer: {error}"
    file = target.partition(":")[0] + ".py"
    raise BrokenCode(
        f"{file} cannot serve a connection", where=file, evidence=evidence, next_step=f"write `{FORM}` and save {file}"
    )


def serve(target: str, listener: socket.socket, channel: socket.socket) -> int:
    """Serve each connection with `module:function` until told to stop; return the exit status.

    Broken code is reported on the control channel as the four parts of a LabError, and ends with status 3.
    """

    async def run(function: Any) -> None:
        await TcpProcess(function, listener, channel).run()

    def load_and_run() -> None:
        function = load(target, FORM)
        _refuse_other_forms(function, target)
        asyncio.run(run(function))

    return report_broken(channel, load_and_run)


def main() -> None:
    """Entry of the cold way: `python -m lab_services.runtime.serve_tcp ORDER`, descriptors from 3 upwards."""
    order = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel, listener = (socket.socket(fileno=3 + number) for number in range(2))
    sys.exit(serve(order["tcp"], listener, channel))


if __name__ == "__main__":
    main()
