"""work/progress.json: what a learner has reached. Written whole or not at all; a broken one is kept, not lost."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab_services.errors import MachineError

VERSION = 1
LOCK_SECONDS = 5.0
POLL_SECONDS = 0.02


@dataclass
class TaskProgress:
    """One task: the best result so far, and what the learner has tried and seen.

    `attempts` holds a digest of each different text that was judged; `hints` counts the rungs taken per check
    ("" for the task's own ladder); `passed_at` is the UTC time of the first pass, "" before it.
    """

    best: int = 0
    total: int = 0
    attempts: list[str] = field(default_factory=list)
    passed_at: str = ""
    hints: dict[str, int] = field(default_factory=dict)


@dataclass
class LabProgress:
    """One lab: its tasks, the task and check that failed last, and the ids of the reviews that are done."""

    tasks: dict[str, TaskProgress] = field(default_factory=dict)
    latest_task: str = ""
    latest_failing: str = ""
    checked: bool = False
    reviews: list[str] = field(default_factory=list)

    def task(self, task: str) -> TaskProgress:
        """Return the progress of a task; an empty one before its first check."""
        return self.tasks.setdefault(task, TaskProgress())


@dataclass
class ProgressData:
    """Everything in the file; `set_aside` names the files that could not be read and were kept."""

    labs: dict[str, LabProgress] = field(default_factory=dict)
    set_aside: list[str] = field(default_factory=list)

    def lab(self, name: str) -> LabProgress:
        """Return the progress of a lab; an empty one before its first check."""
        return self.labs.setdefault(name, LabProgress())


def _read(path: Path) -> ProgressData:
    """Return what the file says; a file that cannot be read is renamed and named in `set_aside`."""
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return ProgressData()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ProgressData(set_aside=[_put_aside(path)])


@contextmanager
def changing(path: Path) -> Iterator[ProgressData]:
    """Give what the file says, to be changed, and write it at the end; two processes take turns."""
    with _alone(path.with_name(".progress.lock")):
        data = _read(path)
        yield data
        _write(path, data)


def _write(path: Path, data: ProgressData) -> None:
    fresh = path.with_suffix(".new")
    with fresh.open("w", encoding="utf-8") as content:
        json.dump({"version": VERSION, **asdict(data)}, content, indent=2)
        content.flush()
        os.fsync(content.fileno())
    os.replace(fresh, path)


def _parse(content: Any) -> ProgressData:
    if content["version"] != VERSION:
        raise ValueError(f"version {content['version']}")
    labs = {
        str(name): LabProgress(
            tasks={str(task): _task(fields) for task, fields in lab["tasks"].items()},
            latest_task=str(lab["latest_task"]),
            latest_failing=str(lab["latest_failing"]),
            checked=bool(lab["checked"]),
            reviews=[str(review) for review in lab["reviews"]],
        )
        for name, lab in content["labs"].items()
    }
    return ProgressData(labs, [str(name) for name in content["set_aside"]])


def _task(fields: Any) -> TaskProgress:
    hints = {str(check): int(count) for check, count in fields["hints"].items()}
    attempts = [str(digest) for digest in fields["attempts"]]
    return TaskProgress(int(fields["best"]), int(fields["total"]), attempts, str(fields["passed_at"]), hints)


def _put_aside(path: Path) -> str:
    number = 1
    while os.path.lexists(aside := path.with_name(f"progress.broken-{number}.json")):
        number += 1
    os.replace(path, aside)
    return aside.name


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise MachineError(
                        "another process has been writing your progress for long", where=str(path),
                        next_step="close the other notebook or terminal of the course, then check again",
                    ) from error  # fmt: skip
            time.sleep(POLL_SECONDS)
        yield
