"""The rules for `telemetry` in a lab.toml: which service takes the spans of another one."""

from __future__ import annotations

from collections.abc import Mapping

from lab_services import extras
from lab_services.runtime.lab_toml import Table, did_you_mean
from lab_services.runtime.spec_types import Kind, ServiceSpec


def read_telemetry(table: Table, name: str, kind: Kind, speaks: str, typescript: bool, extra: str) -> str:
    """Return the name of the service that takes the spans, or nothing; refuse it where nothing can be instrumented."""
    if "telemetry" not in table.entries:
        return ""
    why = ""
    if kind == "server":
        why = "it is a server, no program of Python"
    elif typescript:
        why = "it is a TypeScript program"
    elif speaks == "tcp":
        why = "it speaks a protocol of its own, and nobody knows where a call begins"
    elif extra and extras.folder(extra) is not None:
        why = f"the extra {extra!r} brings another OpenTelemetry"
    if why:
        raise table.refuse(
            f"{name!r} cannot be instrumented: {why}",
            evidence="services of 'run' or 'use' can that are written in Python and speak HTTP or gRPC",
            next_step="remove 'telemetry'",
        )
    return table.text("telemetry")


def refuse_odd_telemetry(services: Mapping[str, ServiceSpec], table: Table) -> None:
    """Refuse a collector that is no service of this system, or none that answers HTTP."""
    for name, service in services.items():
        if not service.telemetry:
            continue
        place, collector = table.table(name), services.get(service.telemetry)
        if collector is None:
            raise place.refuse(
                f"'telemetry' of {name} is {service.telemetry!r}, which is no service here"
                + did_you_mean(service.telemetry, services),
                evidence="services here: " + ", ".join(services),
                next_step=f'add [services.{service.telemetry}] with use = "traces", or correct the name',
            )
        if why := _no_collector(collector, name):
            raise place.refuse(
                f"{collector.name!r} cannot take the spans of {name!r}: {why}",
                evidence="spans are sent as OTLP over HTTP: POST /v1/traces",
                next_step='name a service with use = "traces"',
            )


def _no_collector(collector: ServiceSpec, asking: str) -> str:
    """Return why this service cannot take spans, or nothing."""
    if collector.name == asking:
        return "every span that it took would make one more"
    if collector.kind == "server":
        return "it is a server"
    if collector.sidecar:
        return "it has a sidecar, and spans go past the mesh"
    return f"it speaks {collector.speaks}" if collector.speaks != "http" else ""
