"""What calls by several ways have cost, as plain frozen facts: measured by `measured`, drawn by views.

The ways have taken turns, so whatever else the machine did met all of them: their ratios are worth more than their
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Round:
    """`calls` on several connections at once, in `seconds`, and the processor time that both kinds of process spent."""

    calls: int
    seconds: float
    app_seconds: float
    beside_seconds: float

    @property
    def per_second(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


@dataclass(frozen=True)
class WayCosts:
    """A way to an application, with so many processes `beside` it (sidecars, of a mesh).

    `app_mb` and `beside_mb` are what the application and those others hold that nobody else holds (10^6 bytes).
    `alone_ms` are the calls on one connection, in order; `waiting_ms` those for which the application waits 10 ms.
    """

    name: str
    beside: int
    app_mb: float
    beside_mb: float
    alone_ms: tuple[float, ...]
    waiting_ms: tuple[float, ...]
    rounds: tuple[Round, ...]

    def p_ms(self, percent: int) -> float:
        """Return in how many milliseconds so many percent of the calls on one connection were answered."""
        return self.alone_ms[len(self.alone_ms) * percent // 100]

    def per_second(self) -> float:
        """Return the calls a second on several connections, in the middle one of the rounds."""
        return median(each.per_second for each in self.rounds)

    def app_us(self) -> float:
        """Return the microseconds of processor time that the application spends on a call."""
        return self._microseconds(lambda each: each.app_seconds)

    def beside_us(self) -> float:
        """Return the microseconds of processor time that all processes beside it spend on a call."""
        return self._microseconds(lambda each: each.beside_seconds)

    def _microseconds(self, seconds: Callable[[Round], float]) -> float:
        """Add all rounds up: the clock of a process ticks 100 times a second, too coarse for one round."""
        return 1e6 * sum(map(seconds, self.rounds)) / sum(each.calls for each in self.rounds)


@dataclass(frozen=True)
class Costs:
    """The ways that took turns; all are compared to the first.

    Each method returns how many times as much a way has as the first, by the way's name.
    """

    ways: tuple[WayCosts, ...]

    def latency(self, percent: int) -> dict[str, float]:
        """Compare what so many percent of the calls took at most."""
        return self._ratios(lambda way: way.p_ms(percent))

    def waiting(self) -> dict[str, float]:
        """Compare the median of calls for which the application waits 10 ms, as for a database.

        Raises ValueError when there were none.
        """
        return self._ratios(lambda way: median(way.waiting_ms))

    def processor(self) -> dict[str, float]:
        """Compare the processor time spent on a call, by all processes of a way; that of the caller is left out."""
        return self._ratios(lambda way: way.app_us() + way.beside_us())

    def rate(self) -> dict[str, float]:
        """Compare the calls a second within each round, and take the middle one of the rounds."""
        first = self.ways[0].rounds
        return {
            way.name: median(own.per_second / one.per_second for own, one in zip(way.rounds, first, strict=True))
            for way in self.ways
        }

    def _ratios(self, number: Callable[[WayCosts], float]) -> dict[str, float]:
        return {way.name: number(way) / number(self.ways[0]) for way in self.ways}
