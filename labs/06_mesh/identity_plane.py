"""Plane of task 6.4: tells each Envoy what identity.py and identity_policy.py say of it. Given.

POST /authorities/{step} lets the operator replace the authority of the city: see identity_authorities.py.

Each call between two services is a connection of its own, and so a handshake: a certificate that is renewed says
nothing to a connection that is already open, and would not for as long as that stays open.

Whoever reaches this plane gets the private key of every service, by naming it: here that is this machine alone.
"""

import os
from dataclasses import replace
from pathlib import Path

import identity
import identity_policy
from fastapi import HTTPException, Request
from identity_authorities import Authorities

from lab_services.mesh.discovery import control_plane
from lab_services.mesh.registry import READY, Workload
from lab_services.mesh.resources import (
    Message,
    Resources,
    access_log,
    app_cluster,
    cluster,
    listener_inbound,
    route,
    route_configuration,
    typed,
    virtual_host,
)
from lab_services.mesh.sidecars import sidecar
from lab_services.mesh.tokens import open_token_issuer
from lab_services.mesh.validate import validate

DATA = Path(os.environ["DATA_DIR"])
RIDERS = open_token_issuer(DATA / "riders.pem", "riders.bikeshare.example")  # who has told the riders apart
authorities = Authorities(DATA / "authorities")
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
EDGE = "edge"
# A path means the same to the policies and to the application: `..`, `//` and an escaped slash are settled first.
ONE_MEANING = {
    "normalize_path": True,
    "merge_slashes": True,
    "path_with_escaped_slashes_action": "REJECT_REQUEST",
}


def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    """Return what one Envoy is told."""
    plain = sidecar(node, workloads)
    speaks = {workload.service: workload.speaks for workload in workloads}
    return replace(
        plain,
        listeners=[inbound(node), *(one for one in plain.listeners if one["name"] != "inbound")],
        clusters=[
            *([app_cluster(node)] if node.app else []),
            *(callee(name, speaks.get(name) == "grpc") for name in node.calls),
        ],
        secrets=identity.secrets(node.service, authorities),
    )


def inbound(node: Workload) -> Message:
    """Return the listener where calls come in: riders at the edge, services at a sidecar."""
    filters = identity_policy.filters(node.service, RIDERS.keys())
    fields = ONE_MEANING | {"access_log": access_log()}
    if node.service != EDGE:
        return listener_inbound(node, filters=filters, tls=identity.inbound_tls(node.service), **fields)
    to_rides = route_configuration(EDGE, [virtual_host("rides", [route("rides")], domains=["*"])])
    return listener_inbound(node, filters=filters, routes=to_rides, **fields)


def callee(name: str, grpc: bool) -> Message:
    """Return the cluster of a service that is called."""
    protocol = "http2_protocol_options" if grpc else "http_protocol_options"
    once = {"max_requests_per_connection": 1}
    options = typed(OPTIONS, common_http_protocol_options=once, explicit_http_config={protocol: {}})
    tls = identity.outbound_tls(name, grpc)
    return cluster(name, grpc=grpc, tls=tls, typed_extension_protocol_options={OPTIONS: options})


def read_by_envoy() -> None:
    """Let Envoy read what each kind of node would get; raise EnvoyRefuses with the learner's line, before any waits."""
    files = [Path(identity_policy.__file__), Path(identity.__file__)]
    edge = Workload(EDGE, 1, "edge-1", "http", READY, inbound=1, admin=2, calls=("rides",))
    rides = Workload("rides", 1, "rides-1", "http", READY, 3, 4, 5, {"locks": 6}, "rides.sock", ("locks",))
    locks = Workload("locks", 1, "locks-1", "grpc", READY, inbound=7, admin=8, outbound=9, app="locks.sock")
    for node in (edge, rides, locks, replace(rides, service="stations", node="stations-1")):
        validate(build(node, (edge, rides, locks)), files)


read_by_envoy()
app = control_plane(build)


@app.post("/authorities/{step}")
async def change(step: str, request: Request) -> dict[str, bool]:
    """Take a step in the change of authorities; 409 when it is not its turn."""
    try:
        authorities.do(step)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error
    request.app.state.plane.rebuild()
    return {"previous": authorities.previous is not None, "next": authorities.next is not None}
