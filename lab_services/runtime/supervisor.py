"""The process that owns the services of one lab. It obeys JSON lines on its standard input and answers on its output.

The end of the input is the end of the lease: the learner's kernel is gone, so everything stops. The same happens when
the parent changes (somebody kept the pipe open) and on SIGTERM (`course down`). It lives in a session of its own and
ignores SIGINT, so "Interrupt Kernel" does not reach the city.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

from lab_services.runtime.orders import Orders
from lab_services.runtime.processes import LauncherClient
from lab_services.runtime.registry import Entry

PARENT_POLL_SECONDS = 0.5
LAUNCHER_STOP_SECONDS = 3.0
LONGEST_ORDER_BYTES = 16_000_000


def supervise(
    settings: dict[str, Any],
    parent: int,
    env: dict[str, str],
    channel: socket.socket,
    launcher: subprocess.Popen[bytes],
) -> None:
    """Obey until the lease ends, then stop everything and wait for the launcher's end."""
    entry = Entry.of_this_process(settings["lab"], settings["registry"], os.environ["COURSE_RUN"])
    entry.write()
    asyncio.run(Supervisor(parent, env, LauncherClient(channel, launcher.pid)).obey())
    channel.close()
    with suppress(subprocess.TimeoutExpired):
        launcher.wait(LAUNCHER_STOP_SECONDS)
    entry.kill_the_rest()
    entry.remove()


class Supervisor:
    """Reads orders and answers each when it is done; a slow order does not hold up the next."""

    def __init__(self, parent: int, env: dict[str, str], launcher: LauncherClient) -> None:
        self._parent = parent
        self._launcher = launcher
        self._orders = Orders(launcher, env)
        self._answering: set[asyncio.Task[None]] = set()

    async def obey(self) -> None:
        """Serve until the lease ends, then stop the services."""
        self._done = asyncio.Event()
        self._launcher.attach()
        self._launcher.on_lost = self._done.set
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._done.set)
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch_parent())]
        await self._done.wait()
        for task in [*tasks, *self._answering]:
            task.cancel()
        await self._orders.close()

    async def _read(self) -> None:
        reader = asyncio.StreamReader(limit=LONGEST_ORDER_BYTES)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            task = asyncio.create_task(self._answer(json.loads(line)))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        self._done.set()

    async def _answer(self, order: dict[str, Any]) -> None:
        answer = await self._orders.carry_out(order)
        line = json.dumps({"id": order["id"], **answer}).encode() + b"\n"
        try:
            while line:
                line = line[os.write(1, line) :]
        except OSError:
            self._done.set()

    async def _watch_parent(self) -> None:
        while os.getppid() == self._parent:
            await asyncio.sleep(PARENT_POLL_SECONDS)
        self._done.set()
