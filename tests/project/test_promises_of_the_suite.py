"""What tests/conftest.py promises is kept: no skip goes unseen in CI, and nothing outlives the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 60

NEEDS = """
def test_needs(needs_program):
    needs_program("no-such-program", mend="sudo apt install it")
"""
MARKED = """
import pytest

@pytest.mark.skip(reason="later")
def test_later():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    assert False
"""
LEAVES = """
import subprocess, sys

def test_leaves():
    # Nobody waits for it; it ends by itself long after the test run has counted.
    command = [sys.executable, "-c", "import time; time.sleep(8)"]
    child = subprocess.Popen(command, start_new_session=True, stdout=-3, stderr=-3)
    child.returncode = 0
"""
TIDY = """
import subprocess, sys

def test_tidy():
    subprocess.run([sys.executable, "-c", ""], check=True)
"""


def run(folder: Path, source: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one test file beside a copy of tests/conftest.py."""
    text = (ROOT / "tests" / "conftest.py").read_text()
    (folder / "conftest.py").write_text(text.replace("QUIET_SECONDS = 15.0", "QUIET_SECONDS = 0.5"))
    (folder / "test_it.py").write_text(source)
    env = {name: value for name, value in os.environ.items() if name != "COURSE_NO_SKIPS"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        f"--rootdir={folder}",
        str(folder),
    ]
    # Without the plugins of this environment, which take six seconds to import and have no part in this.
    env |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **settings}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=RUN_SECONDS)


def test_a_missing_program_skips_with_the_command_that_installs_it(tmp_path: Path) -> None:
    """On a learner's machine a test that needs a program of the system is skipped, and says what to type."""
    done = run(tmp_path, NEEDS)
    assert done.returncode == 0 and "1 skipped" in done.stdout and "sudo apt install it" in done.stdout


@pytest.mark.parametrize(("source", "counted"), [(NEEDS, "1 failed"), (MARKED, "1 xfailed, 1 error")])
def test_in_ci_a_skip_is_a_failure(source: str, counted: str, tmp_path: Path) -> None:
    """Under COURSE_NO_SKIPS=1 a missing program and a skip mark fail; an expected failure stays what it is."""
    done = run(tmp_path, source, COURSE_NO_SKIPS="1")
    assert done.returncode == 1 and counted in done.stdout, done.stdout


def test_a_process_that_outlives_the_tests_is_an_error(tmp_path: Path) -> None:
    """A child in a session of its own that is still there at the end fails the run and is named."""
    done = run(tmp_path, LEAVES)
    assert done.returncode == 1 and "left behind by the tests" in done.stdout, done.stdout
    assert "time.sleep(8)" in done.stdout


def test_a_run_that_cleans_up_is_green(tmp_path: Path) -> None:
    """A child that ended is no leftover."""
    done = run(tmp_path, TIDY)
    assert done.returncode == 0, done.stdout


def test_the_system_programs_of_ci_are_those_of_the_doctor() -> None:
    """.ci/run installs every program that the doctor calls optional, so that none of its tests is skipped there."""
    from lab_services.doctor.programs import SYSTEM_PROGRAMS

    script = (ROOT / ".ci" / "run").read_text()
    needed = [any(f"need {name} " in script for name in program.names) for program in SYSTEM_PROGRAMS.values()]
    assert all(needed) and "COURSE_NO_SKIPS=1" in script
    assert shutil.which("bash") and subprocess.run(["bash", "-n", ROOT / ".ci" / "run"]).returncode == 0
