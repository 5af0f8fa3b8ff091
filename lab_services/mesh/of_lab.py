"""The mesh of a running lab: who is in it, and what its Envoys have seen. `MeshView(title, mesh_of(lab))` draws it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from .facts import MeshFacts
from .registry import READY, Workload, read
from .statistics import read_mesh

LOG_LINES = 500


class Handle(Protocol):
    """A service of a running lab."""

    url: str
    state: str
    data: Path
    pids: tuple[int, ...]
    replica_urls: tuple[str, ...]


class Running(Protocol):
    """A running lab."""

    def __getitem__(self, name: str) -> Handle:
        """Return a service."""

    def logs(self, name: str, lines: int = 20) -> Any:
        """Return the last lines of a service's log."""

    def trace(self, id: str) -> Any:
        """Return every line that carries an id, of whatever service."""


def workloads_of(lab: Running, plane: str = "plane") -> tuple[Workload, ...]:
    """Return the replicas of a running lab whose sidecars ask the control plane `plane`.

    Raises:
        UnknownName: the lab has no such service.
    """
    return read(lab[plane].data / "mesh.json")


def mesh_of(lab: Running, plane: str = "plane") -> MeshFacts:
    """Return what all Envoys of a running lab have seen until now, and what they have refused.

    When the plane is away or speaks gRPC, nobody knows whether what an Envoy has refused has been mended since.

    Raises:
        UnknownName: the lab has no service `plane`.
    """

    def log_of(node: str) -> str:
        service, _, _ = node.rpartition("-")
        return "\n".join(str(line) for line in lab.logs(f"{service}_sidecar", LOG_LINES).lines)

    there = lab[plane]
    asked = there.url if there.state == READY and there.url.startswith("http") else ""
    return read_mesh(workloads_of(lab, plane), asked, log_of)
