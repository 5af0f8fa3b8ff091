"""The last lines that a service has written, whatever they are made of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .html_table import heading, preformatted
from .plain_text import counted, visible
from .traceback_lines import own_frames

LINES = 200
LINE_CHARACTERS = 500


@dataclass(frozen=True, repr=False)
class LogView:
    """The end of a service's log.

    `lines` may be text or bytes. `dropped` is how many older lines the caller has left out already.
    With `folder`, the learner's own, a traceback shows only the frames in it.
    """

    service: str
    lines: Iterable[str | bytes]
    dropped: int = 0
    folder: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", tuple(self.lines))

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *(f"  {line}".rstrip() for line in self.shown())])

    def _repr_html_(self) -> str:
        lines = self.shown()
        return heading(self._headline()) + (preformatted(lines) if lines else "")

    def shown(self) -> list[str]:
        """Return the lines as they are shown."""
        return [visible(line.expandtabs(4), LINE_CHARACTERS) for line in self._trimmed()[-LINES:]]

    def _trimmed(self) -> list[str]:
        lines = [_as_text(line) for line in self.lines]
        return lines if self.folder is None else own_frames(lines, self.folder)

    def _headline(self) -> str:
        lines = self._trimmed()
        older = self.dropped + max(0, len(lines) - LINES)
        shown = f"last {counted(min(len(lines), LINES), 'line')}" if lines else "nothing written yet"
        left_out = f", {counted(older, 'older line')} left out" if older else ""
        return f"log of {visible(self.service)}: {shown}{left_out}"


def _as_text(line: str | bytes) -> str:
    text = line.decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line
    return text.rstrip("\r\n")
