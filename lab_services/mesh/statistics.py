"""What the Envoys have seen, added up: who calls whom and how that goes, whom they spare, what they refuse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from .admin import ADMIN_SECONDS, Pages, certificates_of, hosts_of, read_pages, reasons_in, refusals_of
from .facts import ArrowFacts, HostFacts, MeshFacts, RefusalFacts, ReplicaFacts
from .registry import Workload
from .resources.clusters import APP
from .resources.messages import PLANE_CLUSTER

VERSION = "version"  # the label by which replicas of one service differ
UNREACHABLE = "unreachable"
READERS = 8


def read_mesh(
    workloads: Iterable[Workload], plane: str = "", log_of: Callable[[str], str] = lambda node: ""
) -> MeshFacts:
    """Read the admin pages of all Envoys now.

    `plane` is the address of the control plane: without it nobody knows whether a refusal has been mended. `log_of`
    returns the log of a node's Envoy: without it the reason of a refusal is missing.
    """
    found = tuple(workloads)
    with httpx.Client(trust_env=False, timeout=ADMIN_SECONDS) as client, ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda workload: read_pages(client, workload.admin), found))
        page = client.get(f"{plane}/mesh").json()["nodes"] if plane else {}
    pages = {workload.node: one for workload, one in zip(found, read, strict=True) if one is not None}
    return MeshFacts(
        tuple(_replica(workload, workload.node in pages) for workload in found),
        tuple(_arrows(found, pages)),
        tuple(one for node, own in sorted(pages.items()) for one in certificates_of(node, own)),
        tuple(_refusals(pages, page, log_of)),
    )


def _replica(workload: Workload, answers: bool) -> ReplicaFacts:
    state = workload.state if answers else UNREACHABLE
    return ReplicaFacts(workload.service, workload.replica, state, workload.labels.get(VERSION, ""))


def _arrows(workloads: tuple[Workload, ...], pages: Mapping[str, Pages]) -> Iterable[ArrowFacts]:
    by_port = {workload.inbound: workload for workload in workloads}
    seen: dict[tuple[str, str], list[tuple[Pages, dict[str, Any]]]] = defaultdict(list)
    for workload in workloads:
        for cluster in pages[workload.node].clusters if workload.node in pages else []:
            if cluster["name"] not in (APP, PLANE_CLUSTER):
                seen[workload.service, cluster["name"]].append((pages[workload.node], cluster))
    for (caller, name), found in sorted(seen.items()):
        yield _arrow(caller, name, found, by_port)


def _arrow(
    caller: str, name: str, found: list[tuple[Pages, dict[str, Any]]], by_port: Mapping[int, Workload]
) -> ArrowFacts:
    numbers: dict[int, HostFacts] = {}
    hosts: dict[int, Workload] = {}
    for port, calls, errors, spared in (host for _, cluster in found for host in hosts_of(cluster)):
        if port in by_port:
            replica = by_port[port].replica
            before = numbers.get(port, HostFacts(replica, 0, 0, False))
            numbers[port] = HostFacts(replica, before.calls + calls, before.errors + errors, before.spared or spared)
            hosts[port] = by_port[port]

    def total(*counters: str) -> int:
        return sum(pages.counters.get(f"cluster.{name}.{counter}", 0) for pages, _ in found for counter in counters)

    return ArrowFacts(
        caller,
        _callee(name, hosts.values(), by_port.values()),
        name,
        calls=total("upstream_rq_completed"),
        errors=total("upstream_rq_5xx"),
        retries=total("upstream_rq_retry"),
        refused=total("upstream_rq_active_overflow", "upstream_rq_pending_overflow"),
        versions=tuple(sorted({host.labels[VERSION] for host in hosts.values() if VERSION in host.labels})),
        hosts=tuple(sorted(numbers.values(), key=lambda host: host.replica)),
    )


def _callee(cluster: str, hosts: Iterable[Workload], workloads: Iterable[Workload]) -> str:
    """Return whose replicas a cluster has; one without any belongs to the service that its name begins with."""
    for host in hosts:
        return host.service
    services = sorted({workload.service for workload in workloads}, key=len, reverse=True)
    return next((service for service in services if cluster.startswith(service)), cluster)


def _refusals(
    pages: Mapping[str, Pages], plane: Mapping[str, Any], log_of: Callable[[str], str]
) -> Iterable[RefusalFacts]:
    for node, own in sorted(pages.items()):
        refused = refusals_of(own)
        reasons = reasons_in(log_of(node)) if refused else {}
        now = {one["kind"] for one in plane.get(node, {}).get("subscriptions", []) if one["state"] == "refused"}
        for kind, times in sorted(refused.items()):
            yield RefusalFacts(node, kind, times, kind in now, reasons.get(kind, ""))
