"""What runs now and what it last said, seen from outside: from the notes that supervisors leave below work/.run."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .errors import LabError, UnknownName

LINE_CHARACTERS = 2000  # a line of a log may be endless


@dataclass(frozen=True)
class RunningCity:
    """One city: its lab, its supervisor, and how many processes carry its mark."""

    lab: str
    supervisor: int
    processes: int
    logs: str

    def __str__(self) -> str:
        return f"{self.lab}: {self.processes} processes, supervisor {self.supervisor}, logs in {self.logs}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)


def running_cities() -> list[RunningCity]:
    """Return the cities whose supervisors live, whoever started them."""
    from .runtime.registry import entries, marked

    return [
        RunningCity(entry.lab, entry.pid, len(marked(entry.mark)), str(log_folder(entry.lab)))
        for entry in entries()
        if entry.alive()
    ]


def log_folder(lab: str) -> Path:
    """Return the folder with the logs of a lab's latest run."""
    from .runtime.workspace import work_root

    return work_root() / ".run" / lab / "logs"


def log_lines(lab: str, service: str | None, lines: int) -> list[str]:
    """Return the last lines of one service, or the services that have a log.

    Raises:
        UnknownName: the lab has not run yet, or no such service was part of its run.
    """
    from .runtime.spec import load_spec
    from .views.plain_text import visible

    name = load_spec(lab).name
    there = sorted(path.stem for path in log_folder(name).glob("*.log"))
    if service is None and there:
        return there
    if service not in there:
        raise _no_log(name, service, there)
    with (log_folder(name) / f"{service}.log").open(errors="backslashreplace") as log:
        return [visible(line.rstrip("\n"), LINE_CHARACTERS) for line in deque(log, lines)]


def _no_log(lab: str, service: str | None, there: list[str]) -> LabError:
    if not there:
        return UnknownName(f"{lab} has not run yet", where=str(log_folder(lab)), next_step=f"course up {lab}")
    return UnknownName(
        f"{lab} has no log of {service}",
        where=str(log_folder(lab)),
        evidence="logs there are: " + ", ".join(there),
        next_step=f"course logs {lab} {there[0]}",
    )
