"""What a sidecar costs, measured at the shape `costs` of lab 06."""

from __future__ import annotations

from collections.abc import Sequence

from ..measuring import Costs, Way, measured
from ..measuring.ways import ROUNDS
from .of_lab import Running, workloads_of

QUICK, WAITING = "/quotes", "/quotes?milliseconds=10"


def ways(lab: Running) -> tuple[Way, ...]:
    """Return the ways of the shape `costs`, the one without a sidecar first."""
    return (
        _way(lab, "no sidecar", "alone"),
        _way(lab, "the callee's sidecar", "callee", sidecars=["callee"]),
        _way(lab, "both sidecars", "callee", "caller", ["caller", "callee"]),
        _way(lab, "both, mutual TLS", "sealed", "sealing", ["sealing", "sealed"]),
    )


def _way(lab: Running, name: str, callee: str, caller: str = "", sidecars: Sequence[str] = ()) -> Way:
    """Return a way to a callee: to its own address, or by the outbound port of the caller's sidecar.

    That port is a proxy, and is asked for a whole URL, as every HTTP client asks its HTTP_PROXY.
    """
    port, before = int(lab[callee].url.rpartition(":")[2]), ""
    if caller:
        outbound = {one.service: one.outbound for one in workloads_of(lab)}
        port, before = outbound[caller], f"http://{callee}"
    pids = [pid for service in sidecars for pid in lab[f"{service}_sidecar"].pids]
    return Way(name, port, callee, before + QUICK, lab[callee].pids[0], before + WAITING, tuple(pids))


def mesh_costs(lab: Running, rounds: int = ROUNDS) -> Costs:
    """Measure at a lab of the shape `costs` that runs; a round takes a second.

    Raises:
        RuntimeError: as `measured` does.
    """
    return measured(ways(lab), rounds)
