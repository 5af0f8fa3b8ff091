"""Run the checks of a lab against a copy of a workspace, in a process of their own, and return the report."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab_services.checks import limits, report
from lab_services.checks.expectation import Failure
from lab_services.checks.missing import missing_file, missing_row
from lab_services.checks.places import as_spec, course_of, lay_variant, scratch_folder
from lab_services.checks.recorder import read_result
from lab_services.checks.report import CheckReport, CheckRow
from lab_services.checks.selection import Check, selected
from lab_services.checks.subprocess_run import run_to_end, tail
from lab_services.checks.syntax import syntax_row, unreadable_file
from lab_services.errors import CheckError
from lab_services.runtime.spec import LabSpec
from lab_services.runtime.workspace import open_workspace, snapshot, work_root

RESULT = "COURSE_CHECK_RESULT"
NOT_OURS = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_CURRENT_TEST", "PYTHONWARNINGS")
_PLUGINS_OFF = ("cacheprovider", "unraisableexception", "threadexception", "faulthandler")


def run_checks(lab_name: str | LabSpec, task: str | None = None, *, workspace: Path | None = None) -> CheckReport:
    """Judge a lab's files by their behaviour: the checks of one task, or of all.

    Args:
        lab_name: the lab, as in `open_lab`.
        task: such as "1.2"; None for every task.
        workspace: the folder to judge; without one it is the learner's own, and the result counts as progress.

    Raises:
        CheckError: the checks themselves could not be run; that is never the learner's fault.
        UnknownName: there is no such lab or task.
    """
    spec = as_spec(lab_name)
    plan = selected(spec, task)
    folder = Path(workspace) if workspace is not None else open_workspace(spec).folder
    with scratch_folder() as scratch:
        copy = snapshot(spec, scratch / "workspace", folder)
        result = judge_folder(spec, task, plan, copy, scratch)
        if workspace is None:
            from lab_services.checks.learner_progress import record

            record(spec, result, copy)
    return result


def judge(
    lab_name: str | LabSpec,
    files: Mapping[str, str] | Path,
    checks: Sequence[str] | None = None,
    run: Callable[..., int] = run_to_end,
) -> CheckReport:
    """Judge a variant of the solution; nothing of it counts as progress.

    Args:
        files: texts by file name, laid over starter and solution; or a folder, judged as it is.
        checks: only these check functions; None for all.
        run: runs the command of the checks and returns its status, as `run_to_end` does.
    """
    spec = as_spec(lab_name)
    plan = selected(spec, None, checks)
    with scratch_folder() as scratch:
        folder = scratch / "workspace"
        if isinstance(files, Path):
            snapshot(spec, folder, files)
        else:
            lay_variant(spec, folder, files)
        return judge_folder(spec, None, plan, folder, scratch, checks, run)


def judge_folder(
    spec: LabSpec,
    task: str | None,
    plan: Sequence[Check],
    folder: Path,
    scratch: Path,
    names: Sequence[str] | None = None,
    run: Callable[..., int] = run_to_end,
) -> CheckReport:
    """Judge a copy that nobody else uses: first whether it can be read, then how it behaves."""
    if (broken := unreadable_file(folder)) is not None:
        return CheckReport(spec.name, task, (syntax_row(broken, task),))
    if (missing := missing_file(spec, plan, folder)) is not None:
        return CheckReport(spec.name, task, (missing_row(missing, task),))
    env = _environment(spec, task, folder, scratch / "result.json", names)
    command = _command(spec, plan, scratch)
    output = scratch / "output.txt"
    seconds = limits.run_seconds(len(plan))
    try:
        status = run(command, env=env, cwd=scratch, output=output, mark=RESULT, seconds=seconds)
    except subprocess.TimeoutExpired:
        status = 1
    except OSError as error:
        raise _cannot(spec, f"pytest could not be started: {error}", "") from error
    rows = _rows(spec, plan, status, read_result(scratch / "result.json"), tail(output))
    return CheckReport(spec.name, task, rows)


def _command(spec: LabSpec, plan: Sequence[Check], scratch: Path) -> list[str]:
    settings = scratch / "pytest.ini"  # so that no settings of the course, or above it, reach the checks
    settings.write_text("[pytest]\n", encoding="utf-8")
    return [
        sys.executable, "-P", "-m", "pytest", "-p", "lab_services.checks.plugin",
        *(word for name in _PLUGINS_OFF for word in ("-p", f"no:{name}")),
        "-q", "--tb=no", "--show-capture=no", "--no-header", "--import-mode=importlib",
        "-c", str(settings), f"--rootdir={spec.folder}", f"--confcutdir={spec.folder}", *_files(spec, plan),
    ]  # fmt: skip


def _files(spec: LabSpec, plan: Sequence[Check]) -> list[str]:
    """Return the files that hold these checks: importing another one costs a learner a tenth of a second each time."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(spec.folder.glob("test_*.py"))}
    return [str(path) for path, text in texts.items() if any(f"def {check.name}(" in text for check in plan)]


