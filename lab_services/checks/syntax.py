"""Read every Python file of the learner before anything starts."""

from __future__ import annotations

import warnings
from pathlib import Path

from lab_services.checks.expectation import Failure
from lab_services.checks.report import FAILED, SYNTAX, CheckRow
from lab_services.errors import BrokenCode
from lab_services.runtime.broken import explain_import_failure


def unreadable_file(folder: Path) -> BrokenCode | None:
    """Return the error of the first file below the folder, in the order of names, that Python cannot compile."""
    return next((error for path in sorted(folder.rglob("*.py")) if (error := _trouble(path, folder)) is not None), None)


def syntax_row(error: BrokenCode, task: str | None) -> CheckRow:
    """Return the one row that says where the file cannot be read."""
    file = error.where.partition(":")[0]
    failure = Failure(
        sent=f"Python was asked to read {file}, before any service was started",
        expected="a file that Python can read",
        came=f"{error.what}\n{error.evidence}".rstrip(),
        why="a service whose file cannot be read does not start, and the city would be judged without it",
        look=f"{error.where}: mend the line, or the one before it, save, and type lab.check() again",
    )
    return CheckRow(file, f"Python can read {file}", FAILED, SYNTAX, failure=failure, task=task or "")


def _trouble(path: Path, folder: Path) -> BrokenCode | None:
    name = str(path.relative_to(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a SyntaxWarning is the service's affair: it goes to its log
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        return explain_import_failure(error, str(folder), f"{path.stem}:app")
    except (ValueError, RecursionError, MemoryError, OSError) as error:
        return BrokenCode(f"Python cannot read {name}: {error}", where=name)
    return None
