"""To whom an Envoy can send, and how it chooses and spares them: envoy.config.cluster.v3 and endpoint.v3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..registry import READY, Workload
from .messages import Message, from_plane, loopback, typed

APP = "app"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(
    name: str, *, policy: str = "ROUND_ROBIN", grpc: bool = False, tls: Message | None = None, **fields: Any
) -> Message:
    """Return Cluster whose replicas the plane hands out under the same name (EDS).

    `policy` is Envoy's lb_policy: ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH or MAGLEV. `grpc` speaks HTTP/2, which
    gRPC needs. `tls` is what `upstream_tls` returns. A host that the plane takes away gets nothing more, whatever a
    health check says.
    """
    there: Message = {"type": "EDS", "eds_cluster_config": {"eds_config": from_plane()}}
    return _cluster(name, there | {"lb_policy": policy}, grpc, tls) | {"ignore_health_on_host_removal": True} | fields


def app_cluster(workload: Workload, **fields: Any) -> Message:
    """Return Cluster `app`: the application beside this Envoy, at its Unix socket."""
    address = {"pipe": {"path": workload.app}}
    return static_cluster(APP, [address], grpc=workload.speaks == "grpc", **fields)


def static_cluster(
    name: str, addresses: Iterable[Message], *, grpc: bool = False, tls: Message | None = None, **fields: Any
) -> Message:
    """Return Cluster with fixed addresses: for what is not in the registry."""
    hosts = [{"endpoint": {"address": address}} for address in addresses]
    there = {"type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}}
    return _cluster(name, there, grpc, tls) | fields


def _cluster(name: str, there: Message, grpc: bool, tls: Message | None) -> Message:
    found: Message = {"name": name, "connect_timeout": "1s", **there}
    if grpc:
        http2: Message = {"explicit_http_config": {"http2_protocol_options": {}}}
        found["typed_extension_protocol_options"] = {_HTTP_OPTIONS: typed(_HTTP_OPTIONS, **http2)}
    if tls is not None:
        found["transport_socket"] = tls
    return found


def endpoints(name: str, workloads: Iterable[Workload]) -> Message:
    """Return ClusterLoadAssignment: the inbound addresses of those workloads that are ready, with their labels.

    One that is draining is left out: it gets no new call, and what it has it finishes.
    """
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [_host(w) for w in workloads if w.state == READY]}]}


def _host(workload: Workload) -> Message:
    host: Message = {"endpoint": {"address": loopback(workload.inbound)}}
    if workload.labels:
        host["metadata"] = {"filter_metadata": {"envoy.lb": dict(workload.labels)}}
    return host


def health_check(path: str = "/health/ready", *, every: str = "0.2s", failures: int = 2, **fields: Any) -> Message:
    """Return HealthCheck (a field of Cluster, in a list): ask each replica, and spare it after so many failures.

    A cluster that nobody has called yet is asked as often: Envoy's own default for it is a minute.
    """
    return {
        "timeout": "0.5s",
        "interval": every,
        "no_traffic_interval": every,
        "unhealthy_threshold": failures,
        "healthy_threshold": 1,
        "http_health_check": {"path": path},
        **fields,
    }


def outlier_detection(errors: int = 5, *, for_: str = "30s", most: int = 100, **fields: Any) -> Message:
    """Return OutlierDetection (a field of Cluster): spare a replica after `errors` answers of 5xx in a row.

    The first time `for_`, then twice, three times as long. `most` is the percentage of replicas that may be spared at
    once. Envoy's own default is 10: of three replicas one is more than that, so none would ever be spared.
    """
    return {
        "consecutive_5xx": errors,
        "interval": "0.1s",
        "base_ejection_time": for_,
        "max_ejection_percent": most,
        "enforcing_success_rate": 0,
        **fields,
    }


def circuit_breakers(**limits: Any) -> Message:
    """Return CircuitBreakers (a field of Cluster) with these fields of Thresholds.

    max_connections, max_pending_requests, max_requests (calls at the same time), max_retries, retry_budget. What is
    above a limit fails at once, with the header x-envoy-overloaded; nothing waits in a queue.
    """
    return {"thresholds": [limits]}


def retry_budget(share: float, at_least: int = 1) -> Message:
    """Return RetryBudget (a field of Thresholds): at most `share` percent of the calls under way may be retries.

    `at_least` so many may be under way at the same time, however few calls there are.
    """
    return {"budget_percent": {"value": share}, "min_retry_concurrency": at_least}


def no_panic() -> Message:
    """Return CommonLbConfig (a field of Cluster): never call a replica that is spared, from the moment on.

    By default Envoy calls all replicas again when fewer than half are left, and hears of a second one that is to be
    spared up to a second after the first.
    """
    return {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"}
