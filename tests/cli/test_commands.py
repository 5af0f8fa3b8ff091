"""The `course` command: every function of the notebooks, from a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from lab_services import cli, doctor, running
from lab_services.doctor import Diagnosis, Finding
from lab_services.runtime.registry import Entry, entries

ROOT = Path(__file__).parents[2]
LAB = "90_tiny"
RUN_SECONDS = 120
UP_SECONDS = 40
END_SECONDS = 15
COMMANDS = {
    *("open", "test", "add", "doctor", "up", "down", "status", "logs"),
    *("check", "hint", "solution", "reset", "review", "progress", "update", "bench", "render"),
}

LAB_TOML = """
title = "A lab of one service"
minutes = 5
[services.greeter]
run = "greeter:app"
[[tasks]]
id = "90.1"
title = "Greet"
files = ["greeter.py"]
checks = ["test_it_greets"]
red = ["test_it_greets"]
hints = ["look at the route", "an answer is a dictionary", "return {...}"]
"""
GREETER = """
from fastapi import FastAPI

app = FastAPI()
print("the greeter is here", flush=True)


@app.get("/health/live")
@app.get("/health/ready")
def health() -> dict[str, str]:
    return {}


# --- your zone: task 90.1 ---
@app.get("/")
def greet() -> dict[str, str]:
    return {"says": "nothing"}
# --- end of your zone ---
"""
CHECK = """
import httpx
from lab_services.checks import expect

def test_it_greets(city):
    '''The greeter says hello.'''
    answer = httpx.get(city["greeter"].url)
    expect(answer.json() == {"says": "hello"}, sent="GET /", expected="hello", came=answer,
           why="riders like it", look="greeter.py", service="greeter")
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a learner's folder of its own, in a course of one small lab."""
    lab = tmp_path / "course" / "labs" / LAB
    lab.mkdir(parents=True)
    (lab / "lab.toml").write_text(LAB_TOML)
    (lab / "greeter.py").write_text(GREETER)
    (lab / "test_greeter.py").write_text(CHECK)
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path / "course"))
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    return tmp_path / "work"


def course(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a learner does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lab_services.cli", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS,
    )  # fmt: skip


def test_the_command_knows_what_the_course_promises() -> None:
    """`course` has the seventeen commands, and each says in its help what it does."""
    names = {command.name or command.callback.__name__ for command in cli.app.registered_commands}  # type: ignore[union-attr]
    assert names == COMMANDS
    for name in sorted(COMMANDS):
        shown = CliRunner().invoke(cli.app, [name, "--help"])
        assert shown.exit_code == 0 and len(shown.stdout.splitlines()) > 5


def test_help_imports_nothing_heavy() -> None:
    """`course --help` loads no web framework, no plotting and no notebook library."""
    heavy = "('fastapi', 'matplotlib', 'nbformat', 'jupyterlab', 'httpx', 'numpy', 'pytest')"
    code = f"import sys, lab_services.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("command", ["check", "hint", "solution", "reset", "review", "update", "logs", "up"])
def test_an_unknown_lab_is_four_parts_and_no_traceback(command: str, work: Path) -> None:
    """A lab that is not there ends with status 1; the message goes to standard error and says what to type."""
    done = course(command, "77_no_such_lab")
    assert done.returncode == 1
    assert "77_no_such_lab" in done.stderr and "next:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_of_the_doctor_says_it_all(ok: bool, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`course doctor` ends with 0 exactly when everything required is fine; an optional program does not count."""
    optional = Finding("prometheus", False, "not found", "sudo apt install prometheus", required=False)
    findings = (Finding("free disk", ok, "seen", "" if ok else "du -sh"), optional)
    monkeypatch.setattr(doctor, "examine", lambda: Diagnosis(findings))
    assert CliRunner().invoke(cli.app, ["doctor"]).exit_code == status
    told = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert told.exit_code == status and json.loads(told.stdout)["ok"] is ok


