"""An error of the course as something to show, in its four parts."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import LabError
from .html_table import Html, heading, preformatted, table
from .plain_text import visible, visible_lines

_EVIDENCE_LINES = 40


@dataclass(frozen=True, repr=False)
class ErrorView:
    """What happened, where, the evidence, what to type next; an empty part is left out."""

    what: str
    where: str = ""
    evidence: str = ""
    next_step: str = ""

    def __repr__(self) -> str:
        lines = [visible(self.what)]
        for name, part in self._parts():
            first, *more = part
            lines += [f"  {name + ':':<10}{first}", *(f"{'':<12}{line}" for line in more)]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        rows = [(name, Html(preformatted(part))) for name, part in self._parts()]
        if not rows:
            return heading(visible(self.what))
        return table(visible(self.what), ("part", "what is known"), rows)

    def _parts(self) -> list[tuple[str, list[str]]]:
        parts = (("where", self.where), ("evidence", self.evidence), ("next", self.next_step))
        return [(name, _last_lines(text)) for name, text in parts if text.strip()]


def error_view(error: LabError) -> ErrorView:
    """Return the error as a view; the words are those of `str(error)`."""
    return ErrorView(error.what, error.where, error.evidence, error.next_step)


def _last_lines(text: str) -> list[str]:
    lines = visible_lines(text.strip("\r\n"))
    left_out = len(lines) - _EVIDENCE_LINES
    return lines if left_out <= 0 else [f"... ({left_out} earlier lines)", *lines[-_EVIDENCE_LINES:]]
