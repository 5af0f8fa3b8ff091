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

START_SECONDS = 1.0  # so that a process could have come too early
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


def test_what_is_taken_back_is_begun_no_more(ahead: Ahead, tmp_path: Path) -> None:
    """Of one kind of job, those whose turn has not come are forgotten; the others are done, each once."""
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


def test_jobs_behind_come_when_the_others_are_done(ahead: Ahead, tmp_path: Path) -> None:
    """Another process does them, and not before the last of the others is over."""
    ahead.begin(wait_for, str(tmp_path / "go"))
    ahead.begin(leave_a_line, str(tmp_path / "before"))
    ahead.begin(leave_a_line, str(tmp_path / "behind"), behind=True)
    time.sleep(START_SECONDS)
    (tmp_path / "go").touch()
    assert len({ahead.result(leave_a_line, str(tmp_path / name)) for name in ("before", "behind")}) == 2
    before, behind = ((tmp_path / name).stat().st_mtime_ns for name in ("before", "behind"))
    assert before <= behind


def test_where_nothing_is_before_them_they_come_at_once(ahead: Ahead, tmp_path: Path) -> None:
    """Jobs behind others need none."""
    ahead.begin(leave_a_line, str(tmp_path / "lines"), behind=True)
    assert ahead.result(leave_a_line, str(tmp_path / "lines")) != os.getpid()


def test_who_waits_behind_can_leave(ahead: Ahead, tmp_path: Path) -> None:
    """Closed while the others are being done, both processes end."""
    children = set(multiprocessing.active_children())
    ahead.begin(wait_for, str(tmp_path / "go"))
    for number in range(4):
        ahead.begin(os.path.basename, str(number), behind=True)
    time.sleep(START_SECONDS)
    with ThreadPoolExecutor(1) as closing:
        closed = closing.submit(ahead.close)
        (tmp_path / "go").touch()
        closed.result(MOST_SECONDS)
    assert set(multiprocessing.active_children()) <= children


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
