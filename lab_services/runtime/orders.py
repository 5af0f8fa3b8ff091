"""What a lab can ask of its supervisor: one method per order, plain JSON in, plain JSON or an error out."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab_services.errors import AlreadyRunning, LabError, MachineError, NotRunning
from lab_services.runtime import states
from lab_services.runtime.edits import Edits
from lab_services.runtime.processes import LauncherClient
from lab_services.runtime.service import Service
from lab_services.runtime.spec_types import ServiceSpec
from lab_services.runtime.system import Run, System


class Orders:
    """Carries out orders on at most one running system."""

    def __init__(self, launcher: LauncherClient, env: dict[str, str]) -> None:
        self._launcher = launcher
        self._env = env
        self._system: System | None = None
        self._edits: Edits | None = None
        self._lock: int | None = None
        self._changing = asyncio.Lock()

    async def carry_out(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order; return {"value": ...} or {"error": the four parts}."""
        action: Callable[..., Awaitable[Any]] = getattr(self, "do_" + order["do"])
        fields = {key: value for key, value in order.items() if key not in ("do", "id")}
        try:
            return {"value": await action(**fields)}
        except LabError as error:
            return {"error": error.as_dict()}
        except OSError as error:
            return {"error": _machine(error).as_dict()}
        except Exception as error:  # a mistake of ours: an order without an answer would keep the notebook waiting
            traceback.print_exc()
            return {"error": _our_mistake(order["do"], error).as_dict()}

    async def do_start(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """Start the system, or what of it does not run."""
        async with self._changing:
            if self._system is None:
                self._prepare(_plan(run))
            await self._here().start()
        return self._states()

    def _prepare(self, plan: Run) -> None:
        taken = lock(plan.scratch)
        try:
            self._system = System(plan, self._launcher, self._env)
        except BaseException:
            os.close(taken)
            raise
        self._lock = taken
        self._edits = Edits(plan.workspace, self._system.services.values)
        self._stop_watching = asyncio.Event()
        self._watching = asyncio.create_task(self._edits.watch(self._stop_watching))

    async def do_stop(self) -> list[dict[str, Any]]:
        """Stop the system; the supervisor and its launcher stay warm."""
        async with self._changing:
            system, self._system = self._system, None
            if system is None:
                return []
            self._stop_watching.set()
            await system.close()
            await asyncio.wait({self._watching}, timeout=1)
            if self._lock is not None:
                os.close(self._lock)
            self._lock = None
            return [state.as_dict() for state in system.states()]

    async def do_running(self) -> bool:
        """Say whether a system is there, whole or in part."""
        return self._system is not None

    async def do_restart(self, name: str) -> None:
        """Replace the service's processes; start it when it is down."""
        service = self._running(name)
        async with self._changing:
            await service.restart()

    async def do_launch(self, name: str) -> None:
        """Start a service that was stopped, killed or left out."""
        service = self._running(name)
        async with self._changing:
            await self._here().start_service(service)

    async def do_kill(self, name: str, replica: int | None) -> None:
        """Kill with SIGKILL: no goodbye, as in a crash."""
        service = self._running(name)
        await service.stop(states.KILLED, replica)
        service.note = "killed by you"

    async def do_pause(self, name: str, replica: int | None) -> None:
        """Freeze: connections are accepted by the kernel and never answered."""
        for chosen in self._running(name).chosen(replica):
            chosen.pause()

    async def do_resume(self, name: str, replica: int | None) -> None:
        """Let a frozen service go on."""
        for chosen in self._running(name).chosen(replica):
            chosen.resume()

    async def do_reload(self, name: str) -> None:
        """Let a server read its configuration again."""
        self._here().reload(name)

    async def do_scale(self, name: str, count: int) -> None:
        """Change the number of replicas."""
        service = self._running(name)
        async with self._changing:
            await self._here().scale(service, count)

    async def do_status(self) -> list[dict[str, Any]]:
        """Return the state of every service, after pending edits."""
        await self.do_sync(None)
        return self._states()

    async def do_sync(self, name: str | None) -> dict[str, Any] | None:
        """Wait until saved files have taken effect; with a name, raise if that service cannot run what is saved."""
        if self._edits is not None and self._system is not None:
            await self._edits.apply()
        if name is None:
            return None
        service = self._running(name)
        if service.edit_error is not None:
            raise service.edit_error
        [state] = [s for s in self._here().states() if s.name == name]
        return {"state": state.as_dict(), "data": str(self._here().data(name))}

    async def do_logs(self, name: str, lines: int) -> dict[str, Any]:
        """Return the last lines of a service, and how many older ones are gone."""
        log = self._running(name).log
        return {"lines": log.last(lines), "dropped": log.dropped, "path": str(log.path)}

    async def do_find(self, text: str) -> list[dict[str, str]]:
        """Return every kept log line of any service that contains `text`."""
        services = self._here().services.values()
        return [{"service": s.name, "line": line} for s in services for line in s.log.with_text(text)]

    async def do_fault(self, source: str, target: str, message: dict[str, Any]) -> dict[str, Any]:
        """Ask for a fault on one edge."""
        return await self._here().fault(source, target, message)

    async def close(self) -> None:
        """Stop whatever runs."""
        await self.do_stop()

    def _states(self) -> list[dict[str, Any]]:
        return [state.as_dict() for state in self._system.states()] if self._system else []

    def _here(self) -> System:
        if self._system is None:
            raise NotRunning("the lab is not running", next_step="lab.start()")
        return self._system

    def _running(self, name: str) -> Service:
        return self._here().service(name)


def _plan(run: dict[str, Any]) -> Run:
    services = {
        name: ServiceSpec(**{**fields, "needs": tuple(fields["needs"]), "calls": tuple(fields["calls"])})
        for name, fields in run["services"].items()
    }
    return Run(**{**run, "services": services, "workspace": Path(run["workspace"]), "scratch": Path(run["scratch"])})


def lock(scratch: Path) -> int:
    """Take the lock of a lab's data; the kernel of this machine frees it when the supervisor dies (flock(2)).

    Raises:
        AlreadyRunning: another supervisor holds it.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(scratch / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 1000).decode("utf-8", "replace")
        os.close(descriptor)
        raise AlreadyRunning(
            f"{scratch.name} is already running in another notebook or terminal",
            where=str(scratch),
            evidence=holder,
            next_step="go on there, or stop it from a terminal: course down --all; then lab.start() again",
        ) from None
    started = time.strftime("%H:%M:%S UTC", time.gmtime())
    with suppress(OSError):  # a full disk: the lock holds, only the note for others is missing
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"supervisor": os.getpid(), "for": os.getppid(), "since": started}).encode())
    return descriptor


def _our_mistake(order: str, error: Exception) -> LabError:
    return LabError(
        f"the supervisor could not carry out {order!r}: this is a mistake in the course, not in your code",
        where="lab_services/runtime",
        evidence=repr(error),
        next_step="lab.stop() and lab.start(); if it happens again, report it with the log in work/.run",
    )


def _machine(error: OSError) -> MachineError:
    return MachineError(
        f"the machine refused: {error.strerror or error}",
        where=str(error.filename or "the lab's data folder"),
        evidence=repr(error),
        next_step="course doctor, in a terminal: it looks at disk, ports and permissions",
    )
