"""How many replicas a service can have, and who is not scaled at all."""

from __future__ import annotations

from lab_services.errors import UnknownName
from lab_services.runtime.spec_types import ServiceSpec

MOST_REPLICAS = 16


def refuse_count(spec: ServiceSpec, count: int, running: int) -> None:
    """Refuse a number of replicas that cannot be.

    Raises:
        UnknownName: it is not between 1 and 16, or it is a server or a sidecar.
    """
    if spec.kind == "sidecar":
        raise UnknownName(
            f"{spec.name} cannot be scaled: a sidecar stands beside each {spec.target}",
            where=spec.name,
            evidence=f"there are {running} of each",
            next_step=f'lab.scale("{spec.target}", {count})',
        )
    if spec.kind == "server" and count != running:
        raise UnknownName(
            f"{spec.name} cannot be scaled: it is a server, and its nodes are told of each other when they start",
            where=spec.name,
            evidence=f"lab.toml asks for {spec.replicas}, and so many there are",
            next_step="write another number after replicas = in lab.toml, then open the lab again",
        )
    if not 1 <= count <= MOST_REPLICAS:
        raise UnknownName(
            f"{spec.name} cannot have {count} replicas",
            where=spec.name,
            evidence=f"between 1 and {MOST_REPLICAS} are possible",
            next_step=f'lab.scale("{spec.name}", 3)',
        )
