"""One replica of a service: a program on one address; started, replaced, paused, killed, explained when it fails."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab_services.errors import LabError, NotReady, ServiceCrashed
from lab_services.runtime import states
from lab_services.runtime.logs import LogTail
from lab_services.runtime.ports import Port
from lab_services.runtime.processes import LauncherClient, Process
from lab_services.runtime.readiness import http_status, wait_until
from lab_services.runtime.states import ReplicaState

STOP_SECONDS = 3.0  # from SIGTERM to SIGKILL
HANDOVER_SECONDS = 6.0  # a replaced process finishes what it owes; then it is stopped
EVIDENCE_LINES = 8


@dataclass(frozen=True)
class Program:
    """How to start one program: what the launcher needs to know, and how to tell that it is ready.

    `order` holds `app` or `tcp` (an ASGI app, a function for each connection: on an inherited socket), `grpc` (a gRPC
    service, which opens its own socket at `place`), `call` or `argv` (an executable with its own socket).
    `address` returns where a server of its own choosing listens (None while unknown); None means: on the given port.
    `ready` asks an address over the network: True is ready, a text is what it answered instead.
    """

    order: Mapping[str, Any]
    env: Mapping[str, str]
    folder: Path
    ready_seconds: float
    address: Callable[[int], str | None] | None = None
    ready: Callable[[str], Any] | None = None

    @property
    def reports(self) -> bool:
        """True for a Python service: it says over a control channel when it serves, and can hand over."""
        return not self.order.keys().isdisjoint(("app", "grpc", "tcp"))


class Replica:
    """One replica; `process` is the one that serves now."""

    def __init__(
        self, name: str, number: int, port: Port, log: LogTail, launcher: LauncherClient, address: str = ""
    ) -> None:
        self.name = name
        self.number = number
        self.port = port
        self.state = states.STOPPED
        self.note = ""
        self.files: list[str] = []
        self.url = address or port.url
        self.process: Process | None = None
        self.on_change: Callable[[], None] = lambda: None
        self._log = log
        self._launcher = launcher
        self._leaving: set[asyncio.Task[None]] = set()

    def as_state(self) -> ReplicaState:
        """Return the fact for a view."""
        pid = self.process.pid if self.process and self.process.alive else 0
        return ReplicaState(self.number, self.state, self.url, pid)

    async def start(self, program: Program) -> None:
        """Start the program and return when it answers as ready.

        Raises:
            BrokenCode, ServiceCrashed, NotReady: with the last log lines; the replica is then not serving.
        """
        await self.stop(states.STOPPED)
        self._set(states.STARTING)
        self.process = process = await self._launch(program)
        try:
            await self._until_serving(process, program)
            await self._until_ready(process, program)
        except LabError as error:
            await self._give_up(process, error)
            raise
        self._set(states.READY)

    async def replace(self, program: Program) -> None:
        """Start the program anew beside the running process, then let the old one hand over: no request is lost.

        When the new version fails to come up, the old one goes on serving and the error is raised.
        """
        old = self.process
        if old is None or not old.alive or self.state != states.READY or not program.reports:
            return await self.start(program)
        new = await self._launch(program)
        try:
            await self._until_serving(new, program)
        except LabError:
            await new.end(0)
            raise
        self.process = new
        await self.succeed(old, new)
        try:
            await self._until_ready(new, program)
        except LabError as error:
            await self._give_up(new, error)
            raise

    async def succeed(self, old: Process, new: Process) -> None:
        """Let `old` hand its connections to `new` and leave."""
        old.hand_over(new)
        await asyncio.wait_for(old.closed.wait(), HANDOVER_SECONDS)
        leaving = asyncio.get_running_loop().create_task(_leave(old))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def stop(self, state: str) -> None:
        """Stop the process (SIGKILL at once when `state` is killed) and refuse connections from then on."""
        process, self.process = self.process, None
        if process is not None and process.alive:
            self._set(state)
            await process.end(0 if state == states.KILLED else STOP_SECONDS)
        self.port.refuse()
        self._set(state)

    def pause(self) -> None:
        """Freeze the process with everything it started (SIGSTOP)."""
        self._freeze(signal.SIGSTOP, states.PAUSED)

    def resume(self) -> None:
        """Let the process go on (SIGCONT)."""
        self._freeze(signal.SIGCONT, states.READY)

    def _freeze(self, number: int, state: str) -> None:
        if self.process is not None and self.process.alive and self.state in (states.READY, states.PAUSED):
            self.process.signal(number)
            self._set(state)

    async def _launch(self, program: Program) -> Process:
        log, ours, theirs = self._log.pipe(), None, None
        fds = [log]
        if program.reports:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            fds.append(theirs.fileno())
        if program.reports and "grpc" not in program.order:
            fds.append(self.port.listen().fileno())
        order = {**program.order, "env": dict(program.env), "folder": str(program.folder)}
        try:
            process = await self._launcher.start(order, fds, ours)
        finally:
            os.close(log)
            if theirs is not None:
                theirs.close()
        process.ended.add_done_callback(lambda _: self._ended(process))
        return process

    def _ended(self, process: Process) -> None:
        if process is self.process and self.state not in (states.STARTING, states.STOPPED, states.KILLED):
            self.port.refuse()
            self._set(states.CRASHED, f"{ending(process)} {self._last_words()}".strip())

    async def _until_serving(self, process: Process, program: Program) -> None:
        if not program.reports:
            return
        waits: set[asyncio.Future[Any]] = {process.serving, process.ended}
        await asyncio.wait(waits, timeout=program.ready_seconds, return_when=asyncio.FIRST_COMPLETED)
        if process.serving.done():
            self.files = process.serving.result()
        else:
            raise self._explain(process, program, "it did not finish starting up")

    async def _until_ready(self, process: Process, program: Program) -> None:
        answers = [""]

        async def probe() -> bool:
            if program.address is not None:
                found = program.address(process.pid)
                if found is None:
                    return False
                self.url = found
            answer = await (program.ready or health_ready)(self.url)
            answers.append(answer if isinstance(answer, str) else "")
            return answer is True

        failed = await wait_until(probe, program.ready_seconds, lambda: None if process.alive else ending(process))
        if failed:
            raise self._explain(process, program, answers[-1] or failed)

    async def _give_up(self, process: Process, error: LabError) -> None:
        if process.alive and isinstance(error, NotReady) and not process.serving.done():
            await process.end(0)
        if process.alive:
            self._set(states.UNREADY, error.what)
        else:
            self.port.refuse()
            self._set(states.CRASHED, error.what)

    def _explain(self, process: Process, program: Program, reason: str) -> LabError:
        evidence = "\n".join([*self._log.last(EVIDENCE_LINES), f"whole log: {self._log.path}"])
        if process.broken is not None:
            return process.broken
        if not process.alive:
            return ServiceCrashed(
                f"{self.name} crashed while starting: {ending(process)}",
                where=self.name,
                evidence=evidence,
                next_step=f'read lab.logs("{self.name}"), mend the cause, then lab.restart("{self.name}")',
            )
        asked = "health.set(...)" if "grpc" in program.order else "/health/ready"
        return NotReady(
            f"{self.name} runs but was not ready within {program.ready_seconds:g} s: {reason}",
            where=self.name,
            evidence=evidence,
            next_step=f'look for what it waits for at start and in {asked}, then lab.restart("{self.name}")',
        )

    def _last_words(self) -> str:
        lines = [line for line in self._log.last(EVIDENCE_LINES) if line.strip()]
        return f"Last line: {lines[-1][:200]}" if lines else ""

    def _set(self, state: str, note: str = "") -> None:
        self.state, self.note = state, note
        self.on_change()


async def health_ready(url: str, at: str = "") -> bool | str:
    """Ask /health/ready, at `at` in place of the host and port of `url` (see http_status)."""
    status = await http_status(url + "/health/ready", at=at)
    if status is None:
        return False
    return 200 <= status < 300 or f"GET /health/ready answered {status}"


async def _leave(process: Process) -> None:
    await asyncio.wait({process.ended}, timeout=HANDOVER_SECONDS)
    await process.end(STOP_SECONDS)


def ending(process: Process) -> str:
    """Say in words how a process ended."""
    status = process.ended.result() if process.ended.done() else 0
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}."
    return f"it ended by itself with exit code {status}."
