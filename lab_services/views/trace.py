"""Follow one id through the logs of all services."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from .compare import ComparisonTable
from .html_table import heading, table
from .logs import LINE_CHARACTERS
from .plain_text import counted, text_table, visible

STEPS = 200
_COLUMNS = ("step", "service", "line")


class TraceLine(NamedTuple):
    """One line of a service's log, and when it was read, in seconds on one clock for all services."""

    service: str
    text: str
    at: float = 0.0


@dataclass(frozen=True, repr=False)
class TraceView:
    """The log lines that carry an id, in the order of time; lines of the same time keep the order given.

    The id must stand alone: `r-1` is not found in `r-17`. Moments differ from run to run: they are behind `times()`.
    """

    identifier: str
    lines: Iterable[TraceLine | tuple[str, str] | tuple[str, str, float]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", tuple(self.lines))

    def __repr__(self) -> str:
        rows = self._rows()
        return self._headline() + ("\n" + text_table(_COLUMNS, rows, {0}) if rows else "")

    def _repr_html_(self) -> str:
        rows = self._rows()
        return table(self._headline(), _COLUMNS, rows, {0}) if rows else heading(self._headline())

    def steps(self) -> list[TraceLine]:
        """Return the lines that carry the id, in order."""
        alone = re.compile(rf"(?<![\w-]){re.escape(self.identifier)}(?![\w-])") if self.identifier else None
        found = [TraceLine(*line) for line in self.lines]
        return sorted((line for line in found if alone and alone.search(line.text)), key=lambda line: line.at)

    def times(self) -> ComparisonTable:
        """Return each step with the milliseconds since the first."""
        steps = self.steps()[:STEPS]
        rows = [(n, line.service, 1000 * (line.at - steps[0].at)) for n, line in enumerate(steps, start=1)]
        return ComparisonTable(f"{self.identifier}: when", ("step", "service", "ms since the first"), rows)

    def _rows(self) -> list[list[str]]:
        return [
            [str(number), visible(line.service), visible(line.text.rstrip("\r\n"), LINE_CHARACTERS)]
            for number, line in enumerate(self.steps()[:STEPS], start=1)
        ]

    def _headline(self) -> str:
        steps = self.steps()
        if not steps:
            return f"{visible(self.identifier)}: no service has written a line with this id"
        path = _path([line.service for line in steps[:STEPS]])
        left_out = f", the first {STEPS} shown" if len(steps) > STEPS else ""
        return f"{visible(self.identifier)}: {counted(len(steps), 'line')}{left_out}, {visible(path)}"


def _path(services: list[str]) -> str:
    """Return "rides -> wallet -> rides": the services in order, without repeating one that goes on."""
    return " -> ".join(name for at, name in enumerate(services) if at == 0 or services[at - 1] != name)
