"""One trace: its spans in the order in which they caused each other, with a bar for each that shows when it was."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from ..telemetry.spans import Span, Step, Trace
from .chart import INK, PAPER
from .charts import LINES
from .compare import ComparisonTable
from .html_table import Html, escape, heading, table
from .plain_text import counted, text_table, visible

ROWS = 200
INDENTS = 12  # deeper spans are not indented further: their depth is said as a number
_COLUMNS = ("step", "under", "service", "span", "kind", "note")
_BAR, _FAILED_BAR = LINES[0][0], LINES[1][0]
_LEAST = 0.5  # percent of the whole trace: a shorter bar could not be seen


@dataclass(frozen=True, repr=False)
class Waterfall:
    """A trace as a table: `under` is the step of the span that caused this one, and indents show the same.

    Text and cells hold no times and no ids: they are the same in each run of the same code, as long as no two spans
    race. The bars stand in images, whose addresses and texts a comparison of outputs leaves out. `times()` has numbers.
    """

    trace: Trace
    title: str = "Trace"

    def __repr__(self) -> str:
        rows = self._rows()
        return self._headline() + ("\n" + text_table(_COLUMNS, rows, {0, 1}) if rows else "")

    def _repr_html_(self) -> str:
        rows = self._rows()
        if not rows:
            return heading(self._headline())
        extent = self._extent()
        cells: list[list[str | Html]] = [
            [*row, _bar(step.span, *extent)] for row, step in zip(rows, self.steps(), strict=True)
        ]
        return table(self._headline(), (*_COLUMNS, "when"), cells, {0, 1})

    def steps(self) -> list[Step]:
        """Return the spans that are shown, each behind the one that caused it."""
        return list(self.trace.walk())[:ROWS]

    def times(self) -> ComparisonTable:
        """Return when each span began and how long it took, in ms, and its share of the whole trace in percent."""
        begin, whole = self._extent()
        rows = [
            (number, visible(one.service), visible(one.name), *_numbers(one, begin, whole))
            for number, (one, _, _) in enumerate(self.steps(), start=1)
        ]
        columns = ("step", "service", "span", "begins at, ms", "takes, ms", "share, %")
        return ComparisonTable(f"{self.title}: when", columns, rows)

    def _rows(self) -> list[list[str]]:
        steps = self.steps()
        numbers = {id(step.span): str(number) for number, step in enumerate(steps, start=1)}
        return [
            [
                str(number),
                numbers[id(step.under)] if step.under else "-",
                visible(step.span.service),
                _indented(step),
                visible(step.span.kind) or "-",
                self._note(step),
            ]
            for number, step in enumerate(steps, start=1)
        ]

    def _note(self, step: Step) -> str:
        """Say what is wrong with a span, and with its place."""
        span, under = step.span, step.under
        notes = ["error"] if span.error else []
        if span.parent and under is None:
            circle = self.trace.parent_of(span) is not None
            notes.append("its parents form a circle" if circle else "orphan: its parent is missing")
        if under and span.start < under.start:
            notes.append("begins before its parent: clocks differ, or it is the wrong one")
        return ", ".join(notes)

    def _headline(self) -> str:
        trace, title = self.trace, visible(self.title)
        if not trace.spans:
            return f"{title}: no span has arrived"
        parts = [counted(len(trace.spans), "span"), counted(len(trace.services()), "service")]
        found = {"error": sum(span.error for span in trace.spans), "orphan": len(trace.orphans())}
        parts += [counted(number, word) for word, number in found.items() if number]
        if (roots := len(trace.roots())) != 1:
            parts.append(f"{roots:,} roots" if roots else "no root")
        if len(trace.spans) > ROWS:
            parts.append(f"the first {ROWS} shown")
        return f"{title}: {', '.join(parts)}"

    def _extent(self) -> tuple[float, float]:
        """Return when the trace begins, and its seconds from its first begin to its last end."""
        begin = min((span.start for span in self.trace.spans), default=0.0)
        return begin, max((span.start + span.seconds for span in self.trace.spans), default=0.0) - begin


def _numbers(span: Span, begin: float, whole: float) -> tuple[float, float, float | None]:
    """Return when a span began and what it took, in ms, and its share of the whole in percent, if that has a length."""
    return 1000 * (span.start - begin), 1000 * span.seconds, 100 * span.seconds / whole if whole else None


def _bar(span: Span, begin: float, whole: float) -> Html:
    left = 100 * (span.start - begin) / whole if whole else 0.0
    width = 100 * span.seconds / whole if whole else 100.0
    words = f"from {left:.0f} to {left + width:.0f} percent of the trace"
    picture = _svg(min(left, 100 - _LEAST), max(width, _LEAST), _FAILED_BAR if span.error else _BAR)
    source = f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode('ascii')}"
    return Html(f'<img alt="{escape(words)}" src="{source}" style="width:20em;height:1em">')


def _indented(step: Step) -> str:
    deep = f"({step.depth:,} deep) " if step.depth > INDENTS else ""
    return "\u00b7 " * min(step.depth, INDENTS) + deep + (visible(step.span.name) or "(no name)")


def _svg(left: float, width: float, colour: str) -> str:
    """Return a bar on paper of its own, so that it reads the same in a dark theme; `left` and `width` in percent."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 5" preserveAspectRatio="none">'
        f'<rect width="100" height="5" fill="{PAPER}"/>'
        f'<line x1="0" x2="100" y1="4.9" y2="4.9" stroke="{INK}" stroke-width="0.1"/>'
        f'<rect x="{left:.3f}" y="0.8" width="{width:.3f}" height="3.4" fill="{colour}"/></svg>'
    )
