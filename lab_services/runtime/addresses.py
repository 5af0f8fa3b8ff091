"""Who gets whose address: directly, through the weather, with a login, or through the sidecar; and whose packages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lab_services import extras
from lab_services.runtime.edges import Edges
from lab_services.runtime.instrumenting import ASKED
from lab_services.runtime.logins import Logins
from lab_services.runtime.service import Service
from lab_services.runtime.sidecars import Mesh
from lab_services.runtime.spec_types import ServiceSpec


class Addresses:
    """Writes the environment that tells a service where the others are, and where the packages of its extra."""

    def __init__(
        self, services: Mapping[str, Service], edges: Edges | None, logins: Logins, mesh: Mesh, folder: Path
    ) -> None:
        self._services = services
        self._edges = edges
        self._logins = logins
        self._mesh = mesh
        self._folder = folder  # for the files that list replicas

    def env(self, spec: ServiceSpec, number: int) -> dict[str, str]:
        """Return the variables for replica `number` of a service.

        Raises:
            MissingProgram: the extra that it imports is not installed.
        """
        meshed = [] if spec.is_envoy else self._mesh.reached(spec)
        found: dict[str, str] = {}
        outside = bool(spec.telemetry)
        for name in reached(spec):
            target = self._services[name]
            prefix = name.upper().replace("-", "_")
            if name in meshed:
                found |= self._through_sidecar(spec, number, target, prefix)
                continue
            proxied = self._edges.url(spec.name, name) if self._edges is not None else ""
            if target.spec.target == "nats":
                address = (proxied or target.url).replace("http:", "nats:")
                found["NATS_URL"] = self._logins.url(address, spec.name) if target.spec.has_users else address
            elif target.spec.speaks != "http":
                proxied = proxied.removeprefix("http://")
                found[f"{prefix}_URL"] = proxied or target.url
                found[f"{prefix}_REPLICAS_FILE"] = str(self._replicas_file(spec.name, target, proxied))
            else:
                found[f"{prefix}_URL"] = proxied or target.url
                outside = True
        return found | self._mesh.env(spec, number, outside) | packages(spec) | identity(spec, number)

    def collector(self, spec: ServiceSpec) -> dict[str, str]:
        """Return the variable that says where a service's spans go: to the lab's own store, without any weather."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self._services[spec.telemetry].url} if spec.telemetry else {}

    def proxied(self) -> list[tuple[str, str, str, str]]:
        """Return the connections that can have weather: caller, target, address of the target, http or grpc.

        A client of several nodes goes to another when one fails: one proxied address would take that away. And what
        leads through a sidecar has no address of its own.
        """
        callers = [service.spec for service in self._services.values() if not service.spec.is_envoy]
        pairs = [(c, self._services[n]) for c in callers for n in reached(c) if n not in self._mesh.reached(c)]
        return [(c.name, t.name, t.url, t.spec.speaks) for c, t in pairs if t.nodes is None]

    def _through_sidecar(self, spec: ServiceSpec, number: int, target: Service, prefix: str) -> dict[str, str]:
        address = self._mesh.address(spec, number, target.name)
        if target.spec.speaks == "http":
            return {f"{prefix}_URL": address}
        file = self._replicas_file(f"{spec.name}_{number}", target, address)
        return {f"{prefix}_URL": address, f"{prefix}_REPLICAS_FILE": str(file)}

    def _replicas_file(self, caller: str, target: Service, proxied: str) -> Path:
        """Return the file that lists the replicas for one caller; behind a proxy, all that it may reach is that."""
        if not proxied:
            return target.replicas_file
        path = self._folder / f"{target.name}.replicas.for_{caller}.json"
        path.write_text(json.dumps([proxied]))
        return path


def identity(spec: ServiceSpec, number: int) -> dict[str, str]:
    """Return the variables that name a replica in its spans, and ask its process to instrument itself."""
    if not spec.telemetry:
        return {}
    instance = f"service.instance.id={spec.name}-{number}"
    return {ASKED: "traces", "OTEL_SERVICE_NAME": spec.name, "OTEL_RESOURCE_ATTRIBUTES": instance}


def packages(spec: ServiceSpec) -> dict[str, str]:
    """Return the variable that leads to the packages of a service's extra, if that is kept apart.

    Raises:
        MissingProgram: the extra is not installed.
    """
    if not spec.extra:
        return {}
    extras.require(spec.extra, f"{spec.name} imports its packages")
    apart = extras.folder(spec.extra)
    return {"PYTHONPATH": str(apart)} if apart else {}


def reached(spec: ServiceSpec) -> tuple[str, ...]:
    """Return the services that one needs or calls, each once."""
    return tuple(dict.fromkeys((*spec.needs, *spec.calls)))
