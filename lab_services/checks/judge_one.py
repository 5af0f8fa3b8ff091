"""From what pytest tells of one check to a row of the report."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from lab_services.checks.expectation import Failure
from lab_services.checks.log_end import log_end
from lab_services.checks.recorder import Recorder
from lab_services.checks.report import PASSED, CheckRow
from lab_services.checks.selection import Check
from lab_services.checks.verdict import CheckSkipped, classify, failure_of, verdict_for
from lab_services.errors import LabError
from lab_services.runtime import states
from lab_services.runtime.spec import LabSpec


class Judge:
    """Writes a row for each check, with the last log lines of the service that a failure names."""

    def __init__(self, recorder: Recorder, spec: LabSpec, plan: dict[str, Check]) -> None:
        self.recorder = recorder
        self._spec = spec
        self._plan = plan
        self._city: Any = None

    def begin(self, item: pytest.Item) -> None:
        """Begin the row of a check."""
        self._city = None
        self.recorder.begin(self._row(item))

    def phase(self, item: pytest.Item, report: pytest.TestReport, error: BaseException | None) -> None:
        """Note how long one phase took and, if it failed, why."""
        self._city = getattr(item, "funcargs", {}).get("city") or self._city
        self.recorder.took(check_name(item), report.duration)
        if report.passed:
            return
        if report.skipped or error is None:
            error = CheckSkipped(str(error or report.longreprtext))
        row = self._row(item)
        crashed = () if isinstance(error, LabError) else self._crashed()
        kind = classify(error, crashed)
        failure = failure_of(
            error, check=row.check, behaviour=row.behaviour, file=item.path, look=self._files(row.task)
        )
        if crashed and not failure.service:
            failure = replace(failure, service=crashed[0])
        failed = replace(row, verdict=verdict_for(kind), kind=kind, failure=self._with_log(failure))
        self.recorder.fail(failed)

    def _row(self, item: pytest.Item) -> CheckRow:
        name = check_name(item)
        words = inspect.getdoc(getattr(item, "obj", None)) or name.removeprefix("test_").replace("_", " ")
        task = self._plan[name].task if name in self._plan else ""
        return CheckRow(name, words.strip().splitlines()[0], PASSED, task=task)

    def _files(self, task: str) -> str:
        files = self._spec.tasks[task].files if task in self._spec.tasks else ()
        return ", ".join(files) or "your files of this lab"

    def _crashed(self) -> tuple[str, ...]:
        """Return the services that have ended by themselves; a city that cannot be asked has none to name."""
        if self._city is None:
            return ()
        with suppress(LabError):
            return tuple(state.name for state in self._city.states() if state.state == states.CRASHED)
        return ()

    def _with_log(self, failure: Failure) -> Failure:
        if self._city is None or not failure.service:
            return failure
        with suppress(LabError):
            return replace(failure, log=log_end(self._city, failure))
        return failure


def check_name(item: pytest.Item) -> str:
    """Return the name of the check function, without the case in brackets."""
    return str(getattr(item, "originalname", None) or item.name)
