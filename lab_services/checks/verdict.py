"""What an exception in a check says about the learner's work: its class and its six parts."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lab_services import errors
from lab_services.checks import report
from lab_services.checks.expectation import CheckFailed, Failure, describe

WHY = "the city depends on it"
_UNREADABLE = "Python cannot read"  # so begins a BrokenCode that stands for a SyntaxError: see runtime/broken.py
_MACHINE = {errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EDQUOT}
_ENVIRONMENT = (errors.MissingProgram, errors.MachineError, errors.AlreadyRunning, errors.RuntimeLost, MemoryError)


class CheckTimedOut(BaseException):
    """The check took longer than it may; no `except Exception` in a check stops it."""


class CheckSkipped(Exception):
    """The check could not be judged here and says why."""


def classify(error: BaseException, crashed: Sequence[str] = ()) -> str:
    """Return the class of a failure; `crashed` names the services that have ended by themselves."""
    if isinstance(error, (*_ENVIRONMENT, CheckSkipped)) or getattr(error, "errno", None) in _MACHINE:
        return report.ENVIRONMENT
    if isinstance(error, errors.BrokenCode):
        return report.SYNTAX if error.what.startswith(_UNREADABLE) else report.NOT_STARTED
    if isinstance(error, errors.ServiceCrashed) or crashed:
        return report.CRASHED
    if isinstance(error, errors.NotReady):
        return report.NOT_STARTED
    return report.TIME_OUT if _is_time_out(error) else report.ASSERTION


def verdict_for(kind: str) -> str:
    """Return "not run" for what says nothing about the learner's work, else "failed"."""
    return report.NOT_RUN if kind == report.ENVIRONMENT else report.FAILED


def failure_of(error: BaseException, *, check: str, behaviour: str, file: Path, look: str) -> Failure:
    """Return the six parts: those of `expect`, those of a LabError, or what can be told of any other exception."""
    if isinstance(error, CheckFailed):
        return error.failure
    where, line = _place(error, file)
    came = str(error) if isinstance(error, (CheckTimedOut, CheckSkipped)) else describe(error)
    known = Failure(f"{check} in {where}", behaviour.rstrip(".") or "the check passes", came, WHY, look)
    if isinstance(error, errors.LabError):
        came = f"{error.what}\n{error.evidence}".rstrip()
        look = "; ".join(part for part in (error.where, error.next_step) if part)
        return replace(known, sent="the city was started or asked", came=describe(came), look=look or known.look)
    if isinstance(error, CheckSkipped):
        return replace(known, look="type: course doctor", why="the check needs it; nothing was judged")
    return replace(known, sent=f"{known.sent}: {line}") if line else known


def _is_time_out(error: BaseException) -> bool:
    """True for our own limit, Python's TimeoutError and the time-outs of httpx, which this module does not import."""
    return isinstance(error, (CheckTimedOut, TimeoutError)) or any(
        kind.__name__ == "TimeoutException" and kind.__module__.startswith("httpx") for kind in type(error).__mro__
    )


def _place(error: BaseException, file: Path) -> tuple[str, str]:
    """Return the last place in the check file that the exception passed, and the line there."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == file]
    return (f"{file.name}, line {frames[-1].lineno}", frames[-1].line or "") if frames else (file.name, "")
