"""Nothing of a check run outlives it: not at the limit, not when the caller is interrupted or killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lab_services.checks import eventually
from lab_services.checks.subprocess_run import run_to_end
from tests.checks.toy_course import NAME, Course

MARK = "COURSE_CHECK_RESULT"
SPAWN = """
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
Path(os.environ["TELL"]).write_text("running")
time.sleep(120)
"""

TALK = """
def test_it(city):
    Path(os.environ["TELL"]).write_text(city["toy"].url)
    time.sleep(60)
"""


def carrying(name: str, value: str) -> list[int]:
    """Return the living processes that have this in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_run_at_its_limit_takes_its_grandchildren_along(tmp_path: Path) -> None:
    """A command over its limit is killed together with a child that has a session of its own."""
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(120)'],"
    code += " start_new_session=True); time.sleep(120)"
    mark = str(tmp_path / "result.json")
    with pytest.raises(subprocess.TimeoutExpired):
        run_to_end(
            [sys.executable, "-c", code], env={**os.environ, MARK: mark}, cwd=tmp_path, output=tmp_path / "out",
            mark=MARK, seconds=0.5,
        )  # fmt: skip
    assert carrying(MARK, mark) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_caller_leaves_no_process(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    """Interrupt (or kill -9) the caller in the middle of a check: the check process is gone soon after."""
    monkeypatch.setenv("TELL", str(tmp_path / "told"))
    course.check(SPAWN if how == signal.SIGINT else SPAWN.split("\n", 2)[2])
    caller = subprocess.Popen(
        [sys.executable, "-c", f"from lab_services.checks import run_checks; run_checks({NAME!r})"],
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        assert eventually(lambda: (tmp_path / "told").is_file(), within=20)
        caller.send_signal(how)
        assert caller.wait(20) != 0
        assert eventually(lambda: not carrying("TELL", str(tmp_path / "told")), within=10)
    finally:
        caller.kill()
        caller.wait()
        if how == signal.SIGKILL:  # it could not tidy up: the next run does
            [left] = course.left_over()
            course.check("pass")
            subprocess.run([sys.executable, "-c", f"from lab_services.checks import judge; judge({NAME!r}, {{}})"])
            assert left not in course.left_over()


@pytest.mark.slow
def test_a_killed_caller_leaves_no_city(course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill -9 the caller while a check talks to a real city: supervisor and services are gone soon after."""
    monkeypatch.setenv("TELL", str(tmp_path / "told"))
    course.write(TALK, ["test_it"])
    caller = subprocess.Popen(
        [sys.executable, "-c", f"from lab_services.checks import run_checks; run_checks({NAME!r})"],
        start_new_session=True,
    )
    try:
        assert eventually(lambda: (tmp_path / "told").is_file(), within=30)
        assert len(carrying("TELL", str(tmp_path / "told"))) >= 4, "caller, checks, supervisor, service"
    finally:
        caller.kill()
        caller.wait()
    assert eventually(lambda: not carrying("TELL", str(tmp_path / "told")), within=10)
    for left in course.left_over():
        shutil.rmtree(course.root / "work" / ".checks" / left)


def test_a_check_that_hangs_ends_in_its_time(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging check costs its limit and little more."""
    from lab_services.checks import run_checks

    monkeypatch.setenv("COURSE_CHECK_SECONDS", "0.5")
    course.check("while True: time.sleep(1)")
    begin = time.monotonic()
    assert run_checks(course.spec).rows[0].kind == "time-out"
    assert time.monotonic() - begin < 10
