"""Run notebooks under nbval and the guard in one pytest process, and see what is left behind afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from lab_services.notebooks import processes_of

ROOT = Path(__file__).parents[2]
NOTEBOOK_SECONDS = 150  # of each notebook in a run; a quiet machine takes a fifth of it
QUIET_SECONDS = 15
WATCH_SECONDS = 1.0  # between two looks at all processes of the machine, which cost a tenth of that
CELL_SECONDS = 120  # the checks of a starter wait for what never comes; a quiet machine takes a fifth of it
TESTS_MARK = "COURSE_TESTS"  # see tests/conftest.py
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class CellResult:
    """One cell as the guard saw it."""

    notebook: Path
    number: int
    cell: str
    source: str
    passed: bool
    message: str
    detail: str
    seconds: float

    def __str__(self) -> str:
        source = "\n".join("    | " + line for line in self.source.splitlines())
        detail = "\n".join("    " + line for line in COLOUR.sub("", self.detail).strip().splitlines()[-30:])
        return f"code cell {self.number} (id {self.cell}): {self.message}\n{source}\n{detail}".rstrip()


@dataclass(frozen=True)
class NbvalRun:
    """All cells of a run, and what outlived it."""

    cells: tuple[CellResult, ...]
    exit_code: int
    output: str
    seconds: float
    processes: tuple[str, ...]
    ports: tuple[int, ...]
    files: tuple[str, ...]

    def failures(self, notebook: Path) -> str:
        """Return the failing cells of a notebook as text for a person; empty when all passed."""
        bad = [one for one in self.cells if one.notebook == notebook and not one.passed]
        head = f"{len(bad)} cell(s) of {notebook.name} failed; look at the first, the others may follow from it.\n\n"
        return head + "\n\n".join(map(str, bad)) if bad else ""


@dataclass
class Surroundings:
    """The private folders of one run, and the ports its processes were seen to listen on."""

    folder: Path
    marker: str = field(default_factory=lambda: uuid.uuid4().hex)
    ports: set[int] = field(default_factory=set)
    done: threading.Event = field(default_factory=threading.Event)

    def env(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which nothing is written to the learner's home or to the shared temp folder."""
        places = {"HOME": "home", "TMPDIR": "tmp", "COURSE_WORK": "work", "IPYTHONDIR": "home/ipython"}
        for place in places.values():
            (self.folder / place).mkdir(parents=True, exist_ok=True)
        private = {name: str(self.folder / place) for name, place in places.items()}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COURSE_CHECK_"))}
        course = {"COURSE_ROOT": str(ROOT), "COURSE_RUN": self.marker, "PYTHONPATH": str(ROOT)}
        return {**kept, **private, **course, "PYTHONDONTWRITEBYTECODE": "1", **extra}

    def watch_ports(self) -> None:
        """Note every port a process of this run listens on, until `done`."""
        while not self.done.wait(WATCH_SECONDS):
            for process in processes_of(self.marker):
                self.ports |= listening(process)


def listening(process: psutil.Process) -> set[int]:
    """Return the TCP ports a process listens on; none when it is gone."""
    try:
        connections = process.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return set()
    return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}


