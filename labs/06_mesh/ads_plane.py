"""A control plane as Istio's speaks: one gRPC stream for each Envoy, each answer taken (ACK) or refused (NACK).

Save a change of `build` and the plane starts anew; its log, lab.logs("plane"), says what each Envoy made of it.
"""

from lab_services.mesh.ads import control_plane
from lab_services.mesh.registry import Workload
from lab_services.mesh.resources import Resources
from lab_services.mesh.sidecars import sidecar

TWICE = ()  # callees whose routes are written twice; with ("pricing",) Envoy has two answers to one question


def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    """Return what one Envoy is told: the plainest mesh, the same function as for a plane that speaks REST."""
    found = sidecar(node, workloads)
    for routes in found.routes:
        routes["virtual_hosts"] += [host for host in routes["virtual_hosts"] if host["name"] in TWICE]
    return found


serve = control_plane(build)
