"""The rules for `metrics` in a lab.toml: where Prometheus finds the figures of a service."""

from __future__ import annotations

import re

from lab_services.runtime.lab_toml import Table
from lab_services.runtime.spec_types import Kind

OWN_PORT = "METRICS_PORT"  # metrics = true: at GET /metrics of a port of their own, told in this variable
SERVERS = ("prometheus", "alertmanager", "envoy")  # the servers that show figures at an address that callers know
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def read_metrics(table: Table, name: str, kind: Kind, target: str, typescript: bool, speaks: str) -> str:
    """Return OWN_PORT, a path at the service's own address, or nothing for a service that is not scraped."""
    given = table.entries.get("metrics", False)
    if isinstance(given, bool):
        return _own_port(table, name, kind, typescript) if given else ""
    path = table.text("metrics")
    if not _PATH.fullmatch(path):
        raise table.refuse(
            f"'metrics' of {table.name} is {path!r}, which is no path",
            next_step='write metrics = "/metrics", or metrics = true for a port of their own',
        )
    why = _no_path(table, kind, target, speaks)
    if why:
        raise table.refuse(
            f"{name!r} cannot show its figures at {path}: {why}",
            next_step="remove 'metrics'"
            if kind == "server"
            else "write metrics = true: the figures get a port of their own, METRICS_PORT",
        )
    return path


def _own_port(table: Table, name: str, kind: Kind, typescript: bool) -> str:
    if kind == "server" or typescript:
        raise table.refuse(
            f"{name!r} is no Python service, and shows no figures at a port that the lab chooses",
            next_step="remove 'metrics', or write the path at which it shows them: metrics = \"/metrics\"",
        )
    return OWN_PORT


def _no_path(table: Table, kind: Kind, target: str, speaks: str) -> str:
    """Return why nobody can ask the service for a path, or nothing."""
    if kind == "server":
        return "" if target in SERVERS else f"Prometheus cannot scrape a {target} server"
    if "sidecar" in table.entries:
        return "beside its sidecar it listens on a socket file, where Prometheus cannot ask"
    return f"it speaks {speaks}, not HTTP" if speaks != "http" else ""
