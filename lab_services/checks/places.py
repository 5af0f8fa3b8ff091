"""Where things of one lab lie, and a folder of its own for each check run."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab_services.errors import SpecError
from lab_services.runtime.spec import LabSpec, load_spec
from lab_services.runtime.workspace import lay_solution, work_root
from lab_services.runtime.zones import zones


def as_spec(lab: str | LabSpec) -> LabSpec:
    """Return the spec of a lab named as in `open_lab`."""
    return lab if isinstance(lab, LabSpec) else load_spec(lab)


def course_of(spec: LabSpec) -> Path:
    """Return the course folder that the lab belongs to."""
    return spec.folder.parent.parent


def wrong_answers_file(spec: LabSpec) -> Path:
    """Return the file that lists the lab's wrong answers and spared designs."""
    return course_of(spec) / "tests" / "course" / "wrong_answers" / f"{spec.name}.toml"


def solution_text(spec: LabSpec, file: str) -> str:
    """Return one file of the solution: the starter's where the solution does not differ, "" where neither has it."""
    ours = course_of(spec) / "solutions" / spec.name / file
    return text_of(ours) if ours.is_file() else text_of(spec.folder / file)


def text_of(path: Path) -> str:
    """Return a file's text, "" when it is not there; what is no UTF-8 is replaced by signs."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def lay_variant(spec: LabSpec, target: Path, overlay: Mapping[str, str]) -> Path:
    """Lay the starter, the solution over it, and `overlay` (file name to text) over both."""
    lay_solution(spec, target)
    for file, text in overlay.items():
        path = target / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return target


def zone_text(text: str, task: str) -> str:
    """Return the lines of a task's zones; the whole text where the zones cannot be told."""
    try:
        found = [line for zone in zones(text) if zone.task == task for line in zone.lines]
    except SpecError:  # the learner has changed a mark: then the whole file is the zone
        return text
    return "\n".join(found) if found else text


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder of its own to one check run, below work/.checks, and remove it at the end."""
    parent = work_root() / ".checks"
    parent.mkdir(parents=True, exist_ok=True)
    _sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what a check run left whose process was killed."""
    left = [folder for folder in parent.glob("run-*-*") if folder.name.split("-")[1] != str(os.getpid())]
    if left:
        import psutil

        for folder in left:
            if not psutil.pid_exists(int(folder.name.split("-")[1])):
                shutil.rmtree(folder, ignore_errors=True)
