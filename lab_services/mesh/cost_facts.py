"""What calls through sidecars have cost, as plain frozen facts: measured by `costs`, drawn by the view of the costs.

The ways have taken turns, so whatever else the machine did met all of them: their ratios are worth more than their
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class CostRound:
    """`calls` on several connections at once, in `seconds`, and the processor time spent on them."""

    calls: int
    seconds: float
    app_seconds: float
    sidecars_seconds: float

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


@dataclass(frozen=True)
class WayCosts:
    """A way to the callee through so many sidecars, which hold `private_mb` (10^6 bytes) that nobody else holds.

    `alone_ms` are the calls on one connection, in order; `waiting_ms` those for which the callee waits 10 ms.
    """

    name: str
    sidecars: int
    private_mb: float
    alone_ms: tuple[float, ...]
    waiting_ms: tuple[float, ...]
    rounds: tuple[CostRound, ...]

    def p_ms(self, percent: int) -> float:
        """Return in how many milliseconds so many percent of the calls on one connection were answered."""
        return self.alone_ms[len(self.alone_ms) * percent // 100]

    def per_second(self) -> float:
        """Return the calls a second on several connections, in the middle one of the rounds."""
        return median(each.per_second for each in self.rounds)

    def app_us(self) -> float:
        """Return the microseconds of processor time that the application spends on a call."""
        return self._microseconds(lambda each: each.app_seconds)

    def sidecars_us(self) -> float:
        """Return the microseconds of processor time that all sidecars of the way spend on a call."""
        return self._microseconds(lambda each: each.sidecars_seconds)

    def _microseconds(self, seconds: Callable[[CostRound], float]) -> float:
        """Add all rounds up: the clock of a process ticks 100 times a second, too coarse for one round."""
        return 1e6 * sum(map(seconds, self.rounds)) / sum(each.calls for each in self.rounds)


@dataclass(frozen=True)
class MeshCosts:
    """The ways that took turns; the first one has no sidecar, and the others are compared to it.

    Each method returns how many times as much a way has as the first, by the way's name.
    """

    ways: tuple[WayCosts, ...]

    def latency(self, percent: int) -> dict[str, float]:
        """Compare what so many percent of the calls took at most."""
        return self._ratios(lambda way: way.p_ms(percent))

    def waiting(self) -> dict[str, float]:
        """Compare the median of calls for which the callee waits 10 ms, as for a database."""
        return self._ratios(lambda way: median(way.waiting_ms))

    def processor(self) -> dict[str, float]:
        """Compare the processor time that application and sidecars spend on a call; that of the caller is left out."""
        return self._ratios(lambda way: way.app_us() + way.sidecars_us())

    def rate(self) -> dict[str, float]:
        """Compare the calls a second within each round, and take the middle one of the rounds."""
        first = self.ways[0].rounds
        return {
            way.name: median(own.per_second / one.per_second for own, one in zip(way.rounds, first, strict=True))
            for way in self.ways
        }

    def _ratios(self, number: Callable[[WayCosts], float]) -> dict[str, float]:
        return {way.name: number(way) / number(self.ways[0]) for way in self.ways}
