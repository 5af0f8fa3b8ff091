"""The picture of a running lab's mesh: `mesh_picture(lab)` asks every Envoy now, and draws what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab_services.runtime.states import READY
from lab_services.views import MeshView

from .registry import Workload, read
from .statistics import read_mesh

if TYPE_CHECKING:
    from lab_services.lab import Lab

LOG_LINES = 500


def workloads_of(lab: Lab, plane: str = "plane") -> tuple[Workload, ...]:
    """Return the replicas of a running lab whose sidecars ask the control plane `plane`.

    Raises:
        UnknownName: the lab has no such service.
    """
    return read(lab[plane].data / "mesh.json")


def mesh_picture(lab: Lab, plane: str = "plane") -> MeshView:
    """Draw who calls whom in a running lab, how often and how well, who is spared, and what was refused.

    Envoys go on when the plane is away; whether what they have refused is still in force, nobody knows then.

    Raises:
        UnknownName: the lab has no service `plane`.
    """

    def log_of(node: str) -> str:
        service, _, _ = node.rpartition("-")
        return "\n".join(str(line) for line in lab.logs(f"{service}_sidecar", LOG_LINES).lines)

    there = lab[plane]
    asked = there.url if there.state == READY else ""
    return MeshView(f"Mesh of {lab.folder.name}", read_mesh(workloads_of(lab, plane), asked, log_of))
