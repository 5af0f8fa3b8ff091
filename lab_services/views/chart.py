"""A picture with its text twin, on paper of its own.

JupyterLab gives a plain PNG no alternative text, so a chart is an HTML figure around its PNG. What differs from run
to run stands only in the attributes `alt` and `src` of its <img>; a comparison of outputs leaves these two out.
"""

from __future__ import annotations

import base64
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .compare import ComparisonTable
from .html_table import TEXT, escape
from .plain_text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 110
PAPER, INK = "#ffffff", "#1a1a1a"  # a chart brings its own paper, so it reads the same in a dark theme


@dataclass(frozen=True, repr=False)
class Chart:
    """A matplotlib figure with its text twin.

    `twin` says what the picture shows and must be the same on every run of a cell whose output is compared.
    `alt` is heard in place of the picture (the twin, when empty) and may hold measured numbers, as `numbers` does.
    """

    figure: Figure
    twin: str
    alt: str = ""
    numbers: ComparisonTable | None = None

    def __repr__(self) -> str:
        return visible(self.twin, 2000)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def html(self) -> str:
        """Return the figure: picture, alternative text, twin."""
        source = base64.b64encode(self.png()).decode("ascii")
        alt = escape(visible(self.alt or self.twin, 2000))
        picture = f'<img alt="{alt}" src="data:image/png;base64,{source}" style="max-width:100%">'
        caption = f'<figcaption style="{TEXT}">{escape(repr(self))}</figcaption>'
        return f'<figure style="margin:0">{picture}{caption}</figure>'

    def png(self) -> bytes:
        """Draw the picture."""
        with io.BytesIO() as file, quiet_drawing():
            self.figure.savefig(file, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
            return file.getvalue()


@contextmanager
def quiet_drawing() -> Iterator[None]:
    """Take `$` as it is, and do not warn of a letter that the font lacks or of a font cache being built."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def paper(title: str, columns: int, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Return a figure that no backend and no pyplot holds on to."""
    figure, [axes] = paper_grid(title, 1, columns, height)
    return figure, axes


def paper_grid(title: str, rows: int, columns: int, row_height: float) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure with several rows of axes, each `row_height` inches high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, rows * row_height), facecolor=PAPER, layout="constrained")
    figure.suptitle(visible(title, 90), color=INK, fontsize=12)
    grid = [[figure.add_subplot(rows, columns, row * columns + at + 1) for at in range(columns)] for row in range(rows)]
    for axes in (one for row in grid for one in row):
        axes.tick_params(colors=INK)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid
