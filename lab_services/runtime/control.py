"""The service's end of its control channel: it says `serving` or `broken` there, and is told when to leave.

HTTP, gRPC and TCP services differ in how they serve and drain, and speak to the supervisor in the same words.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from lab_services.errors import LabError
from lab_services.runtime import wire
from lab_services.runtime.instrumenting import leaving, serving
from lab_services.runtime.loading import used_files

DRAIN_SECONDS = 2.0  # on SIGTERM: what is not finished by then is cancelled
HANDOVER_SECONDS = 5.0  # a replaced process has longer: nobody waits for it
BROKEN_EXIT = 3


class Control:
    """The channel of a service that leaves on SIGTERM, or when a newer process has taken over."""

    def __init__(self, channel: socket.socket) -> None:
        self.leave: asyncio.Future[float] = asyncio.get_running_loop().create_future()  # its grace in seconds
        self._channel = channel
        self._reader = wire.Reader(channel)

    def serving(self) -> None:
        """Say that the service serves, and which files of its folder it lives on; listen from now on."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._go, DRAIN_SECONDS)
        self._channel.setblocking(False)
        serving()
        loop.add_reader(self._channel, self._on_message)
        wire.send(self._channel, {"event": "serving", "files": used_files(os.getcwd())})

    def closed(self) -> None:
        """Say that this process takes no new caller any more."""
        with suppress(OSError):  # the supervisor has gone: there is nobody to tell
            wire.send(self._channel, {"event": "closed"})

    def _on_message(self) -> None:
        for message, _ in self._reader.read():
            if message["do"] == "handover":
                leaving()
                self._go(HANDOVER_SECONDS)
        if self._reader.closed:
            asyncio.get_running_loop().remove_reader(self._channel)

    def _go(self, grace: float) -> None:
        if not self.leave.done():
            self.leave.set_result(grace)


def report_broken(channel: socket.socket, serve: Callable[[], object]) -> int:
    """Serve, and return the exit status: a LabError is reported on the channel and in the log, and ends with 3."""
    try:
        serve()
    except LabError as error:
        wire.send(channel, {"event": "broken", "error": error.as_dict()})
        print(error, flush=True)
        return BROKEN_EXIT
    return 0
