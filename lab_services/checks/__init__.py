"""Checks: pytest functions that talk to a real running city, and what a learner sees of them.

A check file uses only this:

    from lab_services.checks import expect, together, eventually, rows
"""

from lab_services.checks.expectation import CheckFailed, Failure, expect
from lab_services.checks.fake_bank import FakeBank, FakeLock, Hold, Opening
from lab_services.checks.fakes import Call, DropAnswer, FakeService
from lab_services.checks.probes import eventually, rows, together

__all__ = [
    "Call",
    "CheckFailed",
    "DropAnswer",
    "Failure",
    "FakeBank",
    "FakeLock",
    "FakeService",
    "Hold",
    "Opening",
    "eventually",
    "expect",
    "rows",
    "together",
]
