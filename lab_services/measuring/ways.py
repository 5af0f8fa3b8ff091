"""The ways to be measured, and the program that measures them, in a process of its own.

A notebook has an event loop with other things to do, which may not be measured along.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .facts import Costs, Round, WayCosts

RUN_SECONDS = 120
ROUNDS = 7
PROGRAM = "lab_services.measuring.times"


@dataclass(frozen=True)
class Way:
    """How to reach an application: a port of this machine, what is asked for there, and the processes that do the work.

    `quick` is a target that is answered at once; `waiting` one for which the application waits 10 ms, or "" where it
    has none. `app` is its process, `beside` are those that stand beside it and work for the same call.
    """

    name: str
    port: int
    host: str
    quick: str
    app: int
    waiting: str = ""
    beside: tuple[int, ...] = ()


def measured(ways: Sequence[Way], rounds: int = ROUNDS) -> Costs:
    """Measure ways that can be gone now; four of them take a second for a round.

    Raises:
        RuntimeError: the measurement has failed, with the end of what it said. A call that was not answered with 200
            is such a failure: nobody must take the speed of errors for that of answers.
    """
    asked = json.dumps({"rounds": rounds, "ways": [asdict(way) for way in ways]})
    command = [sys.executable, "-m", PROGRAM]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the measurement has failed:\n{done.stderr[-2000:]}")
    return Costs(tuple(map(_facts, json.loads(done.stdout))))


def _facts(found: dict[str, Any]) -> WayCosts:
    rounds = tuple(Round(**each) for each in found["rounds"])
    times = {name: tuple(found[name]) for name in ("alone_ms", "waiting_ms")}
    return WayCosts(**{**found, **times, "rounds": rounds})
