"""What every test may use: a program that only the system has, and the promise that nothing is left behind."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from lab_services import extras
from lab_services.doctor.programs import SYSTEM_PROGRAMS, how_to_get
from lab_services.errors import MissingProgram
from tests.ahead import AHEAD

ROOT = Path(__file__).resolve().parent.parent
MARK = "COURSE_TESTS"  # in the environment of every process that the tests start, directly or not
QUIET_SECONDS = 15.0
POLL_SECONDS = 0.05


_OWN = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Mark this run before anything is started; a run inside a run carries both marks."""
    own = secrets.token_hex(8)
    os.environ[MARK] = ":".join(filter(None, [os.environ.get(MARK), own]))
    config.stash[_OWN] = own


@pytest.fixture(scope="session", autouse=True)
def no_leftovers(pytestconfig: pytest.Config) -> Iterator[None]:
    """Assert at the very end that no process which the tests started is still there."""
    yield
    end = time.monotonic() + QUIET_SECONDS
    while (left := living(pytestconfig.stash[_OWN])) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    assert not left, "left behind by the tests: " + "; ".join(left)


@pytest.fixture(scope="session", autouse=True)
def begun_ahead(request: pytest.FixtureRequest, no_leftovers: None) -> Iterator[None]:
    """Begin the jobs of all tests marked `ahead`, if there are tests of other folders to do meanwhile."""
    items = request.session.items
    if len({item.path.parent for item in items}) > 1:
        for mark in (mark for item in items for mark in item.iter_markers("ahead")):
            AHEAD.begin(*mark.args, **mark.kwargs)
    yield
    AHEAD.close()


def living(mark: str) -> list[str]:
    """Return pid and command line of every other process that carries the mark of a test run."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if mark in process.environ().get(MARK, "").split(":"):
                command = " ".join(process.cmdline())
                if "multiprocessing.resource_tracker" not in command:  # ends with this very process
                    found.append(f"{process.pid} {command[:160]}")
    return found


@pytest.fixture(scope="session")
def needs_program() -> Callable[..., str]:
    """Return the function that finds a program of the system.

    Where it is missing, a test is skipped with the command that installs it; under COURSE_NO_SKIPS=1 it fails.
    """
    return find_program


def find_program(name: str, *, mend: str = "") -> str:
    """Return the path of a program, or skip (or fail) with the command that installs it."""
    known = SYSTEM_PROGRAMS.get(name)
    path = known.path() if known else shutil.which(name)
    if path:
        return path
    reason = f"{name} is not on this machine; to run this test: {mend or how_to_get(name)}"
    if os.environ.get("COURSE_NO_SKIPS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def durable() -> None:
    """Stand for the extra `durable`.

    Where it is missing, a test is skipped with the command that installs it; under COURSE_NO_SKIPS=1 it fails.
    """
    need_extra("durable", "these tests run sagas on an engine")


@pytest.fixture(scope="session")
def ads() -> None:
    """Stand for the extra `ads`, in the same way."""
    need_extra("ads", "these tests run a control plane over gRPC")


def need_extra(name: str, purpose: str) -> None:
    """Return if an extra is installed; else skip (or fail) with the command that installs it."""
    try:
        extras.require(name, purpose)
    except MissingProgram as error:
        if os.environ.get("COURSE_NO_SKIPS") == "1":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"to run this test: {error.next_step}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn every skip into a failure where none is allowed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("COURSE_NO_SKIPS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped where no test may be: {report.longrepr}"
    return report
