"""What a server is told of its lab: its settings, its file in the learner's folder, and whom it calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lab_services.runtime.addresses import reached

if TYPE_CHECKING:
    from lab_services.runtime.replica import Replica
    from lab_services.runtime.service import Service
    from lab_services.servers import Wishes


def server_wishes(
    service: Service, replica: Replica, services: Mapping[str, Service], env: Mapping[str, str], workspace: Path
) -> Wishes:
    """Return what lab.toml asks of a server; `env` has the addresses of those that it needs or calls."""
    from lab_services.servers import Called, Wishes

    spec = service.spec
    called = (services[name] for name in reached(spec))
    found = [Called(c.name, c.spec.target, env[f"{c.name.upper()}_URL"]) for c in called if c.spec.speaks == "http"
             and f"{c.name.upper()}_URL" in env]  # fmt: skip
    node = service.nodes.node(replica) if service.nodes else None
    return Wishes(spec.env, node, workspace / spec.config if spec.config else None, tuple(found))
