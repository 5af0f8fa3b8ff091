"""What is begun ahead is done once, beside the tests, and ends with them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ahead import Ahead


@pytest.fixture
def ahead() -> Iterator[Ahead]:
    """Jobs of this test alone."""
    jobs = Ahead()
    yield jobs
    jobs.close()


def leave_a_line(file: str) -> int:
    """Do something that can be counted; return the process that did it."""
    with Path(file).open("a") as lines:
        lines.write("done\n")
    return os.getpid()


@pytest.mark.parametrize("begun", [True, False])
def test_a_job_is_done_once(ahead: Ahead, tmp_path: Path, begun: bool) -> None:
    """Whoever asks gets the one result, in another process when it was begun, else here."""
    file = tmp_path / "lines"
    for _ in range(2 * begun):
        ahead.begin(leave_a_line, str(file))
    ahead.wait()
    assert file.exists() == begun
    pids = {ahead.result(leave_a_line, str(file)) for _ in range(2)}
    assert file.read_text() == "done\n" and len(pids) == 1
    assert (os.getpid() in pids) == (not begun)


def test_a_job_that_fails_here_fails_whoever_asks(ahead: Ahead, tmp_path: Path) -> None:
    """Not begun, it fails where it is asked for, each time, and nobody waits for it."""
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            ahead.result(leave_a_line, str(tmp_path / "missing" / "lines"))
    ahead.wait()


def test_a_job_that_fails_fails_whoever_asks(ahead: Ahead, tmp_path: Path) -> None:
    """The error is raised where the result is asked for, each time; and the next job is done."""
    ahead.begin(leave_a_line, str(tmp_path / "missing" / "lines"))
    ahead.begin(leave_a_line, str(tmp_path / "lines"))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            ahead.result(leave_a_line, str(tmp_path / "missing" / "lines"))
    pid = ahead.result(leave_a_line, str(tmp_path / "lines"))
    ahead.close()
    assert not psutil.pid_exists(pid)
