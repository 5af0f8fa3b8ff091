"""Help that comes in steps: one more hint at each call, keyed to the check that failed first."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab_services.checks import progress_file
from lab_services.checks.learner_progress import progress_path
from lab_services.checks.places import as_spec
from lab_services.checks.progress_file import LabProgress
from lab_services.errors import UnknownName
from lab_services.runtime.spec import LabSpec, TaskSpec

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^\]]+)\]\(((?:https://|\.{1,2}/|#)[^)\s\"'<>]*)\)")  # no other scheme, no markup


@dataclass(frozen=True, repr=False)
class Hint:
    """One rung of a ladder; `rung` is 0 where there is no hint to give."""

    lab: str
    task: str
    check: str
    rung: int
    rungs: int
    text: str

    @property
    def headline(self) -> str:
        """One line: which rung of which ladder."""
        if not self.rung:
            return f"{self.lab}: no hint"
        about = f", {self.check}" if self.check else ""
        return f"Hint {self.rung} of {self.rungs} for task {self.task}{about}"

    @property
    def more(self) -> str:
        """What another call brings."""
        if not self.rung:
            return ""
        return "lab.hint() shows the next one" if self.rung < self.rungs else "that was the last hint for this check"

    def __repr__(self) -> str:
        return "\n".join(line for line in (self.headline, self.text, self.more) if line)

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import TEXT, escape, heading, paragraph

        body = "<br>".join(_marked(escape(line)) for line in self.text.strip().splitlines())
        more = paragraph(self.more) if self.more else ""
        return f'{heading(self.headline)}<p style="margin:0.25em 0;{TEXT}">{body}</p>{more}'


def hint(lab: str | LabSpec, task: str | None = None) -> Hint:
    """Show the next hint for the first check that failed in the latest run; with `task`, for that task.

    Raises:
        UnknownName: the lab has no such task.
    """
    spec = as_spec(lab)
    with progress_file.changing(progress_path()) as data:
        kept = data.lab(spec.name)
        if task is None and not kept.latest_failing:
            return _none(spec, _nothing_failed(spec, kept))
        chosen = _task(spec, task or kept.latest_task)
        if chosen is None:
            return _none(spec, "the file named in the latest report cannot be read or is not there: mend that first")
        check = kept.latest_failing if kept.latest_failing in chosen.hints_for else ""
        ladder = chosen.hints_for.get(check) or chosen.hints
        if not ladder:
            return _none(spec, f"task {chosen.id} has no hints")
        taken = kept.task(chosen.id).hints
        taken[check] = min(taken.get(check, 0) + 1, len(ladder))
        return Hint(spec.name, chosen.id, check, taken[check], len(ladder), ladder[taken[check] - 1])


def _task(spec: LabSpec, task: str) -> TaskSpec | None:
    if task and task not in spec.tasks:
        raise UnknownName(
            f"{spec.name} has no task {task!r}",
            where=f"labs/{spec.name}",
            evidence="tasks there are: " + (", ".join(spec.tasks) or "none"),
            next_step="type lab.hint()",
        )
    return spec.tasks.get(task)


def _nothing_failed(spec: LabSpec, kept: LabProgress) -> str:
    """Say which task is next when the latest run has nothing to hint at."""
    if not kept.checked:
        return "type lab.check() first: hints follow it"
    order = list(spec.tasks)
    at = order.index(kept.latest_task) + 1 if kept.latest_task in order else 0
    left = [task for task in order[at:] + order[:at] if not kept.task(task).passed_at]
    if not left or not at:
        return "every check passed"
    return f'{kept.latest_task} is done; next: lab.check("{left[0]}")'


def _none(spec: LabSpec, why: str) -> Hint:
    return Hint(spec.name, "", "", 0, 0, why)


def _marked(escaped: str) -> str:
    """Turn `code` and [words](place) of a text that is escaped already into HTML."""
    escaped = _CODE.sub(r"<code>\1</code>", escaped)
    return _LINK.sub(r'<a href="\2">\1</a>', escaped)
