"""The control plane of task 6.3: it hands out what traffic.py says, and the plainest mesh for everything else.

Before it hands out anything it has Envoy read it: what Envoy refuses ends the plane, with file and line.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import traffic
from traffic import CLUSTER, FILTERS, LOCAL_ROUTES, ROUTES

from lab_services.mesh.discovery import control_plane
from lab_services.mesh.registry import READY, Workload, of_service
from lab_services.mesh.resources import (
    APP,
    Message,
    Resources,
    access_log,
    cluster,
    endpoints,
    http,
    listener,
    listener_inbound,
    local_route,
    route_configuration,
    virtual_host,
)
from lab_services.mesh.sidecars import sidecar
from lab_services.mesh.validate import validate

EDGE, RIDES = "edge", "rides"


def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    """Return what one Envoy is told: the edge, to which riders speak, or the sidecar of a replica of rides."""
    if node.service == EDGE:
        return edge(node, of_service(workloads, RIDES))
    plain = sidecar(node, workloads)
    own = local_route(APP, routes=LOCAL_ROUTES)
    inbound = listener_inbound(node, filters=FILTERS, routes=own, access_log=access_log())
    return replace(plain, listeners=[inbound, *plain.listeners[1:]])


def edge(node: Workload, replicas: Sequence[Workload]) -> Resources:
    """Return the Envoy where riders come in: the first of ROUTES that fits a call decides what becomes of it."""
    riders: Message = virtual_host("riders", ROUTES, domains=["*"])
    return Resources(
        listeners=[listener("edge", node.inbound, http("edge", EDGE, access_log=access_log()))],
        clusters=[cluster(RIDES, **CLUSTER)],
        routes=[route_configuration(EDGE, [riders])],
        endpoints=[endpoints(RIDES, replicas)],
    )


def read_by_envoy() -> None:
    """Let Envoy read what both kinds of node would get; raise EnvoyRefuses."""
    front = Workload(EDGE, 1, "edge-1", "http", READY, inbound=1, admin=4)
    replica = Workload(RIDES, 1, "rides-1", "http", READY, inbound=2, admin=5, outbound=3, app="rides.sock")
    first, second = (vars(build(node, (front, replica))) for node in (front, replica))
    validate(Resources(**{kind: [*first[kind], *second[kind]] for kind in first}), [Path(traffic.__file__)])


read_by_envoy()
app = control_plane(build)
