"""The lab in a learner's hands: a running city, and everything that can be done to it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab_services.errors import NotRunning, RuntimeLost, UnknownName
from lab_services.runtime.client import SupervisorClient
from lab_services.runtime.spec import LabSpec, ServiceSpec, load_spec
from lab_services.runtime.states import ServiceState
from lab_services.runtime.workspace import Workspace, open_workspace, work_root

if TYPE_CHECKING:
    from lab_services.bikeshare.laws import Audit
    from lab_services.checks.report import CheckReport
    from lab_services.runtime.edge_fault import EdgeFault
    from lab_services.views import LogView, StatusView, TopologyView, TraceView

READY_SECONDS = 10.0
WEATHERS = ("calm", "drizzle", "storm")
IMPORTS_OF_SERVER = {"nats": "nats"}  # what the launcher imports besides, when a lab runs that server
IMPORT_OF_TELEMETRY = "lab_services.telemetry.warm"  # ... when a service is instrumented; it starts no thread
IMPORT_OF_GRPC = "lab_services.runtime.serve_grpc"  # ... when a service speaks gRPC; it opens no channel and no server

_open: dict[str, Lab] = {}


def open_lab(name: str, *, shape: str | None = None) -> Lab:
    """Open a lab and copy its starter to work/ once. The same lab opened again is the same object.

    Args:
        name: the folder in labs/, or an unambiguous beginning of it such as "01".
        shape: another system of the same lab, such as "monolith"; what runs in the old shape is stopped.

    Raises:
        UnknownName: there is no such lab or shape.
        SpecError, WorkspaceError, MachineError: the lab cannot be opened as it stands.
    """
    _sweep_what_a_crash_left()
    spec = load_spec(name)
    spec.system(shape)
    known = _open.get(spec.name)
    if known is not None and known.spec == spec:
        known.take_shape(shape)
        return known
    if known is not None:
        known.close()
    workspace = open_workspace(spec)
    lab = _open[spec.name] = Lab(spec, workspace.folder, work_root() / ".run" / spec.name, shape=shape)
    return lab


def _sweep_what_a_crash_left() -> None:
    if any((work_root() / ".run").glob("*.json")):
        from lab_services.runtime.registry import sweep

        sweep()


class ServiceHandle:
    """One service of a running lab: `url` for clients, `data` for its folder, `pids` of its processes."""

    def __init__(self, state: ServiceState, data: Path) -> None:
        self.name = state.name
        self.url = state.url
        self.data = data
        self.state = state.state
        self.pids = tuple(replica.pid for replica in state.replicas if replica.pid)
        self.replica_urls = tuple(replica.url for replica in state.replicas)

    def __repr__(self) -> str:
        return f"{self.name}: {self.state}"


class Lab:
    """A city of services on your own machine. Every method returns when its effect is there."""

    def __init__(
        self,
        spec: LabSpec,
        workspace: Path,
        scratch: Path,
        *,
        shape: str | None = None,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self.spec = spec
        self.folder = workspace
        self.shape = shape
        self._scratch = scratch
        self._ready_seconds = ready_seconds
        self._client: SupervisorClient | None = None
        self._running = False
        self._starting = threading.Lock()

    def __repr__(self) -> str:
        shape = f", shape {self.shape}" if self.shape else ""
        return f"{self.spec.name}{shape}: {self.spec.title}"

    def __getitem__(self, name: str) -> ServiceHandle:
        """Return a service; saved files have taken effect by then.

        Raises:
            UnknownName: there is no such service.
            NotRunning: the lab is not running.
            BrokenCode, ServiceCrashed, NotReady: what is saved cannot run.
        """
        self._known(name)
        found = self._ask("sync", name=name)
        return ServiceHandle(ServiceState.from_dict(found["state"]), Path(found["data"]))

    # --- running ---

    def start(
        self,
        *,
        weather: str | None = None,
        seed: int | None = None,
        replace: Mapping[str, str] | None = None,
        skip: Sequence[str] = (),
    ) -> StatusView:
        """Start the city with fresh data, or what of it does not run; return when it is ready.

        A running city that is asked for another weather, or for anything else below, is stopped and started anew.

        Args:
            weather: puts a fault proxy on every connection between services: "calm", "drizzle" or "storm".
            seed: makes the weather repeatable; without one a new one is chosen and printed.
            replace: other addresses in place of services, by name.
            skip: services that are left out; their addresses refuse connections.

        Raises:
            LabError: what failed first; the rest of the city stays up.
        """
        with self._starting:
            Workspace(self.folder, self.spec).require()
            run = self._run(weather, seed, replace or {}, skip)  # refuses a slip before anything is stopped
            if self._running and (weather or replace or skip):
                self._stop()
            try:
                self._start(run)
            finally:
                self._running = bool(self._client and self._client.alive and self._client.ask("running"))
        return self.status()

    def stop(self) -> StatusView:
        """Stop every service. What they wrote stays until the next start."""
        from lab_services.views import StatusView

        with self._starting:
            stopped = self._stop()
        return StatusView(str(self), tuple(map(ServiceState.from_dict, stopped)))

    def close(self) -> None:
        """Stop every service and the supervisor."""
        with self._starting:
            client, self._client, self._running = self._client, None, False
        if client is not None:
            client.close()

    def restart(self, name: str) -> None:
        """Replace a service's processes without losing a request; start it when it is down."""
        self._ask("restart", name=self._known(name))

    def launch(self, name: str) -> None:
        """Start a service that was killed, stopped or left out of the start."""
        self._ask("launch", name=self._known(name))

    def reload(self, name: str) -> None:
        """Ask a server to read its configuration again, without a restart; it obeys a little later."""
        self._ask("reload", name=self._known(name))

    def kill(self, name: str, replica: int | None = None) -> None:
        """Kill a service, or one replica of it, as a crash would: SIGKILL, no goodbye."""
        self._ask("kill", name=self._known(name), replica=_number(replica))

    def pause(self, name: str, replica: int | None = None) -> None:
        """Freeze a service: it accepts connections and never answers, as a process that hangs."""
        self._ask("pause", name=self._known(name), replica=_number(replica))

    def resume(self, name: str, replica: int | None = None) -> None:
        """Let a frozen service go on."""
        self._ask("resume", name=self._known(name), replica=_number(replica))

    def scale(self, name: str, count: int) -> None:
        """Run `count` replicas of a service behind its address, 1 to 16."""
        self._ask("scale", name=self._known(name), count=_whole("count", count))

    def edge(self, source: str, target: str) -> EdgeFault:
        """Return the handle that breaks the connection from one service to another; needs `start(weather=...)`."""
        from lab_services.runtime.edge_fault import EdgeFault

        self._known(source), self._known(target)
        self._ask("fault", source=source, target=target, message={"fault": "clear"})

        def send(message: dict[str, Any]) -> dict[str, Any]:
            fields = {key: value for key, value in message.items() if key != "edge"}
            answer: dict[str, Any] = self._ask("fault", source=source, target=target, message=fields)
            return answer

        return EdgeFault(f"{source}->{target}", send)

    # --- looking ---

    def status(self) -> StatusView:
        """Show every service and its state; saved files have taken effect by then."""
        from lab_services.views import StatusView

        return StatusView(str(self), self.states())

    def topology(self) -> TopologyView:
        """Show who needs whom and who calls whom, as it runs now."""
        from lab_services.views import TopologyView

        return TopologyView(self.states(), title=str(self))

    def logs(self, name: str, lines: int = 20) -> LogView:
        """Show the last lines that a service has printed."""
        from lab_services.views import LogView

        found = self._ask("logs", name=self._known(name), lines=_whole("lines", lines))
        return LogView(name, tuple(found["lines"]), found["dropped"], folder=self.folder)

    def trace(self, id: str) -> TraceView:
        """Show every log line, of whatever service, that carries an id such as a ride's."""
        from lab_services.views import TraceView

        found = self._ask("find", text=id)
        return TraceView(id, tuple((line["service"], line["line"]) for line in found))

    def laws(self) -> Audit:
        """Audit the conservation laws on what the services have stored; call it when the city is quiet."""
        from lab_services.bikeshare.laws import audit

        return audit(self._scratch / "data")

    def states(self) -> tuple[ServiceState, ...]:
        """Return the state of every service as plain facts."""
        if not self._running:
            return tuple(_stopped(service) for service in self.spec.system(self.shape).values())
        return tuple(map(ServiceState.from_dict, self._ask("status")))

    # --- tasks ---

    def check(self, task: str | None = None) -> CheckReport:
        """Judge your files by their behaviour: the checks of one task, or of all."""
        from lab_services.checks import run_checks

        return run_checks(self.spec.name, None if task is None else str(task))

    def hint(self, task: str | None = None) -> Any:
        """Show the next hint for the first check that failed last time."""
        from lab_services.checks import hint

        return hint(self.spec.name, task)

    def solution(self, task: str | None = None) -> Any:
        """Show one possible solution as a difference, once your checks pass or after three honest attempts."""
        from lab_services.checks import solution

        return solution(self.spec.name, task)

    def review(self, number: int | None = None) -> Any:
        """Play the reviewer: find the bug in somebody's change before the check does."""
        from lab_services.checks import review

        return review(self.spec.name, number)

    def reset(self) -> Path:
        """Begin the lab's files anew; your copy is kept beside, in the folder that is returned."""
        from lab_services.runtime.workspace import reset

        return reset(self.spec)

    # --- inside ---

    def take_shape(self, shape: str | None) -> None:
        """Change to another system of the lab; a running one is stopped."""
        self.spec.system(shape)
        if shape != self.shape and self._running:
            self.stop()
        self.shape = shape

    def _start(self, run: dict[str, Any]) -> None:
        before, client = self._client, self._warm_supervisor()
        try:
            # A supervisor that died took its city with it: then `client` is another one.
            client.ask("start", run={} if self._running and client is before else run)
        except RuntimeLost:
            if client.alive or client is not before:
                raise
            self._warm_supervisor().ask("start", run=run)  # it died so lately that nobody had noticed

    def _stop(self) -> list[dict[str, Any]]:
        self._running = False
        found: list[dict[str, Any]] = (
            self._client.ask("stop") if self._client is not None and self._client.alive else []
        )
        return found

    def _ask(self, do: str, **fields: Any) -> Any:
        if self._client is None or not self._running:
            raise NotRunning(f"{self.spec.name} is not running", next_step="lab.start()")
        if not self._client.alive:
            self._running = False
        return self._client.ask(do, **fields)

    def _known(self, name: str) -> str:
        system = self.spec.system(self.shape)
        if name not in system:
            raise UnknownName(
                f"{self.spec.name} has no service {name!r}",
                evidence="services: " + ", ".join(system),
                next_step="lab.status() lists them",
            )
        return name

    def _warm_supervisor(self) -> SupervisorClient:
        if self._client is None or not self._client.alive:
            services = self.spec.system(self.shape).values()
            kinds = {service.target for service in services if service.kind == "server"}
            modules = [IMPORTS_OF_SERVER[kind] for kind in sorted(kinds & IMPORTS_OF_SERVER.keys())]
            modules += [IMPORT_OF_GRPC] if any(s.speaks == "grpc" and s.kind != "server" for s in services) else []
            watched = any(s.telemetry or s.metrics == "METRICS_PORT" for s in services)
            modules += [IMPORT_OF_TELEMETRY] if watched else []
            self._client = SupervisorClient(self.spec.name, work_root(), modules)
        return self._client

    def _run(
        self, weather: str | None, seed: int | None, replace: Mapping[str, str], skip: Sequence[str]
    ) -> dict[str, Any]:
        if weather is not None and weather not in WEATHERS:
            raise UnknownName(
                f"there is no weather {weather!r}",
                evidence="weathers: " + ", ".join(WEATHERS),
                next_step='lab.start(weather="drizzle", seed=7)',
            )
        for name in (*replace, *skip):
            self._known(name)
        return {
            "services": {name: _plain(spec) for name, spec in self.spec.system(self.shape).items()},
            "workspace": str(self.folder),
            "scratch": str(self._scratch),
            "ready_seconds": self._ready_seconds,
            "weather": weather,
            "seed": self._seed(weather, seed),
            "replace": dict(replace),
            "skip": list(skip),
        }

    def _seed(self, weather: str | None, seed: int | None) -> int:
        if seed is None and weather not in (None, "calm"):
            import random

            seed = random.randrange(1000)
            print(f'{weather} with seed {seed}: lab.start(weather="{weather}", seed={seed}) brings the same again')
        return seed or 0


def _whole(what: str, number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int):
        raise UnknownName(
            f"{what} is a whole number, not {number!r}",
            evidence=f"it is a {type(number).__name__}",
            next_step=f"give it without quotes or fractions: {what}=3",
        )
    return number


def _number(replica: int | None) -> int | None:
    return None if replica is None else _whole("replica", replica)


def _plain(spec: ServiceSpec) -> dict[str, Any]:
    return {
        **{key: getattr(spec, key) for key in spec.__dataclass_fields__},
        "env": dict(spec.env),
        "labels": dict(spec.labels),
    }


def _stopped(spec: ServiceSpec) -> ServiceState:
    return ServiceState(name=spec.name, kind=spec.kind, state="stopped", needs=spec.waits_for, calls=spec.calls)
