"""One possible solution of a task, as a difference from the starter, once the learner has earned it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from lab_services.checks.learner_progress import HONEST_ATTEMPTS, progress_path, task_progress
from lab_services.checks.places import as_spec, solution_text, text_of
from lab_services.checks.progress_file import changing
from lab_services.errors import CheckError, SpecError, UnknownName
from lab_services.runtime.spec import LabSpec
from lab_services.runtime.zones import zones


@dataclass(frozen=True, repr=False)
class Solution:
    """A unified diff, or, while it is closed, how to open it."""

    lab: str
    task: str
    diff: str
    words: str

    @property
    def open(self) -> bool:
        """True when the diff may be seen."""
        return bool(self.diff)

    def __repr__(self) -> str:
        return "\n".join(part for part in (self.words, self.diff) if part)

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import heading, preformatted

        return heading(self.words) + (preformatted(self.diff.splitlines()) if self.diff else "")


def solution(lab: str | LabSpec, task: str | None = None) -> Solution:
    """Show our solution of a task once its checks pass, or after three honest attempts.

    An honest attempt is a check run on a text that differs from the starter's and from every earlier attempt.

    Raises:
        UnknownName: the lab has no such task.
    """
    spec = as_spec(lab)
    chosen = task or _latest_task(spec)
    if chosen not in spec.tasks:
        raise UnknownName(
            f"{spec.name} has no task {chosen!r}",
            evidence="tasks there are: " + (", ".join(spec.tasks) or "none"),
            next_step='name one: lab.solution("1.2")',
        )
    kept = task_progress(spec, chosen)
    left = HONEST_ATTEMPTS - len(kept.attempts)
    if not kept.passed_at and left > 0:
        return Solution(spec.name, chosen, "", _closed(chosen, left))
    return Solution(spec.name, chosen, solution_diff(spec, chosen), f"One possible solution of task {chosen}")


def solution_diff(spec: LabSpec, task: str) -> str:
    """Return the unified diff from starter to solution in the zones of one task."""
    files = spec.tasks[task].files
    parts = [unified(file, text_of(spec.folder / file), _solved(spec, task, file)) for file in files]
    if not any(parts):
        raise CheckError(
            f"task {task} of {spec.name} has no solution",
            where=f"solutions/{spec.name}",
            next_step="get the course again: a file of it is missing",
        )
    return "\n".join(part for part in parts if part)


def unified(file: str, old: str, new: str) -> str:
    """Return a unified diff of one file, "" when nothing differs."""
    return "\n".join(difflib.unified_diff(old.splitlines(), new.splitlines(), f"a/{file}", f"b/{file}", lineterm=""))


def _latest_task(spec: LabSpec) -> str:
    with changing(progress_path()) as data:
        latest = data.lab(spec.name).latest_task
    return latest or next(iter(spec.tasks), "")


def _closed(task: str, left: int) -> str:
    tries = "one more honest attempt" if left == 1 else f"{left} more honest attempts"
    return (
        f"The solution of task {task} opens when your checks pass, or after {tries}: "
        "change the zone and type lab.check(). lab.hint() helps on the way."
    )


def _solved(spec: LabSpec, task: str, file: str) -> str:
    """Return the starter's file with this task's zones as in the solution, so that no other task is given away."""
    starter, solved = text_of(spec.folder / file), solution_text(spec, file)
    try:
        ours = [zone for zone in zones(starter) if zone.task == task]
        theirs = [zone for zone in zones(solved) if zone.task == task]
    except SpecError:
        return solved
    if not ours or len(ours) != len(theirs):
        return solved
    lines = starter.split("\n")
    for old, new in reversed(list(zip(ours, theirs, strict=True))):
        lines[old.first : old.last - 1] = new.lines
    return "\n".join(lines)
