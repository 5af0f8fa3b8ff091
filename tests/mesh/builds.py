"""Meshes for the tests: the plainest one with some of its messages replaced for one service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lab_services.mesh.discovery import Build
from lab_services.mesh.registry import Workload, of_service
from lab_services.mesh.resources import (
    APP,
    OUTBOUND,
    Message,
    Resources,
    cluster,
    endpoints,
    listener_inbound,
    local_route,
    not_in_the_mesh,
    route_configuration,
    virtual_host,
)
from lab_services.mesh.sidecars import sidecar


def calling(routes: Sequence[Message], *, caller: str = "rides", **fields: Message) -> Build:
    """Return a mesh in which rides routes its calls to pricing so; `fields` are those of the cluster pricing.

    There are also the clusters pricing_v1 and pricing_v2, of the replicas with these versions.
    """

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        plain = sidecar(node, workloads)
        if node.service != caller:
            return plain
        versions = {f"pricing_{version}": version for version in ("v1", "v2")}
        places = [endpoints(name, of_service(workloads, "pricing", version=v)) for name, v in versions.items()]
        hosts = [virtual_host("pricing", routes), not_in_the_mesh()]
        own = [one | fields if one["name"] == "pricing" else one for one in plain.clusters]
        return replace(
            plain,
            clusters=[*own, *(cluster(name, **fields) for name in versions)],
            endpoints=[*plain.endpoints, *places],
            routes=[route_configuration(OUTBOUND, hosts)],
        )

    return build


def guarding(
    filters: Sequence[Message],
    *,
    callee: str = "pricing",
    remove: Sequence[str] = (),
    more: Callable[[tuple[Workload, ...]], Resources] | None = None,
) -> Build:
    """Return a mesh in which calls that come to pricing pass these filters; `more` is what pricing needs besides."""

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        plain = sidecar(node, workloads)
        if node.service != callee:
            return plain
        inbound = listener_inbound(node, filters=filters, routes=local_route(APP, remove=remove))
        besides = more(workloads) if more else Resources()
        return replace(
            plain,
            listeners=[inbound, *plain.listeners[1:]],
            clusters=[*plain.clusters, *besides.clusters],
            endpoints=[*plain.endpoints, *besides.endpoints],
        )

    return build
