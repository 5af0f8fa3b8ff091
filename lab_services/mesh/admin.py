"""The admin pages of one Envoy, read and turned into plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from .complaint import without_copies
from .facts import CertificateFacts
from .subscriptions import KINDS

ADMIN_SECONDS = 5.0
_COUNTERS = r"^cluster\..*upstream_rq_|update_rejected$"
_REFUSED = re.compile(
    r"(?:REST config for /v3/discovery:|gRPC config for type.googleapis.com/)(\S+) rejected: (.*?)(?=\n\[\d{4}-|\Z)",
    re.S,
)
_SPARED = ("failed_outlier_check", "failed_active_health_check")
_OF_MESSAGE = {message: kind for kind, message in KINDS.items()}  # as gRPC says a kind
_KINDS = {"cluster_manager.cds": "clusters", "listener_manager.lds": "listeners"}


@dataclass(frozen=True)
class Pages:
    """What one Envoy says: its counters by name, its clusters with their hosts, its certificates."""

    counters: Mapping[str, int]
    clusters: list[dict[str, Any]]
    certificates: list[dict[str, Any]]


def read_pages(client: httpx.Client, port: int) -> Pages | None:
    """Return the pages of the Envoy whose admin interface is at this port, or None when it does not answer."""
    address = f"http://127.0.0.1:{port}"
    try:
        stats = client.get(f"{address}/stats", params={"format": "json", "filter": _COUNTERS}).json()["stats"]
        clusters = client.get(f"{address}/clusters?format=json").json().get("cluster_statuses", [])
        certificates = client.get(f"{address}/certs").json()["certificates"]
    except (httpx.HTTPError, ValueError):
        return None
    return Pages({one["name"]: int(one["value"]) for one in stats if "value" in one}, clusters, certificates)


def hosts_of(cluster: Mapping[str, Any]) -> list[tuple[int, int, int, bool]]:
    """Return port, attempts, failed attempts and "is spared" of each host of a cluster at a port."""
    found = []
    for host in cluster.get("host_statuses", []):
        port = host["address"].get("socket_address", {}).get("port_value")
        if port is not None:
            numbers = {one["name"]: int(one.get("value", 0)) for one in host.get("stats", [])}
            spared = any(
                host.get("health_status", {}).get(sign)
                for sign in ("failed_outlier_check", "failed_active_health_check")
            )
            found.append((port, numbers.get("rq_total", 0), numbers.get("rq_error", 0), spared))
    return found


def certificates_of(node: str, pages: Pages) -> list[CertificateFacts]:
    """Return the certificates with which the Envoy proves who it is, each once."""
    now = datetime.now(UTC)
    found: dict[str, CertificateFacts] = {}
    for one in (chain for certificate in pages.certificates for chain in certificate.get("cert_chain", [])):
        name = next((other["uri"] for other in one.get("subject_alt_names", []) if "uri" in other), "")
        begins, ends = (datetime.fromisoformat(one[key]) for key in ("valid_from", "expiration_time"))
        seconds = (ends - begins).total_seconds()
        found[one["serial_number"]] = CertificateFacts(
            node, name, one["serial_number"], (ends - now).total_seconds(), seconds
        )
    return [found[serial] for serial in sorted(found)]


def refusals_of(pages: Pages) -> dict[str, int]:
    """Return how often the Envoy has refused something of each kind."""
    found: dict[str, int] = {}
    for name, times in pages.counters.items():
        if name.endswith(".update_rejected") and times:
            kind = _kind(name.removesuffix(".update_rejected"))
            found[kind] = found.get(kind, 0) + times
    return found


def _kind(name: str) -> str:
    if name in _KINDS:
        return _KINDS[name]
    return "routes" if ".rds." in name else "endpoints" if name.startswith("cluster.") else "secrets"


def reasons_in(log: str) -> dict[str, str]:
    """Return the last reason, by kind, with which an Envoy has refused something, from its log."""
    return {_OF_MESSAGE.get(kind, kind): without_copies(message) for kind, message in _REFUSED.findall(log)}
