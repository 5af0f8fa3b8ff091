"""Rate, errors, duration of services, side by side: small pictures of the same scale, and the same in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..telemetry.red import Points, RedFacts
from .chart import INK, Chart, paper_grid, quiet_drawing
from .charts import LINES
from .compare import ComparisonTable, three_digits
from .plain_text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME_CHARACTERS = 40
PANELS = ("calls a second", "failed calls a second", "duration, ms")
ROW_INCHES = 1.7
# A picture and the words tell orders of magnitude apart, so that stored words are true again in the next run.
SHARES = ((0.0, "none"), (0.01, "under 1 %"), (0.1, "1 to 10 %"), (0.5, "10 to 50 %"), (1.0, "over 50 %"))
SECONDS = ((0.01, "under 10 ms"), (0.1, "10 to 100 ms"), (1.0, "100 ms to 1 s"), (float("inf"), "over 1 s"))


@dataclass(frozen=True, repr=False)
class RedPanels:
    """What services did over a stretch of time: in words the orders, by `numbers()` and `picture()` the figures."""

    title: str
    services: tuple[RedFacts, ...]

    def __repr__(self) -> str:
        return repr(self._orders())

    def _repr_html_(self) -> str:
        return self._orders()._repr_html_()

    def _orders(self) -> ComparisonTable:
        heads = ("service", "calls", "failed", "nine in ten within", "99 in 100 within")
        return ComparisonTable(visible(self.title), heads, [_order_row(facts) for facts in self.services])

    def numbers(self) -> ComparisonTable:
        """Return what was measured: means over the time, and the middle of each quantile."""
        heads = ("service", "calls/s", "failed, %", "p50 ms", "p90 ms", "p99 ms")
        return ComparisonTable(visible(self.title), heads, [_number_row(facts) for facts in self.services])

    def picture(self) -> Chart:
        """Draw three panels for each service; a panel has the same scale for all, so that they can be compared.

        Raises ValueError without a service.
        """
        if not self.services:
            raise ValueError("RED panels need at least one service")
        times = [at for facts in self.services for points in _all_points(facts) for at, _ in points]
        begin, end = (min(times), max(times)) if times else (0.0, 1.0)
        with quiet_drawing():
            figure, rows = paper_grid(self.title, len(self.services), len(PANELS), ROW_INCHES)
            for facts, row in zip(self.services, rows, strict=True):
                _draw_row(facts, row, begin)
            for axes, name in zip(rows[0], PANELS, strict=True):
                axes.set_title(name, color=INK, fontsize=9)
            for axes in rows[-1]:
                axes.set_xlabel("seconds", color=INK, fontsize=8)
            for column in zip(*rows, strict=True):
                top = max(axes.get_ylim()[1] for axes in column)
                for axes in column:
                    axes.set_ylim(0, top)
                    axes.set_xlim(0, end - begin or 1.0)
        names = ", ".join(visible(facts.service, NAME_CHARACTERS) for facts in self.services)
        twin = f"{visible(self.title)}: calls, failed calls and duration over time, a row for each of {names}"
        return Chart(figure, twin, f"{twin}. {'; '.join(map(_words, self.services))}", self.numbers())


def order(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """Return the word for a value: that of the first step which it does not exceed, or of the last."""
    return next((word for most, word in steps if value <= most), steps[-1][1])


def _order_row(facts: RedFacts) -> tuple[object, ...]:
    failed, p90, p99 = facts.failed_share, facts.seconds(0.9), facts.seconds(0.99)
    return (
        facts.service,
        facts.calls_per_second > 0,
        None if failed is None else order(failed, SHARES),
        None if p90 is None else order(p90, SECONDS),
        None if p99 is None else order(p99, SECONDS),
    )


def _number_row(facts: RedFacts) -> tuple[object, ...]:
    failed = facts.failed_share
    quantiles = [facts.seconds(quantile) for quantile in (0.5, 0.9, 0.99)]
    milliseconds = [None if seconds is None else 1000 * seconds for seconds in quantiles]
    return (facts.service, facts.calls_per_second, None if failed is None else 100 * failed, *milliseconds)


def _words(facts: RedFacts) -> str:
    failed, p99 = facts.failed_share, facts.seconds(0.99)
    return (
        f"{visible(facts.service, NAME_CHARACTERS)}: {three_digits(facts.calls_per_second)} calls a second"
        + ("" if failed is None else f", {three_digits(100 * failed)} % failed")
        + ("" if p99 is None else f", 99 in 100 within {three_digits(1000 * p99)} ms")
    )


def _all_points(facts: RedFacts) -> list[Points]:
    return [facts.rate, facts.errors, *(points for _, points in facts.durations)]


def _draw_row(facts: RedFacts, row: list[Axes], begin: float) -> None:
    rate, errors, duration = row
    _line(rate, facts.rate, begin, LINES[0])
    failed = dict(facts.errors)  # no series has failed calls where none has ever failed
    _line(errors, tuple((at, failed.get(at, 0.0)) for at, _ in facts.rate), begin, LINES[1])
    for style, (quantile, points) in zip(LINES[2:], facts.durations, strict=False):
        _line(duration, points, begin, style, lambda seconds: 1000 * seconds, f"p{100 * quantile:g}")
    if duration.lines:
        duration.legend(frameon=False, labelcolor=INK, fontsize=7, handlelength=4)
    rate.set_ylabel(visible(facts.service, 20), color=INK, fontsize=9)


def _line(
    axes: Axes,
    points: Points,
    begin: float,
    style: Any,
    scale: Callable[[float], float] = lambda value: value,
    label: str = "",
) -> None:
    if points:
        times, values = zip(*((at - begin, scale(value)) for at, value in points), strict=True)
        axes.plot(times, values, color=style[0], linestyle=style[1], linewidth=1.8, label=label)
