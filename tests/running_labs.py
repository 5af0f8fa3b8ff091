"""Labs of this course that run for a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab_services.lab import Lab
from lab_services.runtime.spec import load_spec
from lab_services.runtime.spec_types import LabSpec
from lab_services.runtime.workspace import open_workspace


@contextmanager
def running_lab(
    name: str, folder: Path, *, change: Callable[[LabSpec], LabSpec] = lambda spec: spec, **fields: Any
) -> Iterator[Lab]:
    """Run a lab on a copy of its files in `folder`, with a work folder of its own; it is closed at the end.

    `change` returns what to run in place of the lab's spec; `fields` are those of Lab, such as `shape`.
    """
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("COURSE_WORK", str(folder / "work"))
        spec = change(load_spec(name))
        lab = Lab(spec, open_workspace(spec).folder, folder / "run", **fields)
        try:
            lab.start()
            yield lab
        finally:
            lab.close()