@contextmanager
def a_city(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `course up` until the block ends; the city is up when the block begins."""
    command = [sys.executable, "-m", "lab_services.cli", "up", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            said = _until(process, "Ctrl-C stops the city.")
            assert "ready" in said, said
            yield process
        finally:
            process.terminate()
            process.wait(UP_SECONDS)


def _until(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdout is not None
    said = []
    for shown in process.stdout:
        said.append(shown)
        if shown.strip() == line:
            break
    return "".join(said)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_city_in_the_terminal_ends_with_its_terminal(ending: signal.Signals, work: Path) -> None:
    """`course up` is seen by `status` and `logs`; Ctrl-C, a termination or a closed window leave nothing running."""
    with a_city(LAB) as process:
        (city,) = running.running_cities()
        assert city.lab == LAB and city.processes >= 3
        (entry,) = entries()
        services = running.log_lines(LAB, None, 5)
        assert services and running.log_lines(LAB, services[0], 3)
        process.send_signal(ending)
        assert "Stopped by you." in process.communicate(timeout=END_SECONDS)[0]
    _gone(entry)
    assert running.running_cities() == []
    assert running.log_lines(LAB, services[0], 3), "the logs of the latest run stay"


def _gone(entry: Entry) -> None:
    end = time.monotonic() + END_SECONDS
    while (left := _carrying(entry.mark)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def _carrying(mark: str) -> list[int]:
    from lab_services.runtime.registry import marked

    return [process.pid for process in marked(mark)]


def test_down_stops_what_a_crash_left(work: Path) -> None:
    """`course down` ends the processes of a supervisor that is gone, and says so; a second time there is nothing."""
    mark = f"{work}|{LAB}|0123456789abcdef"
    command = [sys.executable, "-c", "import sys; print('here', flush=True); sys.stdin.read()"]
    env = {**os.environ, "COURSE_RUN": mark}
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as sleeper:
        assert sleeper.stdout is not None and sleeper.stdout.readline()
        (work / ".run").mkdir(parents=True)
        Entry(LAB, _dead_pid(), 0.0, mark, str(work / ".run" / "1.json")).write()
        assert LAB in course("down").stdout
        assert sleeper.wait(END_SECONDS) == -signal.SIGKILL
    assert "Nothing was left to stop." in course("down").stdout


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(END_SECONDS)
    assert not psutil.pid_exists(process.pid)
    return process.pid


def test_status_says_that_nothing_runs(work: Path) -> None:
    """Without a city, `course status` says how to start one, and its JSON is an empty list."""
    assert "course up 01" in course("status").stdout
    assert json.loads(course("status", "--json").stdout) == []


def test_the_starter_is_judged_red_with_an_exit_status(work: Path) -> None:
    """`course check` shows one row per check and ends with 1 on the starter; --json is for programs."""
    done = course("check", LAB, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["passed"] is False
    assert [(row["check"], row["verdict"]) for row in report["rows"]] == [("test_it_greets", "failed")]
    assert "The greeter says hello" in course("check", "90", "90.1").stdout
    assert "0 of 1 tasks passed" in course("progress").stdout


def test_a_mended_file_is_judged_green_and_counts(work: Path) -> None:
    """`course check` ends with 0 once the behaviour is right, and `course progress` knows it."""
    greeter = work / LAB / "greeter.py"
    course("check", LAB)
    greeter.write_text(greeter.read_text().replace("nothing", "hello"))
    done = course("check", LAB)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 tasks passed" in course("progress").stdout


def test_reset_keeps_what_the_learner_wrote(work: Path) -> None:
    """`course reset` begins anew and names the folder in which the old files are."""
    from lab_services.runtime.spec import load_spec
    from lab_services.runtime.workspace import open_workspace

    folder = open_workspace(load_spec(LAB)).folder
    file = folder / "greeter.py"
    file.write_text("# mine\n")
    done = course("reset", LAB)
    assert done.returncode == 0, done.stderr
    assert file.read_text() != "# mine\n"
    assert [kept.read_text() for kept in work.glob(f"{LAB}.before-reset-*/{file.name}")] == ["# mine\n"]
    assert course("update", LAB).returncode == 0
