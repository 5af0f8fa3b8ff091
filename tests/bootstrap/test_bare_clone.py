"""Both commands on a bare copy of the tree: a real environment, made from nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.ahead import AHEAD
from tests.bootstrap.bare import SETUP_SECONDS, clean_environment, make_bare_clone, outside

AGAIN_SECONDS = 30
FOLDERS = ("chapters", "labs", "lab_services", "solutions", "tests")
INSTANT_SECONDS = 3.0
pytestmark = [
    pytest.mark.ahead.with_args(make_bare_clone),
    pytest.mark.timeout(2 * SETUP_SECONDS),
]


@pytest.fixture(scope="module")
def clone() -> Iterator[Path]:
    """Return a bare copy in which the second command has run up to the collection of the tests."""
    root = AHEAD.result(make_bare_clone)
    yield root
    shutil.rmtree(root.parent)


@pytest.mark.timeout(SETUP_SECONDS + AGAIN_SECONDS)
def test_the_second_command_runs_from_a_bare_clone(clone: Path) -> None:
    """`python3 -m lab_services test` makes .venv with every pinned package, and pytest finds the tests with it."""
    ask = "from lab_services.bootstrap import ROOT; from lab_services.doctor import programs; print(ROOT); "
    ask += "print(programs.packages().ok)"
    done = subprocess.run(
        [str(clone / ".venv" / "bin" / "python"), "-c", ask],
        cwd=clone / "chapters", capture_output=True, text=True, timeout=AGAIN_SECONDS,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == [str(clone), "True"], done.stderr


def test_the_second_time_takes_no_time(clone: Path) -> None:
    """With the environment there, the commands start at once and do not set up again."""
    begin = time.monotonic()
    done = subprocess.run(
        [outside(), "-m", "lab_services", "test", "--version"],
        cwd=clone, env=clean_environment(False), capture_output=True, text=True, timeout=AGAIN_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0 and "Setting up" not in done.stdout
    assert time.monotonic() - begin < INSTANT_SECONDS


def test_jupyter_finds_the_settings_of_the_course(clone: Path) -> None:
    """The wheel's shared data are in the environment: README rendered, no question about news."""
    config = json.loads((clone / ".venv" / "etc" / "jupyter" / "jupyter_lab_config.json").read_text())
    assert config["LabApp"]["default_url"] == "/lab/tree/README.md"
    overrides = clone / ".venv" / "share" / "jupyter" / "lab" / "settings" / "overrides.d"
    (settings,) = [json.loads(path.read_text()) for path in overrides.glob("microservices*.json")]
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert settings["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]["markdown"] == "Markdown Preview"


def test_the_first_command_prints_an_address_that_answers(clone: Path) -> None:
    """`open --no-browser` prints the address of chapter 00 with its token; it answers there, and only on loopback."""
    import httpx

    with subprocess.Popen(
        [outside(), "-m", "lab_services", "open", "--no-browser"],
        cwd=clone, env=clean_environment(False), stdout=subprocess.PIPE, text=True, start_new_session=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip().removeprefix("JupyterLab is open at ")
            assert "/lab/tree/chapters/00_start_here.ipynb?token=" in address
            assert httpx.get(address, follow_redirects=True, timeout=AGAIN_SECONDS).status_code == 200
            without_token = address.partition("/lab/")[0] + "/api/contents"
            assert httpx.get(without_token, timeout=AGAIN_SECONDS).status_code == 403
            doors = [c for c in psutil.Process(server.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
            assert doors and {door.laddr.ip for door in doors} == {"127.0.0.1"}
        finally:
            server.terminate()
    assert server.returncode is not None
