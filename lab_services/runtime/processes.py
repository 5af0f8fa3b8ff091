"""The supervisor's side of the launcher: start a process, learn its pid, hear of its end."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from lab_services.errors import LabError, RuntimeLost
from lab_services.runtime import wire

WARM_SECONDS = 30.0
START_SECONDS = 10.0
KILL_SECONDS = 10.0


def launch_mode() -> str:
    """Say how Python services start here: "warm" (forked) or "cold" (a fresh interpreter each).

    Forking a process that has touched Apple's frameworks can abort the child, so macOS starts cold unless
    COURSE_LAUNCH=warm asks for the fast way. The behaviour is the same, only slower.
    """
    wanted = os.environ.get("COURSE_LAUNCH")
    if wanted in ("warm", "cold"):
        return wanted
    return "cold" if sys.platform == "darwin" else "warm"


class Process:
    """One started process: `ended` holds its exit status, negative for a signal, once it has ended."""

    def __init__(self, pid: int, launcher: LauncherClient, control: socket.socket | None) -> None:
        self.pid = pid
        self.control = control
        self.serving: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self.heir: Process | None = None
        self.broken: LabError | None = None
        self._launcher = launcher
        if control is not None:
            self._reader = wire.Reader(control)
            asyncio.get_running_loop().add_reader(control, self._on_control)

    @property
    def alive(self) -> bool:
        """True until the launcher has reaped it."""
        return not self.ended.done()

    def signal(self, number: int) -> None:
        """Send a signal; SIGKILL, SIGSTOP and SIGCONT reach its whole process group."""
        with suppress(OSError):  # the launcher has gone, and its children with it
            self._launcher.order({"do": "signal", "pid": self.pid, "signal": int(number)})

    def hand_over(self, heir: Process) -> None:
        """Ask the process to stop accepting and to pass its connections on to `heir`."""
        self.heir = heir
        self._tell({"do": "handover"})

    async def end(self, grace: float) -> None:
        """Stop the process: SIGTERM, and SIGKILL after `grace` seconds; with no grace SIGKILL alone, as in a crash.

        A SIGTERM right before it would be a goodbye: now and then a broker hands its leadership over in between.

        Raises:
            RuntimeLost: it was killed and its end was not heard of within 10 s.
        """
        gently = ((signal.SIGCONT, 0.0), (signal.SIGTERM, grace)) if grace > 0 else ()
        for number, seconds in (*gently, (signal.SIGKILL, KILL_SECONDS)):
            if self.alive:
                self.signal(number)
                await asyncio.wait({self.ended}, timeout=seconds)
        if self.alive:
            raise self._launcher.lost(f"pid {self.pid} was killed, and its end was never reported")

    def _tell(self, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        if self.control is None:
            return False
        try:
            wire.send(self.control, message, fds)
        except OSError:
            return False
        return True

    def _on_control(self) -> None:
        assert self.control is not None
        for message, fds in self._reader.read():
            self._on_message(message, fds)
        if self._reader.closed:
            asyncio.get_running_loop().remove_reader(self.control)
            self.control.close()
            self.control = None

    def _on_message(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["event"] == "serving" and not self.serving.done():
            self.serving.set_result(message["files"])
        elif message["event"] == "broken":
            self.broken = LabError.from_dict(message["error"])
        elif message["event"] == "closed":
            self.closed.set()
        elif message["event"] == "connection" and (heir := self._newest_heir()) is not None:
            heir._tell({"do": "adopt"}, fds)
        for fd in fds:
            os.close(fd)

    def _newest_heir(self) -> Process | None:
        """Return who serves now: an heir may have been replaced while this process still owed an answer."""
        heir = self.heir
        while heir is not None and heir.heir is not None:
            heir = heir.heir
        return heir

    def has_ended(self, status: int) -> None:
        """Note the end; called once, by the launcher's client."""
        if self.control is not None:
            self._on_control()  # its last words, a `broken` above all
        if not self.ended.done():
            self.ended.set_result(status)
        self.closed.set()


class LauncherClient:
    """Sends the launcher orders as soon as it is warm, and hears of every process that ends."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self.pid = pid
        self.on_lost: Callable[[], None] = lambda: None

    def attach(self) -> None:
        """Join the running event loop; to be called once, before the first order."""
        loop = asyncio.get_running_loop()
        self._reader = wire.Reader(self._channel)
        self._warm: asyncio.Future[None] = loop.create_future()
        self._started: dict[int, asyncio.Future[int]] = {}
        self._tokens = itertools.count(1)
        self._processes: dict[int, Process] = {}
        self._early: dict[int, int] = {}
        loop.add_reader(self._channel, self._on_message)

    async def start(self, order: dict[str, Any], fds: Sequence[int], control: socket.socket | None) -> Process:
        """Start one process; `fds` are its log, its control channel and its listening sockets, in this order.

        Raises:
            RuntimeLost: the launcher did not answer.
        """
        try:
            await asyncio.wait_for(asyncio.shield(self._warm), WARM_SECONDS)
            token = next(self._tokens)
            answer = self._started[token] = asyncio.get_running_loop().create_future()
            self.order({"do": "start", "token": token, **order}, fds)
            pid = await asyncio.wait_for(answer, START_SECONDS)
        except (TimeoutError, OSError) as error:
            raise self.lost(repr(error)) from error
        process = self._processes[pid] = Process(pid, self, control)
        if pid in self._early:
            self._forget(pid, self._early.pop(pid))
        return process

    def order(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one order, without waiting for an answer."""
        wire.send(self._channel, message, fds)

    def lost(self, evidence: str) -> RuntimeLost:
        """Return the error to raise when the launcher does not answer."""
        return RuntimeLost(
            "the process that starts the services does not answer",
            where=f"launcher, pid {self.pid}",
            evidence=evidence,
            next_step="lab.stop() and then lab.start(); if it happens again: course doctor",
        )

    def _on_message(self) -> None:
        for message, _ in self._reader.read():
            if message["event"] == "warm" and not self._warm.done():
                self._warm.set_result(None)
            elif message["event"] == "started":
                self._started.pop(message["token"]).set_result(message["pid"])
            elif message["event"] == "exit":
                self._forget(message["pid"], message["status"])
        if self._reader.closed:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._everything_lost()

    def _forget(self, pid: int, status: int) -> None:
        process = self._processes.pop(pid, None)
        if process is None:
            self._early[pid] = status  # it ended before `start` had seen its pid
        else:
            process.has_ended(status)

    def _everything_lost(self) -> None:
        unanswered: list[asyncio.Future[Any]] = [self._warm, *self._started.values()]
        for waiting in unanswered:
            if not waiting.done():
                waiting.set_exception(ConnectionError("the launcher has ended"))
        for pid in list(self._processes):
            self._forget(pid, -signal.SIGKILL)
        self.on_lost()
