"""The mesh of one run: an Envoy beside each replica that asks for one, and the file that tells its control plane.

An application beside a sidecar listens on a socket file. It calls others by their names in the mesh, through the
outbound port of its own sidecar (HTTP_PROXY), or with gRPC through one more port for each service that it calls.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from lab_services.errors import NotReady
from lab_services.runtime import envoy_admin, mesh_registry, states
from lab_services.runtime.logs import LogTail
from lab_services.runtime.mesh_nodes import READY, Membership, MeshNode
from lab_services.runtime.ports import Port
from lab_services.runtime.replica import Program, Replica
from lab_services.runtime.socket_files import make_sockets_folder, remove_sockets_folder
from lab_services.runtime.spec_types import ServiceSpec, sidecar_name

DRAIN_SECONDS = 0.5  # from "draining" in the file until the application leaves: the plane and the Envoys take notice
SPREAD_SECONDS = 0.4  # from a change of the file until every Envoy obeys: its pause (REFRESH, twice at most), the plane
ENVOY_SECONDS = 20.0  # until an Envoy is ready: mostly 0.1, 6 with a control plane of no use, more when all is busy
REFUSED = re.compile(r"(?:REST|gRPC) config for \S*[:.](\w+) rejected: (.+)")  # Envoy's log: what kind, and why


class Mesh:
    """Knows every Envoy that a control plane configures; `mark` names the run (COURSE_RUN)."""

    def __init__(self, services: Mapping[str, ServiceSpec], replaced: Mapping[str, str], data: Path, mark: str) -> None:
        self._specs = services
        self._replaced = replaced
        self._data = data
        self._mark = mark
        self.members = {name: spec for name, spec in services.items() if spec.plane and spec.kind != "sidecar"}
        self._sockets = make_sockets_folder(mark) if self.members else Path()
        self._nodes: dict[tuple[str, int], MeshNode] = {}
        self._planes = {spec.plane for spec in self.members.values()}
        self._envoy: Path | None = None
        self._to_write: asyncio.Handle | None = None
        self._closing = False
        self._written = 0.0

    # --- who is where ---

    def node(self, service: str, number: int) -> MeshNode:
        """Return the node of one replica; its ports are reserved from the first question on."""
        if (service, number) not in self._nodes:
            spec = self.members[service]
            grpc = [name for name in self.reached(spec) if self.members[name].speaks == "grpc" and not spec.is_envoy]
            self._nodes[service, number] = MeshNode(spec, number, self._sockets, grpc)
        return self._nodes[service, number]

    def reached(self, spec: ServiceSpec) -> list[str]:
        """Return the services that this one reaches through its Envoy: those with a sidecar of the same plane."""
        names = dict.fromkeys((*spec.needs, *spec.calls)) if spec.plane else {}
        return [n for n in names if n in self.members and self.members[n].sidecar == spec.plane and n != spec.name]

    def membership(self, spec: ServiceSpec) -> Membership | None:
        """Return what makes a service part of the mesh, or nothing."""
        if not spec.plane:
            return None
        name = spec.target if spec.kind == "sidecar" else spec.name

        def place(number: int) -> Port:
            node = self.node(name, number)
            return node.admin if spec.kind == "sidecar" else node.socket or node.inbound

        def joined(replica: Replica) -> None:
            node = self.node(name, replica.number)
            if spec.is_envoy:
                node.envoy = replica
            else:
                node.application = replica
            replica.on_change = partial(self._changed, node, replica)

        async def leave(replica: Replica) -> None:
            await self._leave(self.node(name, replica.number), spec.is_envoy)

        return Membership(place, joined, leave)

    def drop(self, service: str, count: int) -> None:
        """Forget the replicas above `count` and give their ports back."""
        for name, number in [key for key in self._nodes if key[0] == service and key[1] > count]:
            self._nodes.pop((name, number)).release()
        self.write()

    # --- how the programs are started ---

    def env(self, spec: ServiceSpec, number: int, outside: bool) -> dict[str, str]:
        """Return what a program has to know besides the addresses; `outside`: it also calls HTTP out of the mesh."""
        if spec.name in self._planes:
            return {"MESH_FILE": str(self.file(spec.name))}
        if spec.name not in self.members or spec.is_envoy:
            return {}
        port = self.node(spec.name, number).outbound
        proxy, direct = port.url if port else "", "127.0.0.1,localhost" if outside else ""
        env = {"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": direct, "no_proxy": direct}
        return {**env, "no_grpc_proxy": "127.0.0.1,localhost"}  # gRPC obeys http_proxy, too: it has ports of its own

    def address(self, spec: ServiceSpec, number: int, callee: str) -> str:
        """Return how replica `number` of a service calls another one of the mesh: by its name, or host:port of gRPC."""
        port = self.node(spec.name, number).grpc_outbound.get(callee)
        return port.target if port else f"http://{callee}"

    def program(
        self, spec: ServiceSpec, replica: Replica, env: Mapping[str, str], plane: str, log: LogTail, seconds: float
    ) -> Program:
        """Run the Envoy of one node; `plane` is the host:port of its control plane, asked in what that speaks.

        Raises:
            MissingProgram: Envoy is not installed.
        """
        from lab_services.servers import envoy

        self._envoy = self._envoy or envoy.find()
        node = self.node(spec.target if spec.kind == "sidecar" else spec.name, replica.number)
        folder = self._data / spec.name
        folder.mkdir(parents=True, exist_ok=True)
        ask = envoy.ask_over_grpc if self._specs[spec.plane].speaks == "grpc" else envoy.ask_over_rest
        bootstrap = envoy.mesh_bootstrap(node.name, node.spec.name, spec.labels, node.admin.number, ask(plane))
        argv = envoy.mesh_command(self._envoy, folder / f"{node.name}.json", node.name, bootstrap)
        ready = partial(self._envoy_ready, node, log, len(_refusals(log, node)))
        return Program({"argv": argv}, env, folder, max(seconds, ENVOY_SECONDS), ready=ready)

    async def _envoy_ready(self, node: MeshNode, log: LogTail, earlier: int, _: str) -> bool | str:
        if not await envoy_admin.is_ready(node.admin):
            return False
        if not await envoy_admin.has_refused(node.admin):
            return True
        said = _refusals(log, node)
        if len(said) <= earlier:
            return "it has refused its configuration"
        plane = self._specs[node.spec.plane]
        file = plane.target.partition(":")[0] + ".py" if plane.kind == "run" else "a finished service"
        raise NotReady(
            f"the Envoy of {node.name} refuses the configuration that {plane.name} has sent it",
            where=f"{plane.name} ({file})",
            evidence="\n".join([*dict.fromkeys(said[earlier:]), f"whole log: {log.path}"]),
            next_step=f"mend what {plane.name} answers to {node.name} and save it, then lab.start()",
        )

    # --- what is told of it ---

    def file(self, plane: str) -> Path:
        """Return the file that a control plane reads."""
        return self._data / plane / mesh_registry.FILE

    def write(self) -> None:
        """Write down who is in the mesh, for each control plane."""
        if self._to_write is not None:
            self._to_write.cancel()
            self._to_write = None
        order = list(self.members)
        nodes = [self._nodes[key] for key in sorted(self._nodes, key=lambda key: (order.index(key[0]), key[1]))]
        self._written = asyncio.get_running_loop().time()
        for plane in self._planes:
            told = [node for node in nodes if node.spec.plane == plane]
            told = [node for node in told if node.number == 1 or node.spec.name not in self._replaced]
            mesh_registry.write(self.file(plane), [self._entry(node) for node in told])

    def _entry(self, node: MeshNode) -> dict[str, object]:
        return mesh_registry.entry(node, self.reached(node.spec), self._replaced.get(node.spec.name, ""))

    def _changed(self, node: MeshNode, replica: Replica) -> None:
        if replica.state == states.STARTING:
            node.leaving = False
        if self._to_write is None and not self._closing:
            self._to_write = asyncio.get_running_loop().call_soon(self.write)

    async def _leave(self, node: MeshNode, envoy: bool) -> None:
        """Say that nothing new shall be sent to a node and wait until that is known; an Envoy then ends its calls."""
        if node.state == READY and not self._closing:
            node.leaving = True
            self.write()
            await asyncio.sleep(float(node.spec.env.get("DRAIN_SECONDS", DRAIN_SECONDS)))
        if envoy:
            await envoy_admin.settle(node.admin)

    async def spread(self) -> None:
        """Wait until the last change has reached the Envoys, so that a call finds the mesh as the lab shows it."""
        if self.members:
            await asyncio.sleep(self._written + SPREAD_SECONDS - asyncio.get_running_loop().time())

    def say_farewell(self) -> None:
        """Write that everybody is about to leave, for the last time: nobody is left to wait for."""
        for node in self._nodes.values():
            node.leaving = True
        self._closing = True
        self.write()

    def close(self) -> None:
        """Give the ports back and remove the socket files."""
        for node in self._nodes.values():
            node.release()
        if self.members:
            remove_sockets_folder(self._mark)


def _refusals(log: LogTail, node: MeshNode) -> list[str]:
    """Return Envoy's own words on what a node was sent and has refused, oldest first."""
    found = [REFUSED.search(line) for line in log.with_text(f" {node.name} ")]
    return [f"{match[1]}: {match[2]}" for match in found if match]


def waves(services: Mapping[str, ServiceSpec]) -> list[list[str]]:
    """Return the order of stopping: applications, their Envoys, then control planes and who takes the last spans."""
    planes = {spec.plane for spec in services.values() if spec.plane}
    envoys = [name for name, spec in services.items() if spec.is_envoy]
    last = planes | {spec.telemetry for spec in services.values() if spec.telemetry}
    others = [name for name in services if name not in envoys and name not in last]
    return [others, envoys, [name for name in services if name in last]]


def left_out(services: Mapping[str, ServiceSpec], skip: Iterable[str]) -> set[str]:
    """Return the services that are left out of a run, each with its sidecar."""
    names = set(skip)
    return names | {sidecar_name(name) for name in names if sidecar_name(name) in services}
