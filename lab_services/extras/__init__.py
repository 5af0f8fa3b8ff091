"""Packages that a learner may add to the course: one file of pins for each extra of pyproject.toml.

`python3 -m lab_services add durable` installs one into the environment of the course; nothing of it is needed
elsewhere. An extra whose pins say `# apart:` brings files that other packages own: it gets a folder of its own, and
only a service that names it (`extra = "ads"` in lab.toml) finds its packages there, before those of the course.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lab_services.errors import MissingProgram, UnknownName

FOLDER = Path(__file__).parent
APART = "# apart:"  # begins the line of a pins file that says why


def names() -> list[str]:
    """Return the names of the extras that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def pins(name: str) -> list[str]:
    """Return the packages of an extra with their versions ("temporalio==1.35.0").

    Raises:
        UnknownName: there is no such extra.
    """
    return [line for line in _lines(name) if line and not line.startswith("#")]


def folder(name: str) -> Path | None:
    """Return the folder of an extra that is kept apart, whether it is there or not; None for one among the others.

    Raises:
        UnknownName: there is no such extra.
    """
    apart = any(line.startswith(APART) for line in _lines(name))
    return Path(sys.prefix) / "extras" / name if apart else None


def missing(name: str) -> list[str]:
    """Return the pins of an extra that are not installed here, or not at that version."""
    where = folder(name)
    return [pin for pin in pins(name) if _installed(pin.split("==")[0], where) != pin.split("==")[1]]


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
    """Install what is missing of an extra, into the running environment or its own folder; return whether any was.

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
    log.touch()
    # --no-deps: whatever else they need is pinned in requirements.txt and must not change.
    wanted = ["--no-deps", "-r", str(FOLDER / f"{name}.txt")]
    if (apart := folder(name)) is not None:
        shutil.rmtree(apart, ignore_errors=True)  # --target lays nothing over what is there
        wanted += ["--target", str(apart)]
    bootstrap.install(wanted, Path(sys.prefix), shutil.which("uv"), log, f"add {name}")
    return True


def _lines(name: str) -> list[str]:
    if name not in names():
        raise UnknownName(
            f"there is no extra {name!r}",
            evidence="extras: " + ", ".join(names()),
            next_step=f"python3 -m lab_services add {names()[0]}",
        )
    return (FOLDER / f"{name}.txt").read_text().splitlines()


def _installed(package: str, where: Path | None) -> str | None:
    from importlib import metadata  # not at the top: whoever opens a lab without an extra shall not wait for it

    searched = sys.path if where is None else [str(where)]
    return next((found.version for found in metadata.distributions(name=package, path=searched)), None)
