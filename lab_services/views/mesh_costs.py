"""What sidecars cost: ratios within one run, and what others have published beside it."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from ..measuring import Costs, WayCosts
from .chart import INK, PAPER, Chart, paper, quiet_drawing
from .charts import LINES
from .compare import ComparisonTable, three_digits
from .plain_text import visible
from .way_bars import draw_memory, draw_ratios, finish

NAME_CHARACTERS = 40
WAITING = "p50, callee waits 10 ms"
RATIOS = "The same call, each way in the same run: times as much as without a sidecar"
# One sidecar at 1,000 calls a second of 1 kB, two worker threads: 0.20 processors and 60 MB.
SIDECAR_US, SIDECAR_MB = 200.0, 60.0
SIDECAR_SOURCE = "Istio 1.24, November 2024: istio.io, Performance and Scalability"
# Two sidecars with mutual TLS, 1,000 calls a second of 1 kB on 16 connections.
ADDED_P90_MS = 2.65
ADDED_SOURCE = "Istio 1.14, 2022: istio.io/v1.14, Performance and Scalability"


@dataclass(frozen=True, repr=False)
class MeshCostsView:
    """The costs of the ways to one callee, as ratios to the way without a sidecar.

    `picture()` and `published()` set them beside published figures, which come from other machines, a larger mesh and
    sidecars that count and report more: they say whether ours are of the same order, no more.
    """

    costs: Costs

    def __repr__(self) -> str:
        return repr(self._ratios())

    def _repr_html_(self) -> str:
        return self._ratios()._repr_html_()

    def _ratios(self) -> ComparisonTable:
        columns = {
            "p50": self.costs.latency(50),
            "p99": self.costs.latency(99),
            WAITING: self.costs.waiting(),
            "calls/s": self.costs.rate(),
            "processor time": self.costs.processor(),
        }
        rows = [(way.name, *(round(found[way.name], 2) for found in columns.values())) for way in self.costs.ways]
        return ComparisonTable(RATIOS, ("way", *columns), rows)

    def numbers(self) -> ComparisonTable:
        """Return what was measured, one row a way. They hold for this machine in this minute."""
        heads = ("way", "sidecars", "p50 ms", "p99 ms", "calls/s", "app us", "sidecars us", "their private MB")
        return ComparisonTable(
            "One call of 1 kB, each way in the same run", heads, list(map(_numbers, self.costs.ways))
        )

    def published(self) -> ComparisonTable:
        """Return what others have published beside what was measured here, with source and date."""
        last, us, mb = self.costs.ways[-1], *self._one_sidecar()
        added = last.p_ms(90) - self.costs.ways[0].p_ms(90)
        rows = [
            ("processor time of a sidecar for a call, us", us, SIDECAR_US, SIDECAR_SOURCE),
            ("memory of a sidecar, MB (ours: private)", mb, SIDECAR_MB, SIDECAR_SOURCE),
            (f"added to p90 ({visible(last.name, NAME_CHARACTERS)}), ms", added, ADDED_P90_MS, ADDED_SOURCE),
        ]
        return ComparisonTable("A sidecar here, and as published", ("what", "here", "theirs", "source"), rows)

    def _one_sidecar(self) -> tuple[float, float]:
        """Return microseconds for a call, and private MB, of one sidecar: the middle one of all ways that have any."""
        proxied = [way for way in self.costs.ways if way.beside]
        us, mb = (
            [value / way.beside for way, value in zip(proxied, values, strict=True)]
            for values in (
                [way.beside_us() for way in proxied],
                [way.beside_mb for way in proxied],
            )
        )
        return median(us), median(mb)

    def picture(self) -> Chart:
        """Draw the ratios of latency, and processor time and memory beside what is published."""
        names = [visible(way.name, NAME_CHARACTERS) for way in self.costs.ways]
        title = "What a sidecar costs"
        with quiet_drawing():
            figure, (latency, work, memory) = paper(title, columns=3, height=1.9 + 0.5 * len(names))
            ratios = {"p50": self.costs.latency(50), "p99": self.costs.latency(99), WAITING: self.costs.waiting()}
            draw_ratios(latency, names, ratios, "latency, times that without a sidecar")
            _draw_work(work, names, self.costs.ways)
            _draw_memory(memory, names, self.costs.ways)
            for beside in (work, memory):
                beside.set_yticklabels([])
        twin = (
            f"{title}, {', '.join(names)}: latency as a ratio to the first (p50, p99, and p50 when the callee waits "
            f"10 ms); processor time of application and sidecars for a call; private memory of the sidecars. Marked: "
            f"published for so many sidecars, {SIDECAR_US:g} microseconds a call and {SIDECAR_MB:g} MB each "
            f"({SIDECAR_SOURCE})"
        )
        return Chart(figure, twin, f"{twin}. {self._in_words(names)}", self.numbers())

    def _in_words(self, names: list[str]) -> str:
        p50, p99, waiting = self.costs.latency(50), self.costs.latency(99), self.costs.waiting()
        return "; ".join(
            f"{name}: p50 {p50[way.name]:.2f}, p99 {p99[way.name]:.2f}, with a wait {waiting[way.name]:.2f}; "
            f"application {three_digits(way.app_us())} and sidecars {three_digits(way.beside_us())} microseconds; "
            f"{three_digits(way.beside_mb)} MB"
            for name, way in zip(names, self.costs.ways, strict=True)
        )


def _numbers(way: WayCosts) -> tuple[object, ...]:
    measured = way.p_ms(50), way.p_ms(99), round(way.per_second()), round(way.app_us()), round(way.beside_us())
    return way.name, way.beside, *measured, way.beside_mb


def _draw_work(axes: Any, names: list[str], ways: tuple[WayCosts, ...]) -> None:
    places, app = range(len(names)), [way.app_us() for way in ways]
    axes.barh(places, app, 0.5, color=LINES[0][0], label="application")
    own = [way.beside_us() for way in ways]
    bars = axes.barh(places, own, 0.5, left=app, color=LINES[1][0], hatch="//", edgecolor=PAPER, label="sidecars")
    sums = [f"{a:.0f} + {b:.0f}" for a, b in zip(app, own, strict=True)]
    axes.bar_label(bars, sums, padding=3, color=INK, fontsize=8)
    _mark(axes, [(a + SIDECAR_US * way.beside, way.beside) for a, way in zip(app, ways, strict=True)])
    finish(axes, names, "processor time for a call, us")


def _draw_memory(axes: Any, names: list[str], ways: tuple[WayCosts, ...]) -> None:
    draw_memory(axes, [way.beside_mb for way in ways], "sidecars")
    _mark(axes, [(SIDECAR_MB * way.beside, way.beside) for way in ways])
    finish(axes, names, "private memory, MB")


def _mark(axes: Any, published: list[tuple[float, int]]) -> None:
    """Mark what is published for ways that have sidecars."""
    found = [(value, place) for place, (value, sidecars) in enumerate(published) if sidecars]
    if found:
        values, places = zip(*found, strict=True)
        above = [place - 0.36 for place in places]
        axes.scatter(values, above, marker="v", s=36, color=INK, zorder=5, label="published")
