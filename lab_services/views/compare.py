"""A plain table: the same few questions, asked of several things side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .html_table import table
from .plain_text import text_table, visible


@dataclass(frozen=True, repr=False)
class ComparisonTable:
    """Things side by side, one a row; the first column names them.

    A whole number is shown with its thousands apart, a float with three significant digits, None as "-".
    Raises ValueError when a row has more or fewer cells than there are columns.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(self.columns)} columns, yet {len(row)} cells in the row {row!r}")

    def __repr__(self) -> str:
        return visible(self.title) + "\n" + text_table(self._heads(), self._cells(), self._numeric())

    def _repr_html_(self) -> str:
        return table(visible(self.title), self._heads(), self._cells(), self._numeric())

    def _heads(self) -> list[str]:
        return [visible(column) for column in self.columns]

    def _cells(self) -> list[list[str]]:
        return [[_shown(cell) for cell in row] for row in self.rows]

    def _numeric(self) -> set[int]:
        """Find the columns that hold numbers only, and at least one."""
        found = set()
        for at in range(len(self.columns)):
            cells = [row[at] for row in self.rows if row[at] is not None]
            if cells and all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells):
                found.add(at)
        return found


def _shown(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return three_digits(cell)
    return visible(str(cell))


def three_digits(number: float) -> str:
    """Return a number to three significant digits, without an exponent where people would not write one."""
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
