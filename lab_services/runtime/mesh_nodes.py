"""The places of a mesh: for each replica with a sidecar, the ports of its Envoy and the socket file of its application.

All ports are reserved by the lab, so they stay over restarts of whatever listens there, and other Envoys are told them
before anybody does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lab_services.runtime import states
from lab_services.runtime.ports import Port
from lab_services.runtime.replica import Replica
from lab_services.runtime.socket_files import SocketFile
from lab_services.runtime.spec_types import ServiceSpec

READY = "ready"
DRAINING = "draining"  # it serves, and is about to leave: nothing new shall be sent there
DOWN = "down"
UP = (states.READY, states.PAUSED)  # nobody notices that a process hangs but those who ask it


@dataclass(frozen=True)
class Membership:
    """A service's part in a mesh: where a replica listens, who is told of it, and how one takes its leave."""

    place: Callable[[int], Port]
    joined: Callable[[Replica], None]
    leave: Callable[[Replica], Awaitable[None]]


class MeshNode:
    """One Envoy, and the application beside it; an edge has neither an application nor a way out for one."""

    def __init__(self, spec: ServiceSpec, number: int, sockets: Path, grpc_callees: Iterable[str]) -> None:
        self.spec = spec
        self.number = number
        self.name = f"{spec.name}-{number}"
        self.admin, self.inbound = Port(for_server=True), Port(for_server=True)
        self.outbound = None if spec.is_envoy else Port(for_server=True)
        self.grpc_outbound = {name: Port(for_server=True) for name in grpc_callees}
        self.socket = None if spec.is_envoy else SocketFile(sockets / f"{self.name}.sock", self.inbound)
        self.envoy: Replica | None = None
        self.application: Replica | None = None
        self.leaving = False

    @property
    def state(self) -> str:
        """What other Envoys may rely on: ready, draining or down."""
        wanted = (self.envoy,) if self.socket is None else (self.envoy, self.application)
        if not all(replica is not None and replica.state in UP for replica in wanted):
            return DOWN
        return DRAINING if self.leaving else READY

    def release(self) -> None:
        """Give the ports back to the machine."""
        for port in (self.admin, self.inbound, *self.grpc_outbound.values()):
            port.release()
        if self.outbound is not None:
            self.outbound.release()
        if self.socket is not None:
            self.socket.release()
