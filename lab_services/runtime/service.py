"""One service: its address, its replicas, and the balancer in front of them once there are several."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from lab_services.errors import LabError, UnknownName
from lab_services.runtime import states
from lab_services.runtime.logs import LogTail
from lab_services.runtime.mesh_nodes import Membership
from lab_services.runtime.nodes import Nodes
from lab_services.runtime.ports import Port
from lab_services.runtime.processes import LauncherClient
from lab_services.runtime.replica import Program, Replica
from lab_services.runtime.server_reload import take_edit_of_server
from lab_services.runtime.spec_types import ServiceSpec
from lab_services.runtime.states import ServiceState

BALANCER = "lab_services.runtime.balancer:app"


class Service:
    """Keeps one service of the running system. `program(replica)` tells how to start one of its processes."""

    def __init__(
        self,
        spec: ServiceSpec,
        launcher: LauncherClient,
        logs: Path,
        program: Callable[[Service, Replica], Program],
        replaced_by: str = "",
        membership: Membership | None = None,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.nodes = Nodes(spec.replicas) if spec.kind == "server" and spec.replicas > 1 else None
        self._membership = membership
        ports = self._first_ports()
        self.port = ports[0]
        self.log = LogTail(logs / f"{spec.name}.log")
        self.restarts = 0
        self.edit_error: LabError | None = None
        self.note = ""
        self.settled = asyncio.Event()
        self.replaced_by = replaced_by if spec.speaks == "http" else replaced_by.rpartition("//")[2]
        self._launcher = launcher
        self._logs = logs
        self._program = program
        self._balancer: Replica | None = None
        self.replicas_file = logs / f"{spec.name}.replicas.json"
        self.replicas = [self._replica(number, port) for number, port in enumerate(ports, start=1)]
        if self._balances_itself:
            self._write_replicas()

    def _first_ports(self) -> list[Port]:
        if self._membership is not None:
            return [self._membership.place(number) for number in range(1, self.spec.replicas + 1)]
        return self.nodes.ports if self.nodes is not None else [Port(for_server=self.spec.kind == "server")]

    @property
    def url(self) -> str:
        """Where callers reach the service; it stays the same while replicas come and go."""
        if self.replaced_by:
            return self.replaced_by
        if self.nodes is not None:
            return ",".join(replica.url for replica in self.replicas)
        return self.replicas[0].url if self._balancer is None else self.port.url

    @property
    def _balances_itself(self) -> bool:
        """True unless it is plain HTTP: callers, or their sidecars, choose a replica, not a balancer of ours."""
        return self.spec.speaks != "http" or self._membership is not None

    @property
    def state(self) -> str:
        """The state as one word: ready as long as one replica is."""
        if self.replaced_by:
            return states.REPLACED
        found = [replica.state for replica in self.replicas]
        return states.READY if states.READY in found else found[0]

    def as_state(self, edges: tuple[str, ...]) -> ServiceState:
        """Return the fact for a view."""
        spec = self.spec
        notes = [self.note, *(replica.note for replica in self.replicas)]
        if self.edit_error:
            still = "; the version before it still serves" if self.state == states.READY else ""
            notes.insert(1, self.edit_error.what.rstrip(". ") + still)
        return ServiceState(
            name=self.name,
            kind=spec.kind,
            state=self.state,
            url=self.url,
            needs=spec.waits_for,
            calls=spec.calls,
            replicas=tuple(replica.as_state() for replica in self.replicas),
            restarts=self.restarts,
            note=". ".join(dict.fromkeys(note.rstrip(". ") for note in notes if note)),
            edges=edges,
        )

    async def start(self) -> None:
        """Start every replica that is not running; the number is the one of the lab, or of the last scale()."""
        if self.replaced_by:
            return
        if len(self.replicas) < self.spec.replicas:
            await self.scale(self.spec.replicas)
        waiting = [r for r in self.replicas if r.state not in (states.READY, states.PAUSED)]
        self.note = ""
        await _all(replica.start(self._program(self, replica)) for replica in waiting)
        await self._balance()

    async def restart(self) -> None:
        """Replace every replica, one after the other, without losing a request; start those that are down."""
        self.note = ""
        running = [r for r in self.replicas if r.state in (states.READY, states.PAUSED)]
        if self.nodes is not None:  # one that is down cannot come up alone: it waits for the others
            await self.start()
        for replica in running if self.nodes is not None else self.replicas:
            if replica.state == states.PAUSED:
                replica.resume()
            program = self._program(self, replica)
            if len(running) > 1 and not program.reports:  # it cannot hand over: the others get its calls meanwhile
                await self._take_leave(replica)
            await replica.replace(program)
        self.edit_error = None
        self.restarts += 1
        await self._balance()

    async def take_edit(self) -> None:
        """Run what is saved: a server that can reads its configuration again, all else is replaced.

        Raises:
            LabError: it cannot run; what ran goes on. Of a server, the log says so too.
        """
        if self.spec.kind == "server":
            return await take_edit_of_server(self, self._program)
        await self.restart()

    async def scale(self, count: int) -> None:
        """Run `count` replicas behind one address; without HTTP, replica 1 keeps it, and `replicas_file` lists all.

        Raises:
            LabError: a new replica could not start; those that run go on.
        """
        if self._balancer is None and (count == len(self.replicas) == 1 or self.nodes is not None):
            return
        if self._balancer is None and not self._balances_itself:
            await self._put_balancer_in_front()
        place = self._membership.place if self._membership is not None else lambda _: Port()
        added = [self._replica(n, place(n)) for n in range(len(self.replicas) + 1, count + 1)]
        leaving = self.replicas[count:]
        self.replicas = [*self.replicas[:count], *added]
        await _all(replica.start(self._program(self, replica)) for replica in added)
        await self._balance()
        await _all(map(self._take_leave, leaving))
        for replica in leaving:
            await replica.stop(states.STOPPED)
            replica.port.release()

    async def stop(self, state: str = states.STOPPED, number: int | None = None) -> None:
        """Stop all replicas, or the one with that number; the address then refuses connections."""
        await _all(replica.stop(state) for replica in self.chosen(number))
        if self._balancer is not None and number is None:
            await self._balancer.stop(state)

    def chosen(self, number: int | None) -> list[Replica]:
        """Return all replicas, or the one with that number.

        Raises:
            UnknownName: there is no such replica.
        """
        if number is None:
            return self.replicas
        found = [replica for replica in self.replicas if replica.number == number]
        if not found:
            raise UnknownName(
                f"{self.name} has no replica {number}",
                where=self.name,
                evidence=f"replicas: {', '.join(str(r.number) for r in self.replicas)}",
                next_step="lab.status() lists them",
            )
        return found

    async def close(self) -> None:
        """Stop everything and give the ports back."""
        await _all(map(self._take_leave, self.replicas))
        await self.stop()
        for replica in self.replicas:
            replica.port.release()
        self.port.release()
        if self.nodes is not None:
            self.nodes.release()

    def _replica(self, number: int, port: Port) -> Replica:
        address = port.url if self.spec.speaks == "http" else port.target
        replica = Replica(self.name, number, port, self.log, self._launcher, address)
        if self._membership is not None:
            self._membership.joined(replica)
        return replica

    async def _take_leave(self, replica: Replica) -> None:
        """Let the mesh know, if it is in one, that a replica which serves is about to stop."""
        if self._membership is not None and replica.state == states.READY:
            await self._membership.leave(replica)

    async def _put_balancer_in_front(self) -> None:
        """Give replica 1 an address of its own, and the service's address to a balancer: no request is lost."""
        first = self.replicas[0]
        before, was_ready = first.process, first.state == states.READY
        front, own = first.port, Port()
        first.process, first.port, first.url = None, own, own.url
        first.state = states.STOPPED
        if was_ready:
            await first.start(self._program(self, first))
        self._balancer = Replica(f"{self.name} (balancer)", 0, front, self.log, self._launcher)
        self._write_replicas()
        self._balancer.process, self._balancer.state = before, states.READY if was_ready else states.STOPPED
        if was_ready:
            await self._balancer.replace(self._balancer_program())

    async def _balance(self) -> None:
        if self._balances_itself:
            self._write_replicas()
        if self._balancer is None:
            return
        self._write_replicas()
        if self._balancer.state != states.READY:
            await self._balancer.start(self._balancer_program())

    def _balancer_program(self) -> Program:
        env = {**os.environ, "REPLICAS_FILE": str(self.replicas_file), "SERVICE_NAME": self.name}
        return Program({"app": BALANCER}, env, self._logs, ready_seconds=10)

    def _write_replicas(self) -> None:
        fresh = self.replicas_file.with_suffix(".new")
        fresh.write_text(json.dumps([self.replaced_by] if self.replaced_by else [r.url for r in self.replicas]))
        os.replace(fresh, self.replicas_file)


async def _all(actions: Iterable[Awaitable[None]]) -> None:
    """Run all to their end, then raise the first error: one failure does not leave the others half done."""
    results = await asyncio.gather(*actions, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
