"""Look for the files that a lab cannot do without, before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lab_services.checks.expectation import Failure
from lab_services.checks.report import FAILED, NOT_STARTED, CheckRow
from lab_services.checks.selection import Check
from lab_services.runtime.spec import LabSpec


def missing_file(spec: LabSpec, plan: Sequence[Check], folder: Path) -> str | None:
    """Return the first file that the starter has and a task or a service of this plan names, and the folder has not."""
    named = dict.fromkeys(_named(spec, plan))
    return next((file for file in named if (spec.folder / file).is_file() and not (folder / file).is_file()), None)


def missing_row(file: str, task: str | None) -> CheckRow:
    """Return the one row that says which file is not there."""
    failure = Failure(
        sent=f"{file} was looked for, before any service was started",
        expected=f"a file {file}, as the starter has it",
        came=f"{file} is not there",
        why="the city cannot be started without it",
        look=f"put {file} back, or type lab.reset(): it begins afresh and keeps your files beside",
    )
    return CheckRow(file, f"{file} is there", FAILED, NOT_STARTED, failure=failure, task=task or "")


def _named(spec: LabSpec, plan: Sequence[Check]) -> Iterator[str]:
    for task in dict.fromkeys(check.task for check in plan if check.task in spec.tasks):
        yield from spec.tasks[task].files
    for shape in dict.fromkeys(check.shape for check in plan):
        yield from (_file(service.target) for service in spec.system(shape).values() if service.kind == "run")


def _file(target: str) -> str:
    module, colon, _ = target.partition(":")
    return module.replace(".", "/") + ".py" if colon else target
