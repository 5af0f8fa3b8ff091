"""Say in four parts why a learner's module cannot be imported."""

from __future__ import annotations

import os
import re
import traceback

from lab_services.errors import BrokenCode, LabError
from lab_services.runtime.broken_proto import explain_proto_failure

MOST_FRAMES = 4


def explain_import_failure(error: BaseException, folder: str, app: str, form: str = "app = FastAPI()") -> BrokenCode:
    """Return the error for the learner: only frames inside `folder` are shown, with the line that failed.

    What a learner's module raises on purpose (LabError), such as EnvoyRefuses, says itself where to look.
    `form` is what a lab looks for in the module, by its usual name, such as `app = FastAPI()`.
    """
    if isinstance(error, SyntaxError) and _inside(error.filename or "", folder):
        return _syntax(error, folder)
    if proto := explain_proto_failure(error, folder):
        return proto
    if isinstance(error, LabError) and error.where:
        return BrokenCode(error.what, where=error.where, evidence=error.evidence, next_step=error.next_step)
    module, _, attribute = app.partition(":")
    if isinstance(error, AttributeError) and getattr(error, "name", None) == attribute:
        return BrokenCode(
            f"{module}.py has no {attribute!r}",
            where=f"{module}.py",
            evidence=f"the lab serves {app}",
            next_step=f"give {module}.py a line such as `{_named(form, attribute)}`, "
            "or type lab.reset() to start afresh",
        )
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return BrokenCode(
            f"{module}.py is not there",
            where=f"{module}.py",
            evidence=f"files there are: {', '.join(sorted(n for n in os.listdir(folder) if not n.startswith('.')))}",
            next_step=f"put {module}.py back, or type lab.reset(): it begins afresh and keeps your files beside",
        )
    return _explain(error, folder, app, "cannot be imported")


def explain_start_failure(error: BaseException, folder: str, target: str) -> BrokenCode:
    """Return the error for a service that was imported and then failed while it started up."""
    return explain_proto_failure(error, folder) or _explain(error, folder, target, "failed while starting up")


def _explain(error: BaseException, folder: str, target: str, happened: str) -> BrokenCode:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _inside(f.filename, folder)][-MOST_FRAMES:]
    where = _place(frames[-1].filename, frames[-1].lineno, folder) if frames else target
    shown = "\n".join(f"{_place(f.filename, f.lineno, folder)}: {f.line}" for f in frames)
    reason = "".join(traceback.format_exception_only(error)).strip()
    return BrokenCode(
        f"{os.path.basename(where.split(':')[0])} {happened}: {type(error).__name__}",
        where=where,
        evidence=f"{shown}\n{reason}".strip(),
        next_step=f"mend {where} and save it: the service starts again by itself",
    )


def _syntax(error: SyntaxError, folder: str) -> BrokenCode:
    where = _place(error.filename or "", error.lineno, folder)
    line = (error.text or "").rstrip("\n")
    caret = " " * max(0, (error.offset or 1) - 1) + "^"
    return BrokenCode(
        f"Python cannot read {os.path.basename(error.filename or '')}: {error.msg}",
        where=where,
        evidence=f"{line}\n{caret}" if line else "",
        next_step=f"mend {where} and save it: the service starts again by itself",
    )


def _named(form: str, attribute: str) -> str:
    return re.sub(r"\b(app|serve)\b", attribute, form, count=1)


def _inside(path: str, folder: str) -> bool:
    return os.path.isabs(path) and os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def _place(path: str, line: int | None, folder: str) -> str:
    return f"{os.path.relpath(os.path.realpath(path), os.path.realpath(folder))}:{line or 1}"
