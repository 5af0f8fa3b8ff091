"""What a learner can do to a service, and the one friendly message that it gets; the rest of the city stays up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from lab_services.errors import (
    BrokenCode,
    LabError,
    MissingProgram,
    NotReady,
    ServiceCrashed,
)
from lab_services.lab import Lab
from lab_services.runtime.logs import FILE_BYTES, KEPT_LINES, LINE_BYTES, LogTail
from tests.runtime.conftest import HELLO, Maker, service, until, word, write


def start_and_fail(lab: Lab, kind: type[LabError]) -> LabError:
    """Start a town whose service `a` is broken; return the error; `b` must be up and all four parts be there."""
    with pytest.raises(kind) as failure:
        lab.start()
    error = failure.value
    assert error.what and error.where and error.evidence and error.next_step
    assert "Traceback" not in str(error)
    assert word(lab["b"].url) == "hello"
    return error


def test_a_syntax_error_names_file_line_and_place(make_town: Maker) -> None:
    """A typo is one message with the line and a caret under the place."""
    lab = make_town(service("a"), service("b"), a=HELLO.replace("def ready(): return {}", "def ready( return {}"))
    error = start_and_fail(lab, BrokenCode)
    assert error.where == "a.py:9"
    assert "def ready( return {}" in error.evidence and "^" in error.evidence


def test_what_a_module_refuses_on_purpose_is_told_as_it_says_it(make_town: Maker) -> None:
    """An error of the course that is raised at import keeps its own place, evidence and next step."""
    fields = "where='routes.py:7', evidence='no such field', next_step='change it'"
    raised = f"from lab_services.errors import EnvoyRefuses\nraise EnvoyRefuses('Envoy refuses this', {fields})\n"
    error = start_and_fail(make_town(service("a"), service("b"), a=raised, b=HELLO), BrokenCode)
    said = error.what, error.where, error.evidence, error.next_step
    assert said == ("Envoy refuses this", "routes.py:7", "no such field", "change it")


def test_an_import_error_names_the_learners_line(make_town: Maker) -> None:
    """A wrong import shows the learner's line, no frame of a library, and what Python said."""
    lab = make_town(service("a"), service("b"), a="import walet\n" + HELLO)
    error = start_and_fail(lab, BrokenCode)
    assert error.where == "a.py:1"
    assert "No module named 'walet'" in error.evidence
    assert "site-packages" not in error.evidence


def test_what_envoy_refuses_is_told_in_its_own_parts(make_town: Maker) -> None:
    """A plane that has asked Envoy shows the line that Envoy means, and not the line that has asked."""
    refused = 'EnvoyRefuses("it refuses", where="routes.py:3", evidence="no such field", next_step="change it")'
    lab = make_town(service("a"), service("b"), a=f"from lab_services.errors import EnvoyRefuses\nraise {refused}\n")
    error = start_and_fail(lab, BrokenCode)
    assert (error.what, error.where) == ("it refuses", "routes.py:3")
    assert (error.evidence, error.next_step) == ("no such field", "change it")


def test_a_missing_app_says_what_the_lab_looks_for(make_town: Maker) -> None:
    """A module without `app` is told which line it lacks."""
    lab = make_town(service("a"), service("b"), a="application = 1\n")
    assert "app = FastAPI()" in start_and_fail(lab, BrokenCode).next_step


def test_a_crash_at_start_shows_the_exit_and_the_last_lines(make_town: Maker) -> None:
    """A service that ends while starting up is shown with its exit code and what it printed last."""
    lab = make_town(service("a"), service("b"), a='import sys\nprint("no tariff found")\nsys.exit(7)\n')
    error = start_and_fail(lab, ServiceCrashed)
    assert "exit code 7" in error.what
    assert "no tariff found" in error.evidence and "a.log" in error.evidence


