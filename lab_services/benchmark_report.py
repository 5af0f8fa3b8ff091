"""Run tests/benchmarks and keep what they measured.

A benchmark is a test that says what it measured with pytest's own `record_property`: "figure" (a sentence),
"value" and "limit" (numbers), "unit" ("ratio" unless said otherwise), and anything else it likes to keep.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import CheckError
from .views.plain_text import text_table

_COLUMNS = ("figure", "value", "limit", "unit", "verdict")


@dataclass(frozen=True)
class Figure:
    """One measured figure; `limit` is None where nothing is promised."""

    figure: str
    value: float
    limit: float | None
    unit: str
    passed: bool
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """Return the figure as cells of a table."""
        limit = "-" if self.limit is None else f"<= {self.limit:g}"
        return self.figure, f"{self.value:.3g}", limit, self.unit, "kept" if self.passed else "MISSED"


@dataclass(frozen=True, repr=False)
class BenchmarkReport:
    """All figures of one run, and where they are kept."""

    figures: tuple[Figure, ...]
    machine: str
    kept_in: str
    passed: bool

    def __repr__(self) -> str:
        table = text_table(_COLUMNS, [figure.row for figure in self.figures], {1, 2})
        return f"{table}\n{self.machine}; kept in {self.kept_in}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


class Collector:
    """A pytest plugin that notes the properties of every finished test."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take the figure out of a test that recorded one; pytest calls this."""
        said = dict(report.user_properties)
        if report.when != "call" or "value" not in said:
            return
        known = {key: said.pop(key, None) for key in ("figure", "value", "limit", "unit")}
        limit = None if known["limit"] is None else float(known["limit"])
        name = str(known["figure"] or report.nodeid.rpartition("::")[2])
        value, unit = float(known["value"]), str(known["unit"] or "ratio")
        self.figures.append(Figure(name, value, limit, unit, bool(report.passed), said))


def run_benchmarks(root: Path, folder: Path, arguments: Sequence[str] = ()) -> BenchmarkReport:
    """Run every benchmark in this process, one after the other, and keep the report as JSON in `folder`.

    Raises:
        CheckError: there are no benchmarks, or none of them came to an end.
    """
    import pytest

    os.chdir(root)
    collector = Collector()
    status = pytest.main(["-q", "tests/benchmarks", *arguments], plugins=[collector])
    if not collector.figures:
        raise CheckError(
            "the benchmarks measured nothing",
            where=str(root / "tests" / "benchmarks"),
            evidence=f"pytest ended with exit status {int(status)}",
            next_step="read what pytest said above",
        )
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    report = BenchmarkReport(tuple(collector.figures), machine(), str(kept), passed=int(status) == 0)
    kept.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    return report


def machine() -> str:
    """Say on what the figures were measured."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
