"""What a sidecar costs, measured at the shape `costs` of lab 06 by a program in a process of its own.

A notebook has an event loop with other things to do, which may not be measured along.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .cost_facts import CostRound, MeshCosts, WayCosts
from .of_lab import Running, workloads_of

RUN_SECONDS = 120
ROUNDS = 7
PROGRAM = "lab_services.mesh.cost_times"


@dataclass(frozen=True)
class Way:
    """How to reach the callee: a port of this machine, what is asked for there, and the processes that do the work."""

    name: str
    port: int
    target: str
    host: str
    app: int
    sidecars: tuple[int, ...]


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
    port, target = int(lab[callee].url.rpartition(":")[2]), ""
    if caller:
        outbound = {one.service: one.outbound for one in workloads_of(lab)}
        port, target = outbound[caller], f"http://{callee}"
    pids = [pid for service in sidecars for pid in lab[f"{service}_sidecar"].pids]
    return Way(name, port, target, callee, lab[callee].pids[0], tuple(pids))


def mesh_costs(lab: Running, rounds: int = ROUNDS) -> MeshCosts:
    """Measure at a lab of the shape `costs` that runs; a round takes a second.

    Raises:
        RuntimeError: the measurement has failed, with the end of what it said. A call that was not answered with 200
            is such a failure: nobody must take the speed of errors for that of answers.
    """
    asked = json.dumps({"rounds": rounds, "ways": [asdict(way) for way in ways(lab)]})
    command = [sys.executable, "-m", PROGRAM]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the measurement has failed:\n{done.stderr[-2000:]}")
    return MeshCosts(tuple(map(_facts, json.loads(done.stdout))))


def _facts(found: dict[str, Any]) -> WayCosts:
    rounds = tuple(CostRound(**each) for each in found["rounds"])
    times = {name: tuple(found[name]) for name in ("alone_ms", "waiting_ms")}
    return WayCosts(**{**found, **times, "rounds": rounds})