def test_an_error_in_the_lifespan_is_a_crash_with_its_reason(make_town: Maker) -> None:
    """An exception at start-up is shown by its own words."""
    lifespan = HELLO.replace(
        "app = FastAPI()",
        "async def boom(app):\n    raise RuntimeError('no wallet')\n    yield\napp = FastAPI(lifespan=boom)",
    )
    lab = make_town(
        service("a"),
        service("b"),
        a="import contextlib\n" + lifespan.replace("async def", "@contextlib.asynccontextmanager\nasync def"),
    )
    assert "no wallet" in start_and_fail(lab, ServiceCrashed).evidence


def test_a_crash_later_is_a_state_and_not_your_stop(make_town: Maker) -> None:
    """A service that ends by itself is shown as crashed with its status; one that you killed is not."""
    dies = HELLO + '\n@app.get("/die")\nasync def die():\n    print("last words", flush=True)\n    os._exit(9)\n'
    lab = make_town(service("a"), service("b"), a=dies)
    lab.start()
    with pytest.raises(httpx.HTTPError):
        httpx.get(lab["a"].url + "/die")
    until(lambda: lab["a"].state == "crashed")
    [note] = [state.note for state in lab.states() if state.name == "a"]
    assert "exit code 9" in note and "last words" in note
    assert word(lab["b"].url) == "hello"
    lab.restart("a")
    assert word(lab["a"].url) == "hello"


def test_a_crashed_service_comes_back_with_the_save_that_mends_it(make_town: Maker) -> None:
    """After a typo at start, saving the mended file is enough."""
    lab = make_town(service("a"), service("b"), a="def oh(:\n")
    start_and_fail(lab, BrokenCode)
    write(lab.folder / "a.py", HELLO)
    assert word(lab["a"].url) == "hello"


def test_a_broken_save_keeps_the_version_before_it_serving(make_town: Maker) -> None:
    """After a bad save the old version answers, asking for the service says why, and the status notes it."""
    lab = make_town(service("a"), service("b"))
    lab.start()
    url = lab["a"].url
    write(lab.folder / "a.py", "def oh(:\n")
    with pytest.raises(BrokenCode):
        lab["a"]
    assert word(url) == "hello"
    [note] = [state.note for state in lab.states() if state.name == "a"]
    assert "the version before it still serves" in note


def test_a_hang_before_ready_is_not_a_crash(make_town: Maker) -> None:
    """A service that starts and never gets ready is told apart, with what it answered."""
    hangs = HELLO.replace(
        "def ready(): return {}", "def ready():\n    from fastapi import HTTPException\n    raise HTTPException(503)"
    )
    lab = make_town(service("a"), service("b"), a=hangs)
    assert "answered 503" in start_and_fail(lab, NotReady).what


def test_a_hang_at_import_is_ended(make_town: Maker) -> None:
    """A service that waits for ever at import is given up, named, and leaves no process."""
    lab = make_town(service("a"), service("b"), a='print("waiting")\nimport threading\nthreading.Event().wait()\n')
    error = start_and_fail(lab, NotReady)
    assert "waiting" in error.evidence
    assert all(not state.replicas[0].pid for state in lab.states() if state.name == "a")


def test_who_needs_a_broken_service_is_not_started_and_says_so(make_town: Maker) -> None:
    """A service whose need is down is shown as not started, with the name of what it needs."""
    lab = make_town(service("a"), service("b"), service("c", needs=("a",)), a="def oh(:\n")
    start_and_fail(lab, BrokenCode)
    [note] = [state.note for state in lab.states() if state.name == "c"]
    assert note == "not started, because it needs a"


def test_an_endless_log_is_bounded_and_harms_nobody(make_town: Maker) -> None:
    """A service that prints without end keeps serving, and memory and file stay bounded."""
    flood = HELLO + (
        "\nimport threading\ndef flood():\n    while True: print('x' * 500)\n"
        "threading.Thread(target=flood, daemon=True).start()\n"
    )
    lab = make_town(service("a"), service("b"), a=flood)
    lab.start()
    folder = lab["a"].data.parents[1] / "logs"
    until(lambda: (folder / "a.log.1").exists(), 20)
    assert word(lab["b"].url) == "hello"
    assert sum(path.stat().st_size for path in folder.glob("a.log*")) < 3 * FILE_BYTES
    assert "older lines" in repr(lab.logs("a", lines=5)) or len(repr(lab.logs("a", lines=5))) < 10_000


