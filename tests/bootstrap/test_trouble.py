"""What the set-up says when the machine is not as it needs to be."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from lab_services import bootstrap, bootstrap_trouble
from lab_services.errors import LabError

ROOT = Path(__file__).parents[2]
RUN_SECONDS = 60


def parts(error: LabError) -> tuple[str, str, str, str]:
    """Return the four parts, after a look that none of them is empty."""
    found = (error.what, error.where, error.evidence, error.next_step)
    assert all(found), error
    return found


def test_an_old_python_is_told_which_one_is_needed() -> None:
    """Python 3.9 is refused with its own version, the needed one, and a command."""
    with pytest.raises(LabError) as caught:
        bootstrap_trouble.refuse_old_python((3, 9, 18), "python3")
    _, where, evidence, next_step = parts(caught.value)
    assert where == "python3" and "3.9.18" in evidence and "3.11" in evidence and next_step


def test_an_old_python_is_told_of_a_newer_one_that_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a newer Python is on PATH, the next thing to type is the same command with it."""
    monkeypatch.setattr(shutil, "which", lambda name: f"bin/{name}" if name == "python3.12" else None)
    with pytest.raises(LabError) as caught:
        bootstrap_trouble.refuse_old_python((3, 9, 18), "python3")
    assert caught.value.next_step == "bin/python3.12 -m lab_services open"


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 1), (4, 0, 0)])
def test_a_new_enough_python_is_not_refused(version: tuple[int, int, int]) -> None:
    """Python 3.11 and everything newer passes."""
    bootstrap_trouble.refuse_old_python(version, "python3")


def test_the_modules_of_the_set_up_can_be_read_by_an_old_python() -> None:
    """Nothing in what runs before the check of the version is newer than Python 3.8's grammar."""
    import ast

    for name in ("__init__", "__main__", "bootstrap", "bootstrap_trouble", "errors"):
        ast.parse((ROOT / "lab_services" / f"{name}.py").read_text(), feature_version=(3, 8))


def test_windows_is_told_of_wsl() -> None:
    """On Windows the message names WSL2 and the command that installs it."""
    with pytest.raises(LabError) as caught:
        bootstrap_trouble.refuse_windows("win32")
    what, _, _, next_step = parts(caught.value)
    assert "WSL2" in what and "wsl --install" in next_step


def test_a_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without ensurepip, pip and uv the message is Debian's package, not a traceback."""
    hidden = {"ensurepip", "pip"}
    real = bootstrap.importlib.util.find_spec
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None if name in hidden else real(name))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(LabError) as caught:
        bootstrap.make_venv(tmp_path / ".venv", None, tmp_path / "log", "open")
    assert "apt install python3-venv" in parts(caught.value)[3]


def test_a_full_disk_is_said_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With too little room the set-up says how much there is and how much it needs."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 1, 200_000_000))
    with pytest.raises(LabError) as caught:
        bootstrap_trouble.refuse_bad_folder(tmp_path)
    what, _, evidence, _ = parts(caught.value)
    assert "disk" in what and "0.2 GB" in evidence and "1.5 GB" in evidence


def test_a_folder_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A clone in somebody else's folder is answered with: clone it into one of your own."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(LabError) as caught:
        bootstrap_trouble.refuse_bad_folder(tmp_path)
    what, where, _, next_step = parts(caught.value)
    assert "write" in what and where == str(tmp_path) and "clone" in next_step


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ENOSPC, "disk"), (errno.EACCES, "write"), (errno.EROFS, "write"), (errno.EIO, "refused")],
)
def test_what_the_system_refuses_in_between_is_said(number: int, word: str, tmp_path: Path) -> None:
    """A disk that fills up or turns read-only half-way is four parts, too."""
    error = bootstrap_trouble.refused(OSError(number, os.strerror(number), "file"), tmp_path, "open")
    assert word in parts(error)[0]


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("WARNING: Retrying ... NewConnectionError('Failed to establish a new connection')\nERROR: No matching "
         "distribution found for typer==0.29.2", "not reached"),
        ("error: Failed to fetch\n  Caused by: dns error: failed to lookup address", "not reached"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk"),
        ("ERROR: [Errno 13] Permission denied: 'x'", "write"),
        ("ERROR: No matching distribution found for deno==2.9.8", "deno"),
        ("error: command 'gcc' failed\n  ERROR: Failed building wheel for hdrhistogram", "hdrhistogram"),
        ("x Failed to build `cryptography==50.0.2`", "cryptography"),
        ("ERROR: something nobody has thought of", "could not be installed"),
    ],
)  # fmt: skip
def test_the_output_of_pip_is_read_for_the_cause(output: str, word: str, tmp_path: Path) -> None:
    """Network, disk, permission and a missing wheel are told apart, the last lines and the log are the evidence."""
    error = bootstrap_trouble.installation_failed(output, tmp_path / "work" / "setup.log", "open")
    what, _, evidence, _ = parts(error)
    assert word in what
    assert output.splitlines()[-1] in evidence and "setup.log" in evidence


def test_without_a_command_the_two_commands_are_shown() -> None:
    """`python3 -m lab_services` alone sets nothing up; it names the two commands."""
    done = subprocess.run(
        [sys.executable, "-m", "lab_services"], cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS
    )
    assert done.returncode == 0
    assert "lab_services open" in done.stdout and "lab_services test" in done.stdout


def test_trouble_is_printed_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line prints the four parts on standard error and ends with status 1."""
    monkeypatch.setattr(bootstrap, "environment", lambda command: bootstrap_trouble.refuse_windows("win32"))
    assert bootstrap.main(["open"]) == 1
    said = capsys.readouterr().err
    assert "WSL2" in said and "next:" in said and "Traceback" not in said


def test_ctrl_c_during_the_set_up_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted set-up says that it was stopped by you, and what to type."""

    def interrupted(command: str) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "environment", interrupted)
    assert bootstrap.main(["open"]) == 130
    assert "Stopped by you" in capsys.readouterr().err
