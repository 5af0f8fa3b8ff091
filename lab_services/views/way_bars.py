"""Bars for ways to one answer, one row a way: what the pictures of measured costs have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .chart import INK, PAPER
from .charts import LINES

HATCHES = ("", "//", "..")
THICK = 0.27


def draw_ratios(axes: Any, names: Sequence[str], ratios: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Draw up to three ratios of each way as bars beside each other, and a line where the first way is.

    `ratios` has a value for each way by the name of the ratio, in the order of `names`.
    """
    for at, ((named, found), (colour, _), hatch) in enumerate(zip(ratios.items(), LINES, HATCHES, strict=False)):
        places = [number + THICK * (at - 1) for number in range(len(names))]
        bars = axes.barh(places, list(found.values()), 0.25, color=colour, hatch=hatch, edgecolor=PAPER, label=named)
        axes.bar_label(bars, [f"{ratio:.2f}" for ratio in found.values()], padding=3, color=INK, fontsize=8)
    axes.axvline(1.0, color=INK, linestyle="--", linewidth=1)
    finish(axes, names, label)


def draw_memory(axes: Any, megabytes: Sequence[float], label: str) -> None:
    """Draw what processes hold that nobody else holds."""
    bars = axes.barh(range(len(megabytes)), megabytes, 0.5, color=LINES[1][0], hatch="//", edgecolor=PAPER, label=label)
    axes.bar_label(bars, [f"{each:.0f}" for each in megabytes], padding=3, color=INK, fontsize=8)


def finish(axes: Any, names: Sequence[str], label: str) -> None:
    """Name the rows, from the top down, and what the bars measure."""
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.35)
    axes.set_xlim(left=0)
    axes.set_xlabel(label, color=INK)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.25))
