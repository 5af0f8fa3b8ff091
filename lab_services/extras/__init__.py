"""Packages that a learner may add to the course: one file of pins for each extra of pyproject.toml.

`python3 -m lab_services add durable` installs one into the environment of the course; nothing of it is needed
elsewhere.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from lab_services.errors import MissingProgram, UnknownName

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the extras that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def pins(name: str) -> list[str]:
    """Return the packages of an extra with their versions ("temporalio==1.35.0").

    Raises:
        UnknownName: there is no such extra.
    """
    if name not in names():
        raise UnknownName(
            f"there is no extra {name!r}",
            evidence="extras: " + ", ".join(names()),
            next_step=f"python3 -m lab_services add {names()[0]}",
        )
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def missing(name: str) -> list[str]:
    """Return the pins of an extra that are not installed here, or not at that version."""
    return [pin for pin in pins(name) if _installed(pin.split("==")[0]) != pin.split("==")[1]]


def require(name: str, purpose: str) -> None:
    """Return if an extra is installed; `purpose` says what it is for.

    Raises:
        MissingProgram: with the command that installs it.
    """
    if lacking := missing(name):
        raise MissingProgram(
            f"the extra {name!r} is not installed: {purpose}",
            where=sys.prefix,
            evidence=f"missing, or of another version: {', '.join(lacking)}",
            next_step=f"python3 -m lab_services add {name}   (in a terminal, in the folder of the course)",
        )


def add(name: str) -> bool:
    """Install what is missing of an extra into the running environment; return whether anything was missing.

    Raises:
        UnknownName: there is no such extra.
        MachineError, MissingProgram: the installation failed, with its last lines.
    """
    import shutil

    from lab_services import bootstrap

    if not missing(name):
        return False
    log = bootstrap.ROOT / "work" / "setup.log"
    log.parent.mkdir(exist_ok=True)
    # --no-deps: whatever else they need is pinned in requirements.txt and must not change.
    wanted = ["--no-deps", "-r", str(FOLDER / f"{name}.txt")]
    bootstrap.install(wanted, Path(sys.prefix), shutil.which("uv"), log, f"add {name}")
    return True


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
