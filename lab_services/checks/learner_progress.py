"""What a learner has reached: kept in work/progress.json, shown by `course progress`."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lab_services.checks import progress_file
from lab_services.checks.places import text_of, zone_text
from lab_services.checks.progress_file import ProgressData, TaskProgress
from lab_services.checks.report import ASSERTION, ENVIRONMENT, PASSED, SYNTAX, CheckReport, CheckRow
from lab_services.errors import LabError
from lab_services.runtime.spec import LabSpec, TaskSpec, lab_names, load_spec
from lab_services.runtime.workspace import work_root

HONEST_ATTEMPTS = 3  # so many different tries open the solution


@dataclass(frozen=True)
class ProgressRow:
    """One task as the learner sees it; `hints` counts the hints taken."""

    lab: str
    task: str
    title: str
    words: str
    attempts: int
    hints: int
    passed_at: str


@dataclass(frozen=True, repr=False)
class Progress:
    """Every task of every lab: passed, begun or not begun. Points in time are behind `times()`."""

    rows: tuple[ProgressRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """One line: how many tasks are passed."""
        return f"Your progress: {sum(bool(row.passed_at) for row in self.rows)} of {len(self.rows)} tasks passed"

    def times(self) -> tuple[tuple[str, str], ...]:
        """Return (task, UTC time of its first pass) for each passed task."""
        return tuple((f"{row.lab} {row.task}", row.passed_at) for row in self.rows if row.passed_at)

    def __repr__(self) -> str:
        from lab_services.views.plain_text import text_table

        return "\n".join([self.headline, text_table(_COLUMNS, self._cells(), {2, 3}), *self.notes])

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import paragraph, table

        return table(self.headline, _COLUMNS, self._cells(), {2, 3}) + "".join(map(paragraph, self.notes))

    def _cells(self) -> list[tuple[str, str, str, str]]:
        return [
            (f"{row.lab} {row.task} {row.title}".rstrip(), row.words, str(row.attempts), str(row.hints))
            for row in self.rows
        ]


_COLUMNS = ("task", "state", "attempts", "hints")


def progress() -> Progress:
    """Show what has been reached in every lab of the course."""
    with progress_file.changing(progress_path()) as data:
        rows = [row for name in lab_names() for row in _lab_rows(name, data)]
        notes = tuple(f"{name}: this older file could not be read and was kept in work/" for name in data.set_aside)
    return Progress(tuple(rows), notes)


def record(spec: LabSpec, report: CheckReport, folder: Path) -> None:
    """Keep the result of a check run on the learner's own copy, `folder` or what it was when the run began."""
    first = report.first_failing
    with progress_file.changing(progress_path()) as data:
        lab = data.lab(spec.name)
        lab.checked = True
        lab.latest_task = first.task if first else (report.task or "")
        lab.latest_failing = first.check if first else ""
        for task in spec.tasks.values() if report.task is None else (spec.tasks[report.task],):
            rows = [row for row in report.rows if row.check in task.checks and _same_shape(spec, row, task)]
            if rows:
                _note(lab.task(task.id), spec, task, rows, folder)


def progress_path() -> Path:
    """Return the file that keeps the progress."""
    return work_root() / "progress.json"


def task_progress(spec: LabSpec, task: str) -> TaskProgress:
    """Return what is kept of one task."""
    with progress_file.changing(progress_path()) as data:
        return data.lab(spec.name).task(task)


def attempt_digest(spec: LabSpec, task: str, folder: Path) -> str:
    """Return a digest of what the learner wrote for a task, whatever its comments and spaces."""
    parts = [_meaning(folder / file, zone_text(text_of(folder / file), task)) for file in spec.tasks[task].files]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _same_shape(spec: LabSpec, row: CheckRow, task: TaskSpec) -> bool:
    """A check that two tasks list counts for both only if both judge the same system."""
    return row.task not in spec.tasks or spec.tasks[row.task].shape == task.shape


def _note(kept: TaskProgress, spec: LabSpec, task: TaskSpec, rows: Sequence[CheckRow], folder: Path) -> None:
    if any(row.kind in (ENVIRONMENT, SYNTAX) for row in rows):
        return  # nothing was judged
    digest = attempt_digest(spec, task.id, folder)
    if _honest(task, rows) and digest not in (attempt_digest(spec, task.id, spec.folder), *kept.attempts):
        kept.attempts.append(digest)
    passed = sum(row.verdict == PASSED for row in rows)
    kept.total = len(task.checks)
    kept.best = min(kept.total, max(kept.best, passed))
    if passed == kept.total and not kept.passed_at:
        kept.passed_at = datetime.now(UTC).isoformat(timespec="seconds")


def _honest(task: TaskSpec, rows: Sequence[CheckRow]) -> bool:
    """An attempt was judged by what it does, or passed what the starter does not; a mere crash is none."""
    whole = all(row.verdict == PASSED for row in rows)
    return any(row.kind == ASSERTION or (row.verdict == PASSED and (whole or row.check in task.red)) for row in rows)


def _meaning(path: Path, text: str) -> str:
    """Return the text without comments and layout where Python can tell, else without spaces."""
    if path.suffix == ".py":
        for source in (text, "async def zone():\n" + _indented(text)):
            try:
                return ast.dump(ast.parse(source))
            except (SyntaxError, ValueError, RecursionError):
                continue
    return " ".join(text.split())


def _indented(text: str) -> str:
    from textwrap import dedent, indent

    return indent(dedent(text), "    ")


def _lab_rows(name: str, data: ProgressData) -> list[ProgressRow]:
    try:
        tasks = load_spec(name).tasks
    except LabError:
        return [ProgressRow(name, "", "", "cannot be read: course doctor", 0, 0, "")]
    kept = data.labs.get(name)
    rows = []
    for task in tasks.values():
        known = kept.tasks.get(task.id, TaskProgress()) if kept else TaskProgress()
        hints = sum(known.hints.values())
        rows.append(ProgressRow(name, task.id, task.title, _words(known), len(known.attempts), hints, known.passed_at))
    return rows


def _words(kept: TaskProgress) -> str:
    if kept.passed_at:
        return "passed"
    return f"begun: {kept.best} of {kept.total} checks" if kept.total else "not begun"
