"""A running system: its services, who gets whose address, the weather between them, and the order of starting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab_services.errors import UnknownName
from lab_services.runtime import states
from lab_services.runtime.addresses import Addresses
from lab_services.runtime.edges import Edges
from lab_services.runtime.fresh_folder import fresh_folder
from lab_services.runtime.logins import Logins
from lab_services.runtime.processes import LauncherClient, launch_mode
from lab_services.runtime.programs import grpc_program, python_program, server_program, tcp_program, typescript_program
from lab_services.runtime.replica import Program, Replica
from lab_services.runtime.scaling import refuse_count
from lab_services.runtime.scraping import Scraping
from lab_services.runtime.server_reload import hang_up
from lab_services.runtime.server_wishes import server_wishes
from lab_services.runtime.service import Service
from lab_services.runtime.sidecars import Mesh, left_out, waves
from lab_services.runtime.spec_types import ServiceSpec, sidecar_name
from lab_services.runtime.states import ServiceState

# Servers that read their configuration again on SIGHUP, and keep every connection.
RELOADS = ("nats", "prometheus", "alertmanager")


@dataclass(frozen=True)
class Run:
    """What one start of a system is asked for.

    `replace` gives another address in place of a service, `skip` leaves services out (their addresses refuse),
    `weather` puts a fault proxy on every edge (`calm` changes nothing until a fault is asked for).
    """

    services: Mapping[str, ServiceSpec]
    workspace: Path
    scratch: Path  # data and logs of the run
    ready_seconds: float = 10.0
    weather: str | None = None
    seed: int = 0
    replace: Mapping[str, str] = field(default_factory=dict)
    skip: Sequence[str] = ()


class System:
    """The services of one run, started with fresh data."""

    def __init__(self, run: Run, launcher: LauncherClient, env: dict[str, str]) -> None:
        self._run = run
        self._env = env
        self._data = fresh_folder(run.scratch / "data")
        self._logs = logs = fresh_folder(run.scratch / "logs")
        self._skip = left_out(run.services, run.skip)
        self._scraping = Scraping(run.services, self._data)
        self._mesh = Mesh(run.services, run.replace, self._data, env.get("COURSE_RUN", ""))
        self.services = {name: self._service(spec, launcher) for name, spec in run.services.items()}
        self._edges = Edges(launcher, logs, run.weather, run.seed) if run.weather else None
        self._logins = Logins(run.services)
        self._addresses = Addresses(self.services, self._edges, self._logins, self._mesh, logs)
        self._mesh.write()

    def _service(self, spec: ServiceSpec, launcher: LauncherClient) -> Service:
        beside = spec.target if spec.kind == "sidecar" else spec.name
        replaced_by = self._run.replace.get(beside, "") or self._run.replace.get(spec.name, "")
        return Service(spec, launcher, self._logs, self._program, replaced_by, self._mesh.membership(spec))

    def service(self, name: str) -> Service:
        """Return the service with that name.

        Raises:
            UnknownName: there is none.
        """
        if name in self.services:
            return self.services[name]
        raise UnknownName(
            f"this system has no service {name!r}",
            evidence="services: " + ", ".join(self.services),
            next_step="lab.status() lists them",
        )

    def states(self) -> list[ServiceState]:
        """Return what is known of every service, in the order of the lab."""
        return [self._state(service) for service in self.services.values()]

    def _state(self, service: Service) -> ServiceState:
        state = service.as_state(self._edges.targets_of(service.name) if self._edges else ())
        return replace(state, url=self._logins.url(state.url)) if service.spec.has_users else state

    def data(self, name: str) -> Path:
        """Return the folder that a service keeps its data in."""
        return self._data / self.service(name).name

    async def start(self) -> None:
        """Start all that does not run, each as soon as what it needs is ready.

        Raises:
            LabError: the first root cause; everything that does not depend on it runs.
        """
        for service in self.services.values():
            service.settled.clear()
        if self._edges is not None and not self._edges.running:
            await self._edges.start(self._addresses.proxied())
        results = await asyncio.gather(*map(self._start_one, self.services.values()), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise errors[0]
        await self._mesh.spread()

    async def _start_one(self, service: Service) -> None:
        try:
            for name in service.spec.starts_after:
                await self.services[name].settled.wait()
            missing = [n for n in service.spec.waits_for if not self._can_be_relied_on(n)]
            if service.name in self._skip and service.state == states.STOPPED:
                service.note = "left out of this run"
            elif missing:
                service.note = f"not started, because it needs {', '.join(missing)}"
            elif service.state not in (states.READY, states.PAUSED):
                await self.start_service(service)
        finally:
            if service.name not in self._skip:
                self._scraping.follow(service)
            service.settled.set()

    async def start_service(self, service: Service) -> None:
        """Start one service, behind a sidecar that was never started, and tell the weather where it is."""
        beside = self._sidecar(service)
        if beside is not None and beside.state == states.STOPPED:
            await beside.start()
        if beside is not None and len(service.replicas) < service.spec.replicas:
            await self.scale(service, service.spec.replicas)
        try:
            await service.start()
        finally:
            self._scraping.follow(service)
        if self._edges is not None:
            await self._edges.aim(service.name, service.url)

    async def scale(self, service: Service, count: int) -> None:
        """Change the number of replicas, and of their sidecars: these come before and leave after them.

        Raises:
            UnknownName: `count` is not possible, or it is a sidecar.
            LabError: a new replica could not start.
        """
        refuse_count(service.spec, count, len(service.replicas))
        beside = self._sidecar(service)
        if beside is not None and count > len(beside.replicas):
            await beside.scale(count)
        try:
            await service.scale(count)
        finally:
            self._scraping.write()
        await self._mesh.spread()
        if beside is not None:
            await beside.scale(count)
            self._mesh.drop(service.name, count)

    def _sidecar(self, service: Service) -> Service | None:
        return self.services.get(sidecar_name(service.name)) if service.spec.sidecar else None

    def _can_be_relied_on(self, name: str) -> bool:
        return name in self._skip or self.services[name].state in (states.READY, states.REPLACED, states.PAUSED)

    async def fault(self, source: str, target: str, message: dict[str, object]) -> dict[str, object]:
        """Ask the fault proxy on the edge from `source` to `target` for a fault."""
        self.service(source), self.service(target)
        if self._edges is None or target not in self._edges.targets_of(source):
            raise UnknownName(
                f"there is no fault proxy between {source} and {target}",
                where=f"{source} -> {target}",
                evidence="weather: " + (self._run.weather or "none, the services reach each other directly"),
                next_step='start the lab with weather: lab.start(weather="calm")',
            )
        return await self._edges.ask({"edge": f"{source}->{target}", **message})

    def reload(self, name: str) -> None:
        """Ask a server to read its configuration again (SIGHUP), without a restart; it obeys a little later.

        Raises:
            UnknownName: it is no server that can.
        """
        hang_up(self.service(name))

    async def close(self) -> None:
        """Stop every service, applications before their sidecars, and give the ports back."""
        self._mesh.say_farewell()
        for wave in waves(self._run.services):
            await asyncio.gather(*(self.services[name].close() for name in wave), return_exceptions=True)
        self._mesh.close()
        self._scraping.close()
        if self._edges is not None:
            await self._edges.close()

    def _program(self, service: Service, replica: Replica) -> Program:
        spec = service.spec
        data = self._data / service.name
        data.mkdir(parents=True, exist_ok=True)
        env = {
            **self._addresses.collector(spec),  # first: a collector of the learner's own takes its place
            **self._env,
            **self._addresses.env(spec, replica.number),
            **self._scraping.env(spec, replica.number),
            **spec.env,
            "DATA_DIR": str(data),
            "SERVICE_NAME": service.name,
            "REPLICA": str(replica.number),
        }
        seconds = self._run.ready_seconds
        if spec.is_envoy:
            plane = self.services[spec.plane].url.rpartition("//")[2]
            return self._mesh.program(spec, replica, env, plane, service.log, seconds)
        if spec.kind == "server":
            if spec.has_users:
                env |= self._logins.env()
            wishes = server_wishes(service, replica, self.services, env, self._run.workspace)
            return server_program(spec, data, env, seconds, replica, wishes)
        names = self._mesh.reached(spec)
        if spec.kind == "run" and spec.target.endswith(".ts"):
            return typescript_program(self._run.workspace / spec.target, data, env, seconds, replica, names)
        if spec.kind == "use" and not (BIKESHARE / f"{spec.target}.py").exists():
            return typescript_program(BIKESHARE / f"{spec.target}.ts", data, env, seconds, replica, names)
        attribute = "app" if spec.speaks == "http" else "serve"
        app = spec.target if spec.kind == "run" else f"lab_services.bikeshare.{spec.target}:{attribute}"
        folder = self._run.workspace if spec.kind == "run" else data
        cold = "cold" in (spec.launch, launch_mode())
        if spec.speaks == "grpc":
            return grpc_program(app, folder, env, seconds, cold, replica)
        if spec.speaks == "tcp":
            return tcp_program(app, folder, env, seconds, cold)
        return python_program(app, folder, env, seconds, cold, replica)


BIKESHARE = Path(__file__).parents[1] / "bikeshare"
