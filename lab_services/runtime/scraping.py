"""What the Prometheus of a run scrapes: a port for figures beside each replica, and the file that lists the replicas.

A replica that is killed or has crashed stays in the file, so that Prometheus says of it that it is down; one that is
scaled away goes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lab_services.runtime.ports import Port
from lab_services.runtime.spec_metrics import OWN_PORT
from lab_services.runtime.spec_types import ServiceSpec

if TYPE_CHECKING:
    from lab_services.runtime.replica import Replica
    from lab_services.runtime.service import Service

TARGETS_FILE = "targets.json"  # in the folder of the Prometheus; file_sd of Prometheus, Configuration


class Scraping:
    """Keeps the ports and the files; `data` is the folder in which each service has one of its own."""

    def __init__(self, services: Mapping[str, ServiceSpec], data: Path) -> None:
        found = [name for name, spec in services.items() if (spec.kind, spec.target) == ("server", "prometheus")]
        self._files = [data / name / TARGETS_FILE for name in found]
        self._ports: dict[tuple[str, int], Port] = {}
        self._followed: dict[str, Service] = {}
        self._written = ""

    def env(self, spec: ServiceSpec, number: int) -> dict[str, str]:
        """Return METRICS_PORT for a service that says `metrics = true`, the same one over every restart.

        At a restart the new process starts while the old one finishes: both have to listen there, by SO_REUSEPORT.
        """
        if spec.metrics != OWN_PORT:
            return {}
        key = (spec.name, number)
        if key not in self._ports:
            self._ports[key] = Port(for_server=True)
        return {"METRICS_PORT": str(self._ports[key].number)}

    def follow(self, service: Service) -> None:
        """Scrape a service from now on, if lab.toml says so and it runs here."""
        if service.spec.metrics and not service.replaced_by:
            self._followed[service.name] = service
        self.write()

    def write(self) -> None:
        """Bring the files up to the replicas that there are; nothing is written when nothing has changed."""
        targets = [self._target(s, r) for s in self._followed.values() for r in s.replicas]
        text = json.dumps([target for target in targets if target], indent=1)
        if text != self._written:
            for file in self._files:
                file.parent.mkdir(parents=True, exist_ok=True)
                fresh = file.with_suffix(".new")
                fresh.write_text(text)
                os.replace(fresh, file)
            self._written = text
        for name, number in list(self._ports):
            if name in self._followed and number > len(self._followed[name].replicas):
                self._ports.pop((name, number)).release()

    def _target(self, service: Service, replica: Replica) -> dict[str, Any] | None:
        """Return one target; a replica that was never given a port has not run yet."""
        port = self._ports.get((service.name, replica.number))
        own = service.spec.metrics == OWN_PORT
        if own and port is None:
            return None
        labels = {
            "job": service.name,
            "instance": f"{service.name}-{replica.number}",
            "service": service.name,
            "replica": str(replica.number),
            "__metrics_path__": "/metrics" if own else service.spec.metrics,
        }
        return {"targets": [port.target if own and port else urlsplit(replica.url).netloc], "labels": labels}

    def close(self) -> None:
        """Give the ports back."""
        for port in self._ports.values():
            port.release()
