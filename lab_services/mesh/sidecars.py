"""The plainest mesh: each service reaches those that it calls, each replica in turn. A plane may begin with it:

    app = control_plane(sidecar)

A learner's plane changes what it returns, or writes such functions itself.
"""

from __future__ import annotations

from .registry import Workload, of_service
from .resources import (
    OUTBOUND,
    Message,
    Resources,
    access_log,
    app_cluster,
    cluster,
    downstream_tls,
    endpoints,
    grpc_routes,
    listener_grpc,
    listener_inbound,
    listener_outbound,
    not_in_the_mesh,
    route,
    route_configuration,
    upstream_tls,
    virtual_host,
)
from .spiffe import spiffe_name


def sidecar(node: Workload, workloads: tuple[Workload, ...], *, secure: bool = False) -> Resources:
    """Return the resources of one Envoy: in to its application, out to the services in `calls`.

    With `secure` both ends of every call prove who they are (mutual TLS); the plane adds the secrets.
    """
    callees = {name: _speaks(workloads, name) for name in node.calls}
    return Resources(
        listeners=listeners(node, callees, secure),
        clusters=[
            *([app_cluster(node)] if node.app else []),
            *(_cluster(name, speaks == "grpc", secure) for name, speaks in callees.items()),
        ],
        routes=routes(node, callees),
        endpoints=[endpoints(name, of_service(workloads, name)) for name in callees],
    )


def listeners(node: Workload, callees: dict[str, str], secure: bool) -> list[Message]:
    """Return the listeners of a node: inbound if there is an application, outbound, one for each gRPC callee."""
    log = access_log()
    inbound = listener_inbound(node, tls=downstream_tls() if secure else None, access_log=log)
    outbound = [listener_outbound(node, access_log=log)] if node.outbound else []
    grpc = [listener_grpc(node, name, access_log=log) for name in callees if name in node.grpc_outbound]
    return [*([inbound] if node.app else []), *outbound, *grpc]


def routes(node: Workload, callees: dict[str, str]) -> list[Message]:
    """Return the routes of a node: each callee by its name, no name else; gRPC callees have listeners of their own."""
    hosts = [virtual_host(name, [route(name)]) for name in callees if name not in node.grpc_outbound]
    grpc = [
        route_configuration(grpc_routes(name), [virtual_host(name, [route(name)], domains=["*"])])
        for name in callees
        if name in node.grpc_outbound
    ]
    return [route_configuration(OUTBOUND, [*hosts, not_in_the_mesh()]), *grpc]


def _cluster(name: str, grpc: bool, secure: bool) -> Message:
    tls = upstream_tls([spiffe_name(name)], grpc=grpc) if secure else None
    return cluster(name, grpc=grpc, tls=tls)


def _speaks(workloads: tuple[Workload, ...], service: str) -> str:
    return next((workload.speaks for workload in workloads if workload.service == service), "http")
