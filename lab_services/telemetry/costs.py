"""What instrumentation costs a request, measured at the shape `costs` of lab 07.

A finished service that is watched also writes a line of JSON for each request, which is counted as part of it. So is
sending the spans, by a thread of the service's process; what their store does with them is not.
"""

from __future__ import annotations

from typing import Protocol

from ..measuring import Costs, Way, measured
from ..measuring.ways import ROUNDS

WAYS = {"unwatched": "plain", "counted and logged": "counted", "counted, logged and traced": "traced"}
QUOTE = "/quote?minutes=30"


class Handle(Protocol):
    """A service of a running lab."""

    url: str
    pids: tuple[int, ...]


class Running(Protocol):
    """A running lab."""

    def __getitem__(self, name: str) -> Handle:
        """Return a service."""


def ways(lab: Running) -> tuple[Way, ...]:
    """Return the ways of the shape `costs`: the same service three times, the one that nobody watches first."""
    return tuple(_way(name, service, lab[service]) for name, service in WAYS.items())


def _way(name: str, service: str, handle: Handle) -> Way:
    return Way(name, int(handle.url.rpartition(":")[2]), service, QUOTE, handle.pids[0])


def telemetry_costs(lab: Running, rounds: int = ROUNDS) -> Costs:
    """Measure at a lab of the shape `costs` that runs; a round takes about a second.

    Raises:
        RuntimeError: as `measured` does.
    """
    return measured(ways(lab), rounds)
