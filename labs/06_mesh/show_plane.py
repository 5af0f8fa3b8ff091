"""The control plane of the demonstrations: everything is there side by side, and each call says what it wants.

* `x-way: RANDOM` leads to a cluster of the same three replicas of pricing with that policy; `x-way: CHECKED` to one
  whose replicas are asked for their health. Without the header they take turns.
* A fault comes to who asks for it, by Envoy's own headers. Who asks for /bargain has to pass the gate.
* Each Envoy tells `spans` of its part in every call.
* The gRPC calls of `rides` are spread one by one; for `desk` the sidecar passes on a connection as it comes.
"""

import os
from dataclasses import replace
from urllib.parse import urlsplit

from lab_services.mesh.discovery import control_plane
from lab_services.mesh.registry import Workload, of_service
from lab_services.mesh.resources import (
    APP,
    OUTBOUND,
    Message,
    Resources,
    access_log,
    cluster,
    endpoints,
    extension,
    external_authorization,
    fault_by_header,
    hash_on_header,
    health_check,
    listener,
    listener_grpc,
    listener_inbound,
    listener_outbound,
    local_route,
    loopback,
    match,
    no_panic,
    not_in_the_mesh,
    route,
    route_configuration,
    static_cluster,
    tracing,
    typed,
    virtual_host,
)
from lab_services.mesh.sidecars import sidecar

POLICIES = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH")
CHECKED = "CHECKED"
TIMEOUT = "0.5s"
AUTHORIZATION = "envoy.filters.http.ext_authz"
NO_GATE = {AUTHORIZATION: typed("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", disabled=True)}


def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    """Return the resources of one Envoy."""
    plain = sidecar(node, workloads)
    beside = [*plain.clusters, outside("spans"), outside("gate")]
    if "pricing" not in node.calls:
        return replace(plain, listeners=[inbound(node), *plain.listeners[1:]], clusters=beside)
    ways = [cluster(policy, policy=policy) for policy in POLICIES]
    ways.append(cluster(CHECKED, health_checks=[health_check("/able")], common_lb_config=no_panic()))
    return replace(
        plain,
        listeners=[inbound(node), listener_outbound(node, **told(node)), grpc(node)],
        clusters=[*beside, *ways],
        routes=[route_configuration(OUTBOUND, [to_pricing(), not_in_the_mesh()]), *plain.routes[1:]],
        endpoints=[*plain.endpoints, *(endpoints(way["name"], of_service(workloads, "pricing")) for way in ways)],
    )


def to_pricing() -> Message:
    """Return the routes of who calls pricing."""
    how = {"timeout": TIMEOUT, "hash_policy": hash_on_header("x-rider")}
    ways = [route(way, when=match(headers={"x-way": way}), **how) for way in (*POLICIES, CHECKED)]
    return virtual_host("pricing", [*ways, route("pricing", **how)])


def inbound(node: Workload) -> Message:
    """Return the listener at which others reach a replica; its answers say which one it was. Pricing has filters."""
    filters, routes = [], local_route(APP)
    if node.service == "pricing":
        filters = [fault_by_header(), external_authorization("gate", send=["x-ticket"], add=["x-rider"])]
        past_the_gate = route(APP, timeout="0s", rest={"typed_per_filter_config": NO_GATE})
        routes = local_route(APP, routes=[route(APP, when=match("/bargain")), past_the_gate])
    routes["response_headers_to_add"] = [{"header": {"key": "x-replica", "value": str(node.replica)}}]
    return listener_inbound(node, filters=filters, routes=routes, **told(node))


def grpc(node: Workload) -> Message:
    """Return the listener for calls to locks: by call for rides, by connection for desk."""
    if node.service == "rides":
        return listener_grpc(node, "locks", access_log=access_log())
    kind = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    passed = extension("envoy.filters.network.tcp_proxy", kind, stat_prefix="locks", cluster="locks")
    return listener("locks", node.grpc_outbound["locks"], passed)


def outside(name: str) -> Message:
    """Return the cluster of a service that has no sidecar."""
    return static_cluster(name, [loopback(urlsplit(os.environ[f"{name.upper()}_URL"]).port or 0)])


def told(node: Workload) -> dict[str, object]:
    """Return the fields by which a listener writes a line of each call, and sends its spans."""
    return {"access_log": access_log(), "tracing": tracing(node.service, "spans")}


app = control_plane(build)
