"""What is begun ahead is done once, beside the tests, and ends with them."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.ahead import Ahead

MOST_SECONDS = 60.0  # until a process has started on a busy machine


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


def wait_for(file: str) -> None:
    """Return when there is a file."""
    end = time.monotonic() + MOST_SECONDS
    while not Path(file).exists():
        assert time.monotonic() < end
        time.sleep(0.01)


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


def test_what_is_taken_back_is_begun_no_more(tmp_path: Path) -> None:
    """Of one kind of job, those whose turn has not come are forgotten; the others are done, each once."""
    ahead = Ahead(workers=1)
    files = [str(tmp_path / name) for name in "abcd"]
    ahead.begin(wait_for, str(tmp_path / "go"))
    for file in files:
        ahead.begin(leave_a_line, file)
    ahead.begin(os.path.basename, "last")
    ahead.take_back(leave_a_line)
    kept = [ahead.begun(leave_a_line, file) is not None for file in files]
    assert not any(kept[2:]), "the pool has fetched one or two of the jobs, no more"
    assert ahead.begun(wait_for, str(tmp_path / "go")) and ahead.begun(os.path.basename, "last")
    (tmp_path / "go").touch()
    ahead.wait()
    assert [Path(file).exists() for file in files] == kept
    assert ahead.result(leave_a_line, files[3]) == os.getpid(), "taken back, it is done where it is asked for"
    assert ahead.result(os.path.basename, "last") == "last"
    ahead.close()


def meet(mine: str, other: str) -> None:
    """Return when somebody else has come to the same place."""
    Path(mine).touch()
    wait_for(other)


def test_two_are_done_at_once(ahead: Ahead, tmp_path: Path) -> None:
    """Of two jobs that wait for each other, both come to their end."""
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    ahead.begin(meet, one, other)
    ahead.begin(meet, other, one)
    ahead.wait()
    assert ahead.result(meet, one, other) is None and ahead.result(meet, other, one) is None


def test_who_has_begun_something_can_leave(tmp_path: Path) -> None:
    """Closed while a job is being done, the processes end with it, and what is behind it is not begun."""
    children, jobs = set(multiprocessing.active_children()), Ahead(workers=1)
    jobs.begin(wait_for, str(tmp_path / "go"))
    for number in range(4):
        jobs.begin(leave_a_line, str(tmp_path / str(number)))
    with ThreadPoolExecutor(1) as closing:
        closed = closing.submit(jobs.close)
        (tmp_path / "go").touch()
        closed.result(MOST_SECONDS)
    assert set(multiprocessing.active_children()) <= children
    assert not (tmp_path / "3").exists()


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