def is_open(port: int) -> bool:
    """Say whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def surroundings() -> Iterator[Surroundings]:
    """Give a run its own folders, and end by its pid whatever outlived it (after the run has reported it)."""
    with tempfile.TemporaryDirectory(prefix="nb-", ignore_cleanup_errors=True) as folder:
        around = Surroundings(Path(folder))
        try:
            yield around
        finally:
            for process in leftovers(around):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def run_notebooks(
    notebooks: Sequence[Path],
    *,
    lax: bool = False,
    env: Mapping[str, str] | None = None,
    cell_seconds: float = CELL_SECONDS,
    prepare: Any = None,
    guarded: bool = True,
    quiet_seconds: float = QUIET_SECONDS,
) -> NbvalRun:
    """Run notebooks in one pytest process and wait until the machine is quiet again.

    Args:
        prepare: called with the fresh work folder before the run, to lay solutions into it.
        guarded: False runs nbval as it comes, which only the tests of the guard want.
    """
    if not notebooks:
        raise ValueError("no notebook to run: pytest would look for tests of its own choice")
    with surroundings() as around:
        environment = around.env(env or {})
        if prepare:
            prepare(Path(environment["COURSE_WORK"]))
        before = course_files()
        began = time.monotonic()
        arguments = command(notebooks, around.folder, lax, cell_seconds, guarded)
        exit_code, output = _pytest(arguments, environment, around, NOTEBOOK_SECONDS * len(notebooks))
        seconds = time.monotonic() - began
        processes, ports = what_is_left(around, quiet_seconds)
        files = changed_files(before) + strewn_files(around.folder / "tmp")
        return NbvalRun(_cells(around.folder), exit_code, output, seconds, processes, ports, files)


def command(notebooks: Sequence[Path], folder: Path, lax: bool, cell_seconds: float, guarded: bool) -> list[str]:
    """Return the command line of one nbval run, free of the settings of the tests around it."""
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    plain = [sys.executable, "-m", "pytest", "-c", str(folder / "pytest.ini"), "--rootdir", str(ROOT), "-q"]
    plugins = ["-p", "no:cacheprovider", "--color=no", "--tb=short", "-W", "error"]
    plugins += ["-p", "tests.chapters.guard", "--cells", str(folder / "cells.jsonl")] if guarded else []
    nbval = ["--nbval-lax" if lax else "--nbval", "--nbval-current-env", f"--nbval-cell-timeout={cell_seconds}"]
    return [*plain, "-p", "nbval.plugin", *plugins, *nbval, *map(str, notebooks)]


def _pytest(
    arguments: list[str], environment: Mapping[str, str], around: Surroundings, most_seconds: float
) -> tuple[int, str]:
    env = {**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    watcher = threading.Thread(target=around.watch_ports, daemon=True)
    with (around.folder / "output").open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        watcher.start()
        try:
            process.wait(most_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        finally:
            around.done.set()
            watcher.join()
        output.seek(0)
        return process.returncode, output.read()


def _cells(folder: Path) -> tuple[CellResult, ...]:
    file = folder / "cells.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return tuple(CellResult(**{**facts, "notebook": Path(facts["notebook"])}) for facts in map(json.loads, lines))


def what_is_left(around: Surroundings, quiet_seconds: float) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Wait until no process of the run lives and none of its ports is open; return what is left at the limit."""
    deadline = time.monotonic() + quiet_seconds
    while True:
        processes = tuple(sorted(map(describe, leftovers(around))))
        ports = tuple(sorted(left_open(around)))
        if not (processes or ports) or time.monotonic() > deadline:
            return processes, ports
        time.sleep(0.1)


def left_open(around: Surroundings) -> set[int]:
    """Return the ports of the run that are open; not those that the machine has given to another test since."""
    found = {port for port in around.ports if is_open(port)}
    return found - of_other_tests(around.marker) if found else found


def of_other_tests(marker: str) -> set[int]:
    """Return the ports on which the tests listen, and processes of theirs that belong to no run or another one."""
    found = set()
    tests = {psutil.Process(), *psutil.Process().parents()}  # they were marked after their start, which nobody can see
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            environment = process.environ()
            if process in tests or (TESTS_MARK in environment and environment.get("COURSE_RUN") != marker):
                found |= listening(process)
    return found


def leftovers(around: Surroundings) -> list[psutil.Process]:
    """Return the processes that carry the marker of the run, or work in its folder."""
    found = {process.pid: process for process in processes_of(around.marker)}
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(around.folder) and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
        except (psutil.Error, OSError):
            continue
    return list(found.values())


def describe(process: psutil.Process) -> str:
    """Return pid and command of a process for a message."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:160]}"
    except psutil.Error:
        return f"{process.pid} (gone meanwhile)"


WATCHED = ("chapters", "labs", "solutions", "work")
NOT_OURS = (".ipynb_checkpoints", "__pycache__", ".pytest_cache", ".run")  # .run: labs that other tests run meanwhile


def course_files() -> dict[str, tuple[int, int]]:
    """Return size and time of every file a notebook could reach from where it runs; the real work/ is one of them."""
    places = [path for name in WATCHED for path in (ROOT / name).rglob("*")] + list(ROOT.glob("*"))
    facts = {}
    for path in places:
        if path.is_file() and not set(NOT_OURS) & set(path.parts):
            stat = path.stat()
            facts[str(path.relative_to(ROOT))] = (stat.st_size, stat.st_mtime_ns)
    return facts


def changed_files(before: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    """Return the files of the course that appeared, changed or went since `before`."""
    after = course_files()
    return tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def strewn_files(folder: Path) -> tuple[str, ...]:
    """Return the files left in the temporary folder of the run."""
    return tuple(sorted(f"TMPDIR/{path.relative_to(folder)}" for path in folder.rglob("*") if not path.is_dir()))
