"""The result file of a check run: written anew after every step, so that it is true whenever the run ends."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lab_services.checks.report import PASSED, CheckRow


class Recorder:
    """Collects the rows of one run and keeps them on disk as JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, CheckRow] = {}
        self._running: dict[str, Any] | None = None
        self._uncollected: list[str] = []
        self._finished = False

    def begin(self, row: CheckRow) -> None:
        """Note that a check begins; the case of a check that was judged before is judged on top of it."""
        self._rows.setdefault(row.check, row)
        self._running = {"check": row.check, "behaviour": row.behaviour, "since": time.time()}
        self._write()

    def took(self, check: str, seconds: float) -> None:
        """Add the seconds of one phase of a check."""
        row = self._rows[check]
        self._rows[check] = replace(row, seconds=row.seconds + seconds)

    def fail(self, row: CheckRow) -> None:
        """Note a failure; the first one of a check is kept."""
        old = self._rows[row.check]
        if old.verdict == PASSED:
            self._rows[row.check] = replace(row, seconds=old.seconds)

    def end(self) -> None:
        """Note that the running check has ended."""
        self._running = None
        self._write()

    def uncollected(self, what: str) -> None:
        """Note a check file that cannot be read."""
        self._uncollected.append(what)
        self._write()

    def finish(self) -> None:
        """Note that the run came to its end."""
        self._finished = True
        self._write()

    def _write(self) -> None:
        running = self._running["check"] if self._running else None
        rows = [asdict(row) for name, row in self._rows.items() if name != running or row.verdict != PASSED]
        content = {
            "finished": self._finished, "running": self._running, "uncollected": self._uncollected, "rows": rows,
        }  # fmt: skip
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(content), encoding="utf-8", errors="backslashreplace")
        os.replace(fresh, self.path)


def read_result(path: Path) -> dict[str, Any] | None:
    """Return what a run has written, its rows as CheckRow; None when there is nothing that can be read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**content, "rows": _rows(content["rows"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _rows(rows: Sequence[dict[str, Any]]) -> tuple[CheckRow, ...]:
    return tuple(CheckRow.from_dict(row) for row in rows)
