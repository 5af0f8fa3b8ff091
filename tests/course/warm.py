"""Run checks in forks of this process, with a runtime that stays warm: most of a judgement would be imports.

A judging process imports pytest and the course once and forks for each run, so that no run sees what another one has
imported. The supervisor of the lab, with its launcher, is this process's and outlives a run. A run that leaves a city
behind, or does not come to its end, takes the supervisor with it.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import httpx  # noqa: F401  for the forks, as the next two
import psutil
import pytest

import lab_services.checks.broker_probes
import lab_services.checks.plugin
import lab_services.lab
from lab_services.checks.subprocess_run import LEASE
from lab_services.runtime.client import SupervisorClient, start_supervisor
from lab_services.runtime.workspace import work_root

MODULES = ("nats", "grpc")  # what services need besides HTTP
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.01


def run_warm(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path, mark: str, seconds: float
) -> int:
    """Run the checks as `lab_services.checks.subprocess_run.run_to_end` does, in a fork.

    Raises:
        subprocess.TimeoutExpired: the limit was reached.
    """
    supervisor = WARM.of(env["COURSE_CHECK_LAB"])
    lease, ours = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _run(command[command.index("pytest") + 1 :], supervisor, ours, output, cwd, {**env, LEASE: str(lease)})
    try:
        status = _ended(pid, seconds)
    finally:
        os.close(lease)
        os.close(ours)
    if status not in (0, 1) or not idle(supervisor):
        WARM.close()
    if status is None:
        raise subprocess.TimeoutExpired(command, seconds)
    return status


def _run(
    arguments: Sequence[str],
    supervisor: subprocess.Popen[bytes],
    ours: int,
    output: Path,
    cwd: Path,
    env: Mapping[str, str],
) -> NoReturn:
    """Run pytest in the fork, and end it whatever happens: it must never go on as the judging process."""
    status = 3
    try:
        os.close(ours)
        _become(output, cwd, env)
        lab_services.lab.SupervisorClient = Lent.of(supervisor)  # type: ignore[misc]
        status = int(pytest.main(list(arguments)))
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _become(output: Path, cwd: Path, env: Mapping[str, str]) -> None:
    os.setsid()
    sink, nothing = os.open(output, os.O_WRONLY | os.O_CREAT), os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)


def _ended(pid: int, seconds: float) -> int | None:
    """Return the exit status of a fork; None when it has been killed, because it took longer."""
    deadline = time.monotonic() + seconds
    while True:
        late = time.monotonic() > deadline
        if late:
            os.kill(pid, signal.SIGKILL)
        found, status = os.waitpid(pid, 0 if late else os.WNOHANG)
        if found:
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
            return None if late else os.waitstatus_to_exitcode(status)
        time.sleep(POLL_SECONDS)


def idle(supervisor: subprocess.Popen[bytes]) -> bool:
    """Say whether a supervisor answers that it runs nothing; what it told the run before is passed over."""
    question = secrets.token_hex(8)
    assert supervisor.stdin is not None and supervisor.stdout is not None
    with suppress(OSError):
        os.write(supervisor.stdin.fileno(), json.dumps({"id": question, "do": "running"}).encode() + b"\n")
    said, deadline = b"", time.monotonic() + ANSWER_SECONDS
    while (left := deadline - time.monotonic()) > 0 and select.select([supervisor.stdout], [], [], left)[0]:
        heard = os.read(supervisor.stdout.fileno(), 65536)
        said += heard
        for line in said.split(b"\n")[:-1]:
            if question.encode() in line:
                return json.loads(line).get("value") is False
        if not heard:
            break
    return False


class Warm:
    """The supervisor of the lab that is judged; the next lab gets one of its own."""

    def __init__(self) -> None:
        self._lab = ""
        self._supervisor: subprocess.Popen[bytes] | None = None

    def of(self, lab: str) -> subprocess.Popen[bytes]:
        """Return a supervisor that runs nothing."""
        if self._supervisor is None or self._lab != lab or self._supervisor.poll() is not None:
            self.close()
            registry = work_root() / ".run"
            mark = f"{work_root()}|{lab}|{secrets.token_hex(8)}"
            self._lab = lab
            self._supervisor = start_supervisor(lab, registry, mark, registry / f"{mark[-16:]}.log", MODULES)
        return self._supervisor

    def close(self) -> None:
        """End the supervisor and whatever it runs."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None and supervisor.stdout is not None
        supervisor.stdin.close()
        try:
            supervisor.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            supervisor.kill()
            supervisor.wait()
        supervisor.stdout.close()


WARM = Warm()


class Lent(SupervisorClient):
    """The warm supervisor as a run sees it: to close it means to stop what it runs."""

    process: _NotOurs

    @staticmethod
    def of(supervisor: subprocess.Popen[bytes]) -> type[Lent]:
        """Return the class whose objects speak to this supervisor."""
        return type("Lent", (Lent,), {"process": _NotOurs(supervisor)})

    def _start(self, modules: Sequence[str]) -> Any:
        return self.process

    def close(self) -> None:
        """Stop the services."""
        if self.alive:
            self.ask("stop")


class _NotOurs:
    """As much of a Popen as a client needs, of a process whose child we are not the parent of."""

    returncode = 1  # of a supervisor that has ended: it was not ours to end

    def __init__(self, supervisor: subprocess.Popen[bytes]) -> None:
        self.pid, self.stdin, self.stdout = supervisor.pid, supervisor.stdin, supervisor.stdout

    def poll(self) -> int | None:
        """Return None while it runs."""
        with suppress(psutil.Error):
            if psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE:
                return None
        return self.returncode

    def wait(self, timeout: float = ANSWER_SECONDS) -> int:
        """Return when it has ended."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("supervisor", timeout)
            time.sleep(POLL_SECONDS)
        return self.returncode
