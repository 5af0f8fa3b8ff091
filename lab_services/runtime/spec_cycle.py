"""The rule that no services of a lab.toml need each other in a circle."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from lab_services.runtime.lab_toml import Table
from lab_services.runtime.spec_types import ServiceSpec


def refuse_cycle(services: Mapping[str, ServiceSpec], table: Table) -> None:
    """Refuse a circle, drawn from the service of it that stands first."""
    try:
        before = {name: (*s.needs, *filter(None, (s.plane, s.telemetry))) for name, s in services.items()}
        TopologicalSorter(before).prepare()
    except CycleError as error:
        ring = list(reversed(error.args[1]))[:-1]  # graphlib names the needed one first
        first = ring.index(min(ring, key=list(services).index))
        drawn = " -> ".join([*ring[first:], *ring[:first], ring[first]])
        raise table.refuse(
            f"the services need each other in a circle: {drawn}",
            next_step="move one of these names from 'needs' to 'calls': its URL is given, start order is free",
        ) from None
