"""Pictures of measurements: latencies side by side, ratios beside published ones.

Matplotlib is imported when the first picture is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .chart import INK, PAPER, Chart, paper, quiet_drawing
from .compare import ComparisonTable, three_digits
from .plain_text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Six colours told apart by people with any colour vision, each at least 4.5 to 1 against the paper, and never alone.
LINES = (
    ("#0060a8", "-"),
    ("#b34700", "--"),
    ("#00664d", "-."),
    ("#8a1a5c", ":"),
    ("#000000", (0, (8, 2, 1, 2, 1, 2))),
    ("#6a4c00", (0, (1, 3))),
)
_PERCENTILES = (0.5, 0.9, 0.99, 0.999, 0.9999)
_NAME_CHARACTERS = 40
Drawn = TypeVar("Drawn")


def latency_chart(title: str, milliseconds: Mapping[str, Sequence[float]], *, twin: str = "") -> Chart:
    """Draw, for each named series of latencies in ms, how often each latency came and what the slowest calls took.

    Raises ValueError for a series that is empty or holds something other than finite numbers from 0.
    """
    if not milliseconds:
        raise ValueError("a latency chart needs at least one series")
    title, series = visible(title), _named({name: _checked(name, values) for name, values in milliseconds.items()})
    with quiet_drawing():
        figure, (often, slow) = paper(title, columns=2)
        _draw_histogram(often, series)
        _draw_percentiles(slow, series)
    drawn = f"{title}: how often each latency came, and what the slowest calls took, for {', '.join(series)}"
    rows = [_latency_row(name, values) for name, values in series.items()]
    numbers = ComparisonTable(f"{title}, in ms", ("series", "calls", "p50", "p90", "p99", "slowest"), rows)
    return Chart(figure, twin or drawn, f"{twin or drawn}. {_latency_words(series)}", numbers)


def ratio_chart(
    title: str,
    ratios: Mapping[str, float],
    *,
    band: tuple[float, float] | None = None,
    source: str = "",
    twin: str = "",
) -> Chart:
    """Draw ratios as bars from 0, the line of no difference at 1, and the band that `source` has published."""
    if not ratios or not all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios.values()):
        raise ValueError("a ratio chart needs ratios that are finite and not negative")
    title, named = visible(title), _named(ratios)
    with quiet_drawing():
        figure, (axes,) = paper(title, columns=1, height=1.6 + 0.5 * len(named))
        _draw_bars(axes, named, band, source)
        figure.legend(frameon=False, labelcolor=INK, loc="outside lower left", ncols=2)
    said = _band_words(band, source)
    drawn = f"{title}: a bar for each of {', '.join(named)}" + (f"; {said}" if said else "")
    words = ", ".join(f"{name} {three_digits(ratio)}" for name, ratio in named.items())
    return Chart(figure, twin or drawn, f"{twin or drawn}. {words}", _ratio_numbers(title, named, band))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the ordered values do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _draw_histogram(axes: Axes, series: Mapping[str, list[float]]) -> None:
    edges = _bin_edges([value for values in series.values() for value in values])
    for (name, values), (colour, line) in zip(series.items(), _styles(len(series)), strict=True):
        shares = [100 / len(values)] * len(values)
        axes.hist(values, edges, weights=shares, histtype="step", label=name, color=colour, linestyle=line, linewidth=2)
    if _far_apart(edges[0], edges[-1]):
        _logarithmic(axes)
    axes.set_xlabel("latency of a call, ms", color=INK)
    axes.set_ylabel("share of calls, %", color=INK)


def _draw_percentiles(axes: Axes, series: Mapping[str, list[float]]) -> None:
    for (name, values), (colour, line) in zip(series.items(), _styles(len(series)), strict=True):
        count = len(values)
        rare = [count / (count - at) for at in range(count)]
        axes.plot(rare, values, drawstyle="steps-post", label=name, color=colour, linestyle=line, linewidth=2)
    longest = max(len(values) for values in series.values())
    marks = [share for share in _PERCENTILES if 1 / (1 - share) <= longest] or [0.5]
    axes.set_xscale("log")
    axes.set_xticks([1 / (1 - share) for share in marks], [f"{100 * share:g} %" for share in marks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of calls at least as fast", color=INK)
    axes.set_ylabel("latency of a call, ms", color=INK)
    axes.legend(frameon=False, handlelength=4, labelcolor=INK)


def _draw_bars(axes: Axes, ratios: Mapping[str, float], band: tuple[float, float] | None, source: str) -> None:
    if band is not None:
        axes.axvspan(*band, facecolor="#d9d9d9", edgecolor="#595959", hatch="//", label=_band_words(band, source))
    bars = axes.barh(range(len(ratios)), list(ratios.values()), color=LINES[0][0], height=0.55, zorder=2)
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
    labels = [three_digits(ratio) for ratio in ratios.values()]
    axes.bar_label(bars, labels, padding=4, color=INK, bbox=ground, zorder=4)
    axes.axvline(1.0, color=INK, linestyle="--", linewidth=1.5, label="1: no difference", zorder=3)
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel("ratio", color=INK)


def _styles(count: int) -> list[Any]:
    return [LINES[at % len(LINES)] for at in range(count)]


def _far_apart(low: float, high: float) -> bool:
    """Tell whether latencies need a logarithmic scale: they span more than a factor 20."""
    return low > 0 and high / low > 20


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _bin_edges(values: Sequence[float], bins: int = 40) -> list[float]:
    """Return edges evenly spaced, on a logarithmic scale when the values lie far apart."""
    low, high = min(values), max(values)
    if _far_apart(low, high):
        return [low * (high / low) ** (at / bins) for at in range(bins)] + [high]
    width = (high - low) / bins or 0.1
    return [low + at * width for at in range(bins)] + [max(high, low + bins * width)]


def _named(given: Mapping[str, Drawn]) -> dict[str, Drawn]:
    """Give each series a name fit for a legend: matplotlib leaves out one that is empty or begins with "_"."""
    named = {}
    for name, value in given.items():
        shown = visible(name, _NAME_CHARACTERS)
        named[f" {shown}" if shown.startswith("_") else shown or "(no name)"] = value
    if len(named) < len(given):
        raise ValueError(f"two of these names look the same when drawn: {list(given)}")
    return named


def _checked(name: str, values: Sequence[float]) -> list[float]:
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"the series {name!r} is empty or holds something other than finite numbers from 0")
    return sorted(float(value) for value in values)


def _latency_row(name: str, ordered: list[float]) -> tuple[object, ...]:
    p99 = percentile(ordered, 0.99) if len(ordered) >= 100 else None  # of fewer calls there is no slowest hundredth
    return (name, len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.9), p99, ordered[-1])


def _latency_words(series: Mapping[str, list[float]]) -> str:
    return "; ".join(
        f"{name}: half of the calls within {three_digits(percentile(values, 0.5))} ms, "
        f"nine in ten within {three_digits(percentile(values, 0.9))} ms, the slowest {three_digits(values[-1])} ms"
        for name, values in series.items()
    )


def _band_words(band: tuple[float, float] | None, source: str) -> str:
    if band is None:
        return ""
    by = f" ({visible(source, 80)})" if source else ""
    return f"published: {three_digits(band[0])} to {three_digits(band[1])}{by}"


def _ratio_numbers(title: str, ratios: Mapping[str, float], band: tuple[float, float] | None) -> ComparisonTable:
    if band is None:
        return ComparisonTable(title, ("what", "ratio"), list(ratios.items()))
    rows = [(name, ratio, band[0] <= ratio <= band[1]) for name, ratio in ratios.items()]
    return ComparisonTable(title, ("what", "ratio", "within the published band"), rows)