def test_a_binary_log_is_shown_as_text(make_town: Maker) -> None:
    """Bytes that are no text do not break the log, nor reach the terminal as control characters."""
    noisy = 'import os\nos.write(1, bytes(range(256)) + b"\\n")\nprint("after")\n' + HELLO
    lab = make_town(service("a"), a=noisy)
    lab.start()
    shown = repr(lab.logs("a"))
    assert "after" in shown
    assert not {chr(n) for n in range(32)} & set(shown) - {"\n"}


def test_a_file_deleted_while_running_is_named(make_town: Maker) -> None:
    """A deleted file: what ran goes on, and the next look says which file is gone and how to get it back."""
    lab = make_town(service("a"), service("b"))
    lab.start()
    url = lab["a"].url
    (lab.folder / "a.py").unlink()
    with pytest.raises(BrokenCode) as failure:
        lab["a"]
    assert "a.py" in failure.value.what and "lab.reset()" in failure.value.next_step
    assert word(url) == "hello"


def test_a_missing_program_names_the_command_that_installs_it(
    make_town: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lab with a server that is not installed starts the rest and says what to type."""
    if shutil.which("prometheus", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin"):
        monkeypatch.setenv("PATH", "/nowhere")
    lab = make_town(service("a", kind="server", target="prometheus"), service("b"))
    error = start_and_fail(lab, MissingProgram)
    assert "install" in error.next_step


def test_a_full_disk_is_one_message(make_town: Maker, tmp_path: Path) -> None:
    """On a full disk a service that must write is named with the reason, the others run; with room again it starts."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("mounting a small disk needs root on Linux: run the tests with sudo to include this one")
    writes = "import os, pathlib\n(pathlib.Path(os.environ['DATA_DIR']) / 'ledger').write_text('x' * 5000)\n" + HELLO
    lab = make_town(service("a"), service("b"), a=writes)
    disk = tmp_path / "runs"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        error = start_and_fail(lab, BrokenCode)
        assert "No space left on device" in error.evidence
        filler.unlink()
        lab.restart("a")
        assert word(lab["a"].url) == "hello"
    finally:
        lab.close()
        subprocess.run(["umount", "-l", str(disk)], check=True)


async def _drained(tail: LogTail, text: bytes) -> None:
    import asyncio

    writer = tail.pipe()
    os.set_blocking(writer, True)
    await asyncio.get_running_loop().run_in_executor(None, _write_all, writer, text)
    for _ in range(200):
        await asyncio.sleep(0.005)


def _write_all(writer: int, text: bytes) -> None:
    with os.fdopen(writer, "wb") as out:
        out.write(text)


def test_a_log_on_a_full_disk_is_kept_in_memory(tmp_path: Path) -> None:
    """When the log's file cannot be written, the lines are still there to show."""
    import asyncio

    (tmp_path / "a.log").symlink_to("/dev/full")
    tail = LogTail(tmp_path / "a.log")
    asyncio.run(_drained(tail, b"one\ntwo\nthree"))
    assert tail.last(2) == ["two", "three"]


def test_a_log_keeps_a_bounded_number_of_bounded_lines(tmp_path: Path) -> None:
    """Many lines and one endless line stay within the limits, and the dropped ones are counted."""
    import asyncio

    tail = LogTail(tmp_path / "a.log")
    asyncio.run(_drained(tail, b"x\n" * (KEPT_LINES + 10) + b"y" * (5 * LINE_BYTES)))
    assert len(tail.last(10**6)) <= KEPT_LINES + 1
    assert tail.dropped >= 10
    assert max(map(len, tail.last(10**6))) <= LINE_BYTES * 20
