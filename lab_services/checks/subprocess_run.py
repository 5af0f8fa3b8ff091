"""Run one command with a limit and leave nothing of it behind, not even when the caller is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LEASE = "COURSE_CHECK_LEASE"
LEAVE_SECONDS = 5.0  # so long the supervisor of a killed run may take to stop its city
KILLED_SECONDS = 5.0  # so long a busy machine may take to end what was killed
POLL_SECONDS = 0.05
TAIL_BYTES = 4000


def run_to_end(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path, mark: str, seconds: float
) -> int:
    """Return the exit status of the command; whatever it prints goes to the file `output`.

    Args:
        mark: a name in `env` whose value no other process has: what carries it is ended when the run is cut off.
        seconds: after these the command and all its children are killed.

    Raises:
        subprocess.TimeoutExpired: the limit was reached.
    """
    lease, ours = os.pipe()
    try:
        with output.open("wb") as sink:
            process = subprocess.Popen(
                command, env={**env, LEASE: str(lease)}, cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT, start_new_session=True, pass_fds=(lease,),
            )  # fmt: skip
        try:
            status = process.wait(seconds)
        finally:
            _kill_group(process)
        if status not in (0, 1):
            end_marked(mark, env[mark])
        return status
    except BaseException:
        end_marked(mark, env[mark])
        raise
    finally:
        os.close(lease)
        os.close(ours)


def end_marked(name: str, value: str) -> None:
    """Wait for every process with name=value in its environment to leave; kill those that stay.

    A killed process is gone a moment later only, so its end is waited for as well: what follows may count on it.
    """
    if not _left_after(LEAVE_SECONDS, name, value):
        return
    deadline = time.monotonic() + KILLED_SECONDS
    while (left := _marked(name, value)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def tail(output: Path) -> str:
    """Return the last lines of a file that may hold anything."""
    with suppress(OSError), output.open("rb") as content:
        content.seek(max(0, output.stat().st_size - TAIL_BYTES))
        return content.read().decode(errors="replace").strip()
    return ""


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the session's process group; the group id cannot be another's before the process is reaped."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE_SECONDS)


def _left_after(seconds: float, name: str, value: str) -> list[int]:
    """Return the marked processes that stayed for so long."""
    deadline = time.monotonic() + seconds
    while (left := _marked(name, value)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left


def _marked(name: str, value: str) -> list[int]:
    import psutil

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found