def _environment(
    spec: LabSpec, task: str | None, folder: Path, result: Path, names: Sequence[str] | None
) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    local = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    kept = {key: value for key, value in os.environ.items() if key not in NOT_OURS}
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "NO_PROXY": local,
        "no_proxy": local,
        "COURSE_ROOT": str(course_of(spec)),
        "COURSE_WORK": str(work_root()),
        "COURSE_CHECK_LAB": spec.name,
        "COURSE_CHECK_TASK": task or "",
        "COURSE_CHECK_NAMES": ",".join(names or ()),
        "COURSE_CHECK_WORKSPACE": str(folder),
        RESULT: str(result),
    }


def _rows(
    spec: LabSpec, plan: Sequence[Check], status: int, result: dict[str, Any] | None, output: str
) -> tuple[CheckRow, ...]:
    """Return the rows in the order of the plan; refuse everything that could be taken for green and is not."""
    if result is None:
        raise _cannot(spec, f"they ended with status {status} and without a result", output)
    if result["uncollected"]:
        raise _cannot(spec, "a check file cannot be read", "\n".join(result["uncollected"]))
    rows = {row.check: row for row in result["rows"]}
    if not result["finished"]:
        rows = _cut_off(spec, plan, result, rows, output)
    elif status not in (0, 1):
        raise _cannot(spec, f"pytest ended with status {status}", output)
    missing = [check.name for check in plan if check.name not in rows]
    if missing:
        raise _cannot(spec, f"{', '.join(missing)} did not run", output)
    failed = any(row.verdict == report.FAILED for row in rows.values())
    if (status == 0 and failed) or (status == 1 and all(row.verdict == report.PASSED for row in rows.values())):
        raise _cannot(spec, f"pytest ended with status {status}, which its rows do not bear out", output)
    return tuple(rows[check.name] for check in plan)


def _cut_off(
    spec: LabSpec, plan: Sequence[Check], result: dict[str, Any], rows: dict[str, CheckRow], output: str
) -> dict[str, CheckRow]:
    """Return the rows of a run that was ended in the middle of a check that took too long."""
    running = result["running"]
    if running is None or time.time() - running["since"] < limits.check_seconds():
        raise _cannot(spec, "the process of the checks died", output)
    for check in plan:
        if check.name == running["check"]:
            rows[check.name] = _unjudged(check, running["behaviour"], "it did not end, and its process was stopped")
        elif check.name not in rows:
            words = check.name.removeprefix("test_").replace("_", " ")
            rows[check.name] = _unjudged(check, words, f"{running['check']} did not end", report.NOT_RUN)
    return rows


def _unjudged(check: Check, behaviour: str, came: str, verdict: str = report.FAILED) -> CheckRow:
    failure = Failure(check.name, "an end within its time", came, "no rider waits for ever", "what never answers")
    return CheckRow(check.name, behaviour, verdict, report.TIME_OUT, failure=failure, task=check.task)


def _cannot(spec: LabSpec, why: str, output: str) -> CheckError:
    return CheckError(
        f"the checks of {spec.name} could not be run: {why}",
        where=f"labs/{spec.name}",
        evidence=output,
        next_step="your files were not judged; type: course doctor",
    )
