"""Bad weather between services, decided by a seed: decision n on an edge depends on nothing but (seed, edge, n).

So two runs in the same weather with the same seed meet the same faults in the same order on every edge, however many
requests travel on other edges meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

PASS = "pass"
DROP = "drop"  # the request never reaches the target; the connection is closed
RESET = "reset"  # the request never reaches the target; the connection is reset
LOSE = "lose"  # the request takes effect; its answer is lost and the connection closed: the classical lost answer


@dataclass(frozen=True)
class Weather:
    """How bad it is: the longest delay of one round trip in seconds, and the share of requests that meet each fate."""

    name: str
    delay_seconds: float = 0.0
    drops: float = 0.0
    resets: float = 0.0
    lost_answers: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What happens to one request: the delays on its way there and back in seconds, and its fate."""

    there: float = 0.0
    back: float = 0.0
    fate: str = PASS


WEATHERS = {
    weather.name: weather
    for weather in (
        Weather("calm"),
        Weather("drizzle", delay_seconds=0.03, drops=0.01),
        Weather("storm", delay_seconds=0.2, resets=0.03, lost_answers=0.03),
    )
}


def decide(seed: int, edge: str, weather: Weather, n: int) -> Decision:
    """Return decision number `n` (from 1) on `edge`; each way gets at most half of the weather's delay."""
    draw = random.Random(f"{seed}/{edge}/{n}")
    half = weather.delay_seconds / 2
    return Decision(draw.random() * half, draw.random() * half, _fate(draw.random(), weather))


def decisions(seed: int, edge: str, weather: str) -> Iterator[Decision]:
    """Return all decisions of that weather on that edge, without end; what the fault proxy follows."""
    return (decide(seed, edge, WEATHERS[weather], n) for n in count(1))


def _fate(share: float, weather: Weather) -> str:
    for fate, part in ((DROP, weather.drops), (RESET, weather.resets), (LOSE, weather.lost_answers)):
        if share < part:
            return fate
        share -= part
    return PASS
