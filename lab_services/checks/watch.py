"""Check again whenever a file is saved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

from lab_services.checks.places import as_spec
from lab_services.checks.report import CheckReport
from lab_services.checks.run import run_checks
from lab_services.runtime.spec import LabSpec
from lab_services.runtime.workspace import open_workspace

DEBOUNCE_MS = 200
STEP_MS = 50
SUFFIXES = (".py", ".ts", ".proto", ".conf", ".yml", ".toml", ".json")


def watch_checks(
    lab: str | LabSpec, task: str | None = None, *, stop: threading.Event | None = None
) -> Iterator[CheckReport]:
    """Yield a report now and after each save in the learner's copy, until `stop` is set or Ctrl-C."""
    from watchfiles import watch

    spec = as_spec(lab)
    folder = open_workspace(spec).folder
    saves = watch(
        folder, watch_filter=lambda _, path: _is_code(Path(path), folder), debounce=DEBOUNCE_MS, step=STEP_MS,
        stop_event=stop, rust_timeout=500, yield_on_timeout=True,
    )  # fmt: skip
    next(saves)  # watching has begun: a save during the first run counts
    yield run_checks(spec, task)
    for changes in saves:
        if changes:
            yield run_checks(spec, task)


def _is_code(path: Path, folder: Path) -> bool:
    """Leave out what services write: data and logs stand in folders whose names begin with a dot."""
    names = path.relative_to(folder).parts if path.is_relative_to(folder) else path.parts[-1:]
    return path.suffix in SUFFIXES and not any(name.startswith((".", "__")) for name in names)
