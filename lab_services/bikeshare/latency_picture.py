"""The latency of each percentile as a matplotlib figure that also says in words what it shows."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

from matplotlib.figure import Figure


class LatencyPicture(Figure):
    """A figure with a text twin: `words`, which is also its plain form and the description of its image."""

    def __init__(self, title: str, noun: str, curve: tuple[tuple[float, float], ...]) -> None:
        super().__init__(figsize=(7, 3.2), layout="constrained")
        points = ", ".join(f"{share:g} %: {ms:.1f} ms" for share, ms in curve)
        self.words = f"{title}. Share of {noun} that took at most this long: {points}."
        axes = self.add_subplot()
        places = range(len(curve))
        axes.plot(places, [ms for _, ms in curve], marker="o")
        axes.set_xticks(places, [f"{share:g}" for share, _ in curve])
        axes.set_yscale("log")
        axes.set_xlabel(f"share of {noun}, in percent")
        axes.set_ylabel("at most, in ms")
        axes.set_title(title)
        axes.grid(True, alpha=0.4)
        for place, (share, ms) in enumerate(curve):
            if share in (50.0, 99.0, 100.0):
                axes.annotate(f"{ms:.1f}", (place, ms), textcoords="offset points", xytext=(0, 6), ha="center")

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        image = io.BytesIO()
        self.savefig(image, format="png", dpi=100)
        source = "data:image/png;base64," + base64.b64encode(image.getvalue()).decode("ascii")
        return f'<img src="{source}" alt="{escape(self.words)}">'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """Show once, in every notebook: without this, matplotlib's own hook adds the same picture without its words."""
        return {"text/html": self._repr_html_(), "text/plain": self.words}
