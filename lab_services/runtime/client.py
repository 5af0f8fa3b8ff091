"""The kernel's end of the supervisor: one process, orders in, answers out, everything gone when it goes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab_services.errors import LabError, RuntimeLost

ORDER_SECONDS = 120.0  # the longest an order may take; each step inside has a limit of its own
CLOSE_SECONDS = 8.0


def start_supervisor(lab: str, registry: Path, mark: str, log: Path, modules: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the supervisor of a lab: orders go to its standard input, whose end is the end of the lease.

    Args:
        registry: the folder in which it makes itself known.
        mark: COURSE_RUN in its environment, and in that of all it starts.
        log: the file for what it prints of its own troubles.
        modules: what its launcher imports besides, for the services to come.
    """
    registry.mkdir(parents=True, exist_ok=True)
    settings = {"lab": lab, "registry": str(registry), "modules": list(modules)}
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "lab_services.runtime", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env={**os.environ, "COURSE_RUN": mark, "PYTHONPATH": path},
            start_new_session=True,
        )


class SupervisorClient:
    """Starts a supervisor and talks to it. Safe to use from several threads."""

    def __init__(self, lab: str, work: Path, modules: Sequence[str] = ()) -> None:
        self.lab = lab
        self._registry = work / ".run"
        self._mark = f"{work}|{lab}|{secrets.token_hex(8)}"
        self._ids = itertools.count(1)
        self._waiting: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._writing = threading.Lock()
        self._log = self._registry / f"{lab}.supervisor.log"
        self._process = self._start(modules)
        self._listener = threading.Thread(target=self._listen, name=f"{lab} supervisor", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the supervisor runs."""
        return self._process.poll() is None

    def ask(self, do: str, **fields: Any) -> Any:
        """Send one order and wait for its answer.

        Raises:
            LabError: whatever went wrong over there.
            RuntimeLost: the supervisor has ended, or did not answer within two minutes.
        """
        number = next(self._ids)
        answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._waiting[number] = answers
        try:
            self._write({"id": number, "do": do, **fields})
            answer = answers.get(timeout=ORDER_SECONDS)
        except queue.Empty:
            raise self._lost(f"no answer to {do!r} within {ORDER_SECONDS:g} s") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise LabError.from_dict(answer["error"])
        return answer["value"]

    def close(self) -> None:
        """End the lease: the supervisor stops everything and leaves. Idempotent."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with self._writing:
                with contextlib.suppress(OSError):
                    stdin.close()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._sweep()
        self._listener.join(1.0)

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with self._writing, suppress(OSError):
            self._process.stdin.close()

    def _start(self, modules: Sequence[str]) -> subprocess.Popen[bytes]:
        return start_supervisor(self.lab, self._registry, self._mark, self._log, modules)

    def _write(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            with self._writing:
                self._process.stdin.write(json.dumps(order).encode() + b"\n")
                self._process.stdin.flush()
        except (OSError, ValueError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)  # it is on its way out: `alive` is false once this is said
            raise self._lost(repr(error)) from error

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                answer = json.loads(line)
                if (waiting := self._waiting.get(answer["id"])) is not None:
                    waiting.put(answer)
        self._process.wait()
        self._hang_up()
        if self._process.returncode != 0:
            self._sweep()  # it was killed: what it could not stop is stopped from here
        gone = {"error": self._lost(f"exit status {self._process.returncode}").as_dict()}
        for waiting in list(self._waiting.values()):
            waiting.put(gone)

    def _sweep(self) -> None:
        from lab_services.runtime.registry import sweep

        sweep()

    def _lost(self, evidence: str) -> RuntimeLost:
        try:
            said = self._log.read_text(errors="backslashreplace")[-2000:]
        except OSError:
            said = ""
        return RuntimeLost(
            "the supervisor of this lab has ended, and the city with it",
            where=f"{self.lab}, supervisor {self._process.pid}",
            evidence=f"{evidence}\n{said}".strip(),
            next_step="lab.start() starts a new one; nothing in your folder is lost",
        )
