"""One Python service in a process of its own: import the app, serve it, hand over when a newer version is ready.

The process gets two things from its parent: the listening socket of its address, and a control channel to the
supervisor. On the channel it says `serving` once the app has started up, or `broken` with the learner's file and line.

Handing over (rolling restart without a lost request): the old process stops accepting, finishes each answer it
owes, and sends its idle keep-alive connections as descriptors to the supervisor, which gives them to the new process.
A client keeps its connection and does not notice. Closing them instead would race with a request on its way
(RFC 9112 section 9.5: a client cannot tell whether a request on a closing connection was processed).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lab_services.runtime import wire
from lab_services.runtime.control import DRAIN_SECONDS, HANDOVER_SECONDS, report_broken
from lab_services.runtime.held_questions import HELD_SECONDS, holds_questions, let_go
from lab_services.runtime.instrumenting import ended, instrumented, leaving, log_config, serving, watched
from lab_services.runtime.loading import load, used_files

HANDOVER_POLL_SECONDS = 0.005


class MovableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, which also knows whether a request is on its way in."""

    receiving = False

    def on_message_begin(self) -> None:
        """Note the first byte of a request."""
        self.receiving = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note the last byte of a request."""
        self.receiving = False
        super().on_message_complete()

    def idle(self) -> bool:
        """Say whether nothing is owed on this connection: no request half in, no answer half out."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.receiving and not self.pipeline and not self.transport.get_write_buffer_size()


class ReplaceableServer(uvicorn.Server):
    """A uvicorn server that reports over the control channel and can be replaced while it serves."""

    def __init__(self, config: uvicorn.Config, control: socket.socket) -> None:
        super().__init__(config)
        self._control = control
        self._reader = wire.Reader(control)
        self._wake = asyncio.Event()
        self._leaving = asyncio.Event()
        self._handover: asyncio.Task[None] | None = None
        self._adopting: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start up, then say which files of the folder the app lives on; the app's state says when to leave."""
        self.lifespan.state["leaving"] = self._leaving
        await super().startup(sockets)
        self._control.setblocking(False)
        asyncio.get_running_loop().add_reader(self._control, self._on_message)
        serving()
        wire.send(self._control, {"event": "serving", "files": used_files(os.getcwd())})

    async def main_loop(self) -> None:
        """Tick like uvicorn, but leave at once when told to (uvicorn looks every 100 ms)."""
        counter = 0
        while not await self.on_tick(counter):
            counter = (counter + 1) % 864000
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0.1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is owed; a control plane lets go of the questions that it holds."""
        if holds_questions():
            let_go(self.server_state.connections, self.server_state.tasks)
        await super().shutdown(sockets)
        ended()  # here, because uvicorn raises its SIGTERM once more behind this, and that is the end of the process

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Wake the main loop on SIGTERM and SIGINT."""
        super().handle_exit(sig, frame)
        self._leaving.set()
        self._wake.set()

    def _on_message(self) -> None:
        for message, fds in self._reader.read():
            if message["do"] == "adopt":
                self._adopt(fds[0])
            elif message["do"] == "handover" and self._handover is None:
                self._handover = asyncio.get_running_loop().create_task(self._hand_over())
        if self._reader.closed:
            asyncio.get_running_loop().remove_reader(self._control)

    def _adopt(self, fd: int) -> None:
        connection = socket.socket(fileno=fd)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        adopting = loop.create_task(loop.connect_accepted_socket(self._protocol, connection))
        self._adopting.add(adopting)
        adopting.add_done_callback(self._adopting.discard)

    def _protocol(self) -> MovableProtocol:
        return MovableProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _hand_over(self) -> None:
        leaving()
        self._leaving.set()
        for server in self.servers:
            server.close()
        wire.send(self._control, {"event": "closed"})
        end = asyncio.get_running_loop().time() + (HELD_SECONDS if holds_questions() else HANDOVER_SECONDS)
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(HANDOVER_POLL_SECONDS)  # first, because what was just accepted is not counted yet
            for connection in list(self.server_state.connections):
                if isinstance(connection, MovableProtocol) and connection.idle():
                    self._move(connection)
            if not self.server_state.connections and not self._adopting:
                break
        self.should_exit = True
        self._wake.set()

    def _move(self, connection: MovableProtocol) -> None:
        endpoint = connection.transport.get_extra_info("socket")
        connection.transport.pause_reading()
        wire.send(self._control, {"event": "connection"}, [endpoint.fileno()])
        connection.transport.abort()  # closes this process's descriptor only: the other process holds its own


def serve(app: str, listener: socket.socket, control: socket.socket) -> int:
    """Serve `module:attribute` from the working directory until told to stop; return the exit status.

    Broken code is reported on the control channel as the four parts of a LabError, and ends with status 3.
    """

    def load_and_run() -> None:
        config = uvicorn.Config(
            watched(load(app)),
            log_config=log_config(),
            http=MovableProtocol,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # uvicorn would believe any X-Forwarded-For from loopback, where all our callers are
            timeout_graceful_shutdown=int(DRAIN_SECONDS),
        )
        ReplaceableServer(config, control).run(sockets=[listener])

    with instrumented(app):
        return report_broken(control, load_and_run)


def call(target: str, sockets: list[socket.socket]) -> int:
    """Run `module:function(sockets)`, for the parts of the runtime that are no ASGI apps (the fault proxy)."""
    module_name, _, attribute = target.partition(":")
    getattr(importlib.import_module(module_name), attribute)(sockets)
    return 0


def run(order: dict[str, Any], sockets: list[socket.socket]) -> int:
    """Carry out one order of the launcher: `{"app": ...}` or `{"call": ...}`; the control channel comes first."""
    if "call" in order:
        return call(order["call"], sockets)
    control, listener = sockets[:2]
    return serve(order["app"], listener, control)


def main() -> None:
    """Entry of the cold way: `python -m lab_services.runtime.serve ORDER`, descriptors from 3 upwards."""
    order = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run(order, [socket.socket(fileno=3 + n) for n in range(order["sockets"])]))


if __name__ == "__main__":
    main()
