"""What it costs to watch a service: orders that hold on any machine, and the ratios of one run."""

from __future__ import annotations

from dataclasses import dataclass

from ..measuring import Costs, WayCosts
from .chart import Chart, paper, quiet_drawing
from .compare import ComparisonTable, three_digits
from .plain_text import visible
from .way_bars import draw_memory, draw_ratios, finish

NAME_CHARACTERS = 40
TITLE = "What watching a service costs"
ORDERS = "The same call, each way in the same run: times as much as by the first way"
MANY, SOME = 5.0, 2.0  # measured: 3.5 times the processor time at most, and 1.4 times the memory


@dataclass(frozen=True, repr=False)
class TelemetryCostsView:
    """The costs of watching one service in several ways, compared to the first way.

    The default form gives orders, which are the same in every run on any machine. p99 and calls a second are not: they
    hang on what else the machine does. `numbers()` and `picture()` give what was measured in this run.
    """

    costs: Costs

    def __repr__(self) -> str:
        return repr(self._orders())

    def _repr_html_(self) -> str:
        return self._orders()._repr_html_()

    def _orders(self) -> ComparisonTable:
        p50, _, work = self._ratios()
        first = self.costs.ways[0].app_mb
        rows = [
            (
                way.name,
                *(_most(found[way.name], MANY) for found in (p50, work)),
                _most(way.app_mb / first, SOME),
            )
            for way in self.costs.ways[1:]
        ]
        heads = ("way", "p50", "processor time", "private memory")
        return ComparisonTable(ORDERS, heads, [(self.costs.ways[0].name, *["1"] * 3), *rows])

    def _ratios(self) -> tuple[dict[str, float], ...]:
        costs = self.costs
        return costs.latency(50), costs.latency(99), costs.processor()

    def numbers(self) -> ComparisonTable:
        """Return what was measured, one row a way. They hold for this machine in this minute."""
        work, rate = self.costs.processor(), self.costs.rate()
        rows = [(*_numbers(way), round(work[way.name], 2), round(rate[way.name], 2)) for way in self.costs.ways]
        heads = ("p50 ms", "p99 ms", "calls/s", "processor us", "private MB", "processor, times", "calls/s, times")
        return ComparisonTable("One call, each way in the same run", ("way", *heads), rows)

    def picture(self) -> Chart:
        """Draw the ratios of latency and processor time, and the memory of the process."""
        names = [visible(way.name, NAME_CHARACTERS) for way in self.costs.ways]
        p50, p99, work = self._ratios()
        with quiet_drawing():
            figure, (ratios, memory) = paper(TITLE, columns=2, height=1.9 + 0.5 * len(names))
            label = "times as much as by the first way"
            draw_ratios(ratios, names, {"p50": p50, "p99": p99, "processor time": work}, label)
            draw_memory(memory, [way.app_mb for way in self.costs.ways], "the service's process")
            finish(memory, names, "private memory, MB")
            memory.set_yticklabels([])
        twin = (
            f"{TITLE} ({'; '.join(names)}): p50, p99 and processor time of a call as ratios to the first; private "
            "memory of the service's process"
        )
        return Chart(figure, twin, f"{twin}. {self._in_words(names)}", self.numbers())

    def _in_words(self, names: list[str]) -> str:
        p50, p99, work = self._ratios()
        return "; ".join(
            f"{name}: p50 {p50[way.name]:.2f}, p99 {p99[way.name]:.2f}, processor time {work[way.name]:.2f}; "
            f"{three_digits(way.app_mb)} MB"
            for name, way in zip(names, self.costs.ways, strict=True)
        )


def _numbers(way: WayCosts) -> tuple[object, ...]:
    return way.name, way.p_ms(50), way.p_ms(99), round(way.per_second()), round(way.app_us()), way.app_mb


def _most(ratio: float, times: float) -> str:
    return f"{'up to' if ratio <= times else 'more than'} {times:g} times"
