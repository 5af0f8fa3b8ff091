"""Checks: pytest functions that talk to a real running city, and what a learner sees of them.

A check file uses only this:

    from lab_services.checks import expect, together, eventually, rows

Everything else is looked up when it is first used, so that a check process imports only what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lab_services.checks.expectation import CheckFailed, Failure, expect
from lab_services.checks.probes import eventually, rows, together

if TYPE_CHECKING:
    from lab_services.checks.broker_probes import Heard, Spy
    from lab_services.checks.fake_bank import FakeBank, FakeLock, Hold, Opening
    from lab_services.checks.fake_grpc import FakeGrpc, GrpcCall, GrpcError
    from lab_services.checks.fakes import Call, DropAnswer, FakeService
    from lab_services.checks.hints import Hint, hint
    from lab_services.checks.learner_progress import Progress, progress
    from lab_services.checks.report import CheckReport, CheckRow
    from lab_services.checks.reviews import NothingToReview, Review, review
    from lab_services.checks.run import judge, run_checks
    from lab_services.checks.solutions import Solution, solution
    from lab_services.checks.watch import watch_checks
    from lab_services.checks.wrong_answers import WrongAnswer, load_spared, load_wrong_answers, overlay

__all__ = [
    "Call", "CheckFailed", "CheckReport", "CheckRow", "DropAnswer", "Failure", "FakeBank", "FakeGrpc", "FakeLock",
    "FakeService", "GrpcCall", "GrpcError", "Heard", "Hint", "Hold", "NothingToReview", "Opening", "Progress", "Review",
    "Solution", "Spy", "WrongAnswer", "eventually", "expect", "hint", "judge",
    "load_spared", "load_wrong_answers", "overlay", "progress", "review", "rows", "run_checks", "solution", "together",
    "watch_checks",
]  # fmt: skip

_HOMES = {
    "broker_probes": ("Heard", "Spy"),
    "fake_bank": ("FakeBank", "FakeLock", "Hold", "Opening"),
    "fake_grpc": ("FakeGrpc", "GrpcCall", "GrpcError"),
    "fakes": ("Call", "DropAnswer", "FakeService"),
    "hints": ("Hint", "hint"),
    "learner_progress": ("Progress", "progress"),
    "report": ("CheckReport", "CheckRow"),
    "reviews": ("NothingToReview", "Review", "review"),
    "run": ("judge", "run_checks"),
    "solutions": ("Solution", "solution"),
    "watch": ("watch_checks",),
    "wrong_answers": ("WrongAnswer", "load_spared", "load_wrong_answers", "overlay"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
