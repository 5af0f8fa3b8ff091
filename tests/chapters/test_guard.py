"""The guard: what nbval alone lets pass must fail, and what is sound must pass."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.chapters.nbval_run import NbvalRun, is_open, left_open, run_notebooks, surroundings
from tests.chapters.small import code, failed, printed, shown, write

IGNORE = ("nbval-ignore-output",)

PLANTED = {  # name: (the cell, what the guard says)
    "never_run": (code("1 + 1", count=None), "never run"),
    "no_such_magic": (code("%no_such_magic\nprint('lost')", tags=IGNORE), "UsageError"),
    "did_not_raise": (code("1 + 1", tags=("raises-exception", *IGNORE)), "did not raise"),
    "skipped_by_tag": (code("1 / 0", tags=("nbval-skip",)), "skipped"),
    "skipped_by_comment": (code("# NBVAL_SKIP\n1 / 0"), "skipped"),
    "raw_error": (
        code("1 / 0", failed("ZeroDivisionError", "division by zero"), tags=("raises-exception",)),
        "raw trace",
    ),
    "raw_traceback": (code("print('Traceback (most recent call last):')", tags=IGNORE), "raw traceback"),
}
DEAD = [code("import os\nos.kill(os.getpid(), 9)"), code("1 + 1", shown(text_plain="2"))]
SOUND = [
    code("print('two docks')", printed("two docks\n")),
    code("21 * 2", shown(2, text_plain="42"), count=2),
    code("import random\nrandom.random()", shown(3, text_plain="0.5"), tags=IGNORE, count=3),
    code("import asyncio\nawait asyncio.sleep(0)", count=4),
    code(
        "from lab_services.errors import LabError\nraise LabError('no bikes')",
        failed("LabError", "no bikes"),
        tags=("raises-exception",),
        count=5,
    ),
]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The notebook of planted cells, and others beside it."""
    folder = tmp_path_factory.mktemp("books")
    note = "import atexit, pathlib\n_ = atexit.register(pathlib.Path('atexit_ran').touch)"
    return {
        "planted": write(folder / "planted.ipynb", *(cell for cell, _ in PLANTED.values())),
        "dead_kernel": write(folder / "dead_kernel.ipynb", *DEAD),
        "changed": write(folder / "changed.ipynb", code("20 * 2", shown(text_plain="42"))),
        "sound": write(folder / "sound.ipynb", *SOUND, code(note, count=6)),
    }


@pytest.fixture(scope="module")
def guarded(books: dict[str, Path]) -> NbvalRun:
    """One strict run over all of them with the guard."""
    return run_notebooks(list(books.values()))


@pytest.mark.parametrize("name", PLANTED)
def test_a_silent_pass_of_nbval_fails_under_the_guard(name: str, books: dict[str, Path], guarded: NbvalRun) -> None:
    """A cell that nbval alone would let pass fails, and the message names the reason."""
    results = [cell for cell in guarded.cells if cell.notebook == books["planted"]]
    result = results[list(PLANTED).index(name)]
    assert not result.passed and PLANTED[name][1] in result.message


def test_these_cells_do_pass_without_the_guard(books: dict[str, Path]) -> None:
    """nbval alone passes every planted cell: the guard is what finds them."""
    assert run_notebooks([books["planted"]], guarded=False).exit_code == 0


def test_a_dead_kernel_is_noticed_at_once(books: dict[str, Path], guarded: NbvalRun) -> None:
    """A kernel that dies fails its cell within seconds instead of after the time-out."""
    first, later = [cell for cell in guarded.cells if cell.notebook == books["dead_kernel"]]
    assert "kernel died" in first.message and first.seconds < 10
    assert not later.passed


def test_a_stored_output_that_is_not_true_fails(books: dict[str, Path], guarded: NbvalRun) -> None:
    """An output that differs from the stored one fails, and both are shown."""
    said = guarded.failures(books["changed"])
    assert "Cell outputs differ" in said and "42" in said and "40" in said


def test_a_sound_notebook_passes_and_ends_by_itself(books: dict[str, Path], guarded: NbvalRun) -> None:
    """A sound notebook passes cell by cell, and what it registered with atexit runs."""
    results = [cell for cell in guarded.cells if cell.notebook == books["sound"]]
    assert guarded.failures(books["sound"]) == "" and len(results) == 6
    assert (books["sound"].parent / "atexit_ran").exists()


def test_lax_lets_outputs_and_unstored_cells_be_but_not_errors(tmp_path: Path) -> None:
    """With solutions laid in, outputs may differ and a meant error may be gone; any other error still fails."""
    fine = write(tmp_path / "fine.ipynb", code("20 * 2", shown(text_plain="42")), code("1", tags=("raises-exception",)))
    wrong = write(tmp_path / "wrong.ipynb", code("1 / 0"))
    run = run_notebooks([fine, wrong], lax=True)
    assert run.failures(fine) == ""
    assert "ZeroDivisionError" in run.failures(wrong)


def test_a_cell_that_hangs_fails_with_those_after_it(tmp_path: Path) -> None:
    """A cell beyond its time fails, and so do the cells after it instead of being expected to."""
    cells = [code("import time\ntime.sleep(30)"), code("1 + 1", shown(2, text_plain="2"), count=2)]
    hangs = write(tmp_path / "hangs.ipynb", *cells)
    run = run_notebooks([hangs], cell_seconds=2)
    assert "Timeout" in run.failures(hangs) and not any(cell.passed for cell in run.cells)


STRAY = """
import subprocess, sys, tempfile
program = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
program += "; time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE, text=True)
port = child.stdout.readline().strip()
_ = open(tempfile.gettempdir() + "/forgotten", "w").write(port)
_ = open("stray", "w").write(f"{child.pid} {port}")
import time; time.sleep(2.5)  # looked at each second
"""


@pytest.fixture
def stray(tmp_path: Path) -> Iterator[tuple[NbvalRun, int, int]]:
    """A run whose notebook leaves a listening child in a session of its own, and the child's pid and port."""
    run = run_notebooks([write(tmp_path / "stray.ipynb", code(STRAY))], quiet_seconds=0.5)
    pid, port = map(int, (tmp_path / "stray").read_text().split())
    yield run, pid, port
    if psutil.pid_exists(pid):
        os.kill(pid, 9)


def test_a_port_that_another_test_has_been_given_is_not_left_behind() -> None:
    """What a run listened on may be somebody else's by now: of the tests, or of a program that they started."""
    with socket.create_server(("127.0.0.1", 0)) as ours, surroundings() as around, ExitStack() as ends:
        around.ports.add(ours.getsockname()[1])
        for run in ("", around.marker):
            port, program = listener(run)
            ends.callback(program.wait)
            ends.callback(program.kill)
            around.ports.add(port)
        assert left_open(around) == {port}


def listener(run: str) -> tuple[int, subprocess.Popen[str]]:
    """Start a program that listens, as one of this run of notebooks; return its port and the program."""
    listens = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    program = subprocess.Popen(
        [sys.executable, "-c", listens + "; time.sleep(60)"],
        env={**os.environ, "COURSE_RUN": run},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    with program.stdout as said:
        return int(said.readline()), program


def test_what_outlives_a_notebook_is_found_and_ended(stray: tuple[NbvalRun, int, int]) -> None:
    """A process, a port and a temporary file that a notebook leaves are reported, and the process is ended."""
    run, pid, port = stray
    assert [line.split()[0] for line in run.processes] == [str(pid)]
    assert run.ports == (port,)
    assert "TMPDIR/forgotten" in run.files
    deadline = time.monotonic() + 5
    while is_open(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_open(port)
