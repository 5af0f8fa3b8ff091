"""The control plane of task 6.2: the plainest mesh, in which rides sends its calls to pricing where routes.py says.

Before it hands anything out, Envoy itself is asked about the routes: who writes a field that there is not is told so.
"""

from dataclasses import replace
from pathlib import Path

import routes

from lab_services.mesh.discovery import control_plane
from lab_services.mesh.registry import READY, Workload
from lab_services.mesh.resources import (
    OUTBOUND,
    Resources,
    app_cluster,
    cluster,
    endpoints,
    not_in_the_mesh,
    route_configuration,
    virtual_host,
)
from lab_services.mesh.sidecars import sidecar
from lab_services.mesh.validate import validate

CALLER, CALLEE = "rides", "pricing"
SAMPLE = Workload(CALLER, 1, "rides-1", "http", READY, 1, 2, 3, app="app")


def versioned(workloads: tuple[Workload, ...], labels: dict[str, str]) -> list[Workload]:
    """Return the replicas of pricing, of whatever version, that carry these labels."""
    wanted = {"app": CALLEE, **labels}.items()
    return [workload for workload in workloads if wanted <= workload.labels.items()]


def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    """Return what the Envoy of a node is told."""
    plain = sidecar(node, workloads)
    if node.service != CALLER:
        return plain
    return replace(
        plain,
        clusters=[app_cluster(node), *(cluster(name) for name in routes.VERSIONS)],
        endpoints=[endpoints(name, versioned(workloads, labels)) for name, labels in routes.VERSIONS.items()],
        routes=[route_configuration(OUTBOUND, [virtual_host(CALLEE, routes.ROUTES), not_in_the_mesh()])],
    )


validate(build(SAMPLE, ()), [Path(routes.__file__)])
app = control_plane(build)
