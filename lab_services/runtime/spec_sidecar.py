"""The rules for a mesh in a lab.toml: `sidecar` and `labels` of a service, PLANE of an Envoy that stands alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from lab_services.runtime.lab_toml import Table, did_you_mean
from lab_services.runtime.spec_types import ServiceSpec, sidecar_name

LABEL_CHARACTERS = 63  # as in Kubernetes
MOST_DRAIN_SECONDS = 10.0
_LABEL = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


def read_labels(table: Table) -> Mapping[str, str]:
    """Read small texts by small names, such as version = "v2"."""
    for name in table.entries:
        if not _LABEL.fullmatch(name):
            raise table.refuse(
                f"a label cannot be called {name!r}", next_step="use small letters, digits, _, . and -, a letter first"
            )
        if len(table.text(name)) > LABEL_CHARACTERS:
            raise table.refuse(
                f"the label {name!r} of {table.name} is longer than {LABEL_CHARACTERS} characters",
                next_step="write a short word: labels are what routes choose by",
            )
    return MappingProxyType({name: table.text(name) for name in table.entries})


def refuse_odd_sidecars(services: Mapping[str, ServiceSpec], table: Table) -> None:
    """Refuse what cannot stand in a mesh: a service without HTTP or gRPC, a plane that is none, a name taken twice."""
    for name, service in services.items():
        place = table.table(name)
        if service.sidecar:
            _refuse_sidecar(service, services, place)
        if service.plane:
            _refuse_plane(service, services, place)
        elif service.labels:
            raise place.refuse(
                f"nobody reads the 'labels' of {name!r}: it has no sidecar",
                next_step="add sidecar = \"plane\", or remove 'labels'",
            )


def _refuse_sidecar(service: ServiceSpec, services: Mapping[str, ServiceSpec], place: Table) -> None:
    name = service.name
    if service.kind == "server":
        raise place.refuse(
            f"the server {name!r} takes no sidecar",
            evidence="a sidecar stands beside a service that lab.toml starts by 'run' or 'use'",
            next_step="remove 'sidecar'",
        )
    if service.speaks == "tcp":
        raise place.refuse(
            f"{name!r} cannot have a sidecar: it speaks a protocol of its own",
            next_step='remove \'sidecar\', or write speaks = "http" or "grpc"',
        )
    for callee in (*service.needs, *service.calls):
        if "_" in callee and callee in services and services[callee].sidecar and services[callee].speaks == "http":
            raise place.refuse(
                f"{name!r} cannot call {callee!r} through its sidecar",
                evidence=f"http://{callee} is no host name (RFC 1123 has no underscore): Envoy answers 400",
                next_step=f"give {callee!r} a name of letters and digits",
            )
    if sidecar_name(name) in services:
        raise place.refuse(
            f"{sidecar_name(name)!r} is a service, and the name of the sidecar of {name!r}",
            next_step=f"give the service {sidecar_name(name)!r} another name",
        )
    drain = service.env.get("DRAIN_SECONDS", "0")
    if not _SECONDS.fullmatch(drain) or float(drain) > MOST_DRAIN_SECONDS:
        raise place.refuse(
            f"DRAIN_SECONDS of {name!r} is {drain!r}",
            next_step=f'write seconds from 0 to {MOST_DRAIN_SECONDS:g}, such as DRAIN_SECONDS = "0.5"',
        )


def _refuse_plane(service: ServiceSpec, services: Mapping[str, ServiceSpec], place: Table) -> None:
    name, key = service.plane, "PLANE" if service.is_envoy else "sidecar"
    plane = services.get(name)
    if plane is None:
        raise place.refuse(
            f"{key!r} of {service.name} is {name!r}, which is no service here{did_you_mean(name, services)}",
            evidence="services here: " + ", ".join(services),
            next_step=f"add [services.{name}] or correct the name: it is the control plane of the Envoy",
        )
    why = _no_plane(plane, service.name)
    if why:
        raise place.refuse(
            f"{name!r} cannot be the control plane of {service.name!r}: {why}",
            evidence="an Envoy asks a control plane over HTTP or gRPC, before anything of the mesh is there",
            next_step=f"name a service of 'run' or 'use' after {key} that speaks HTTP or gRPC and has no sidecar",
        )


def _no_plane(plane: ServiceSpec, asking: str) -> str:
    """Return why this service cannot be a control plane, or nothing."""
    if plane.name == asking:
        return "it would have to run before itself"
    if plane.kind == "server":
        return "it is a server"
    if plane.sidecar:
        return "it has a sidecar itself"
    return f"it speaks {plane.speaks}" if plane.speaks == "tcp" else ""
