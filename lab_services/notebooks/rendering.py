"""Run a chapter as a fresh learner would, and store what it shows."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from lab_services.errors import LabError, UnknownName
from lab_services.notebooks.form import IGNORED, code_cells, fingerprint, normalised, read_notebook, tags_of
from lab_services.runtime.spec import course_root

CELL_SECONDS = 60  # the same limit as under nbval
QUIET_SECONDS = 15  # from the end of the kernel to the end of the last service it started
SAID_LINES = 15
RAISES = "raises-exception"
PACKAGE = Path(__file__).parents[1]
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class RenderReport:
    """What a rendering did: `kept` and `fresh` are the ids of the cells whose output varies from run to run."""

    path: Path
    cells: int
    seconds: float
    changed: bool
    kept: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "written" if self.changed else "unchanged"
        return (
            f"{self.path.name}: {verdict}, {self.cells} code cells in {self.seconds:.1f} s"
            f" (varying outputs: {len(self.kept)} kept, {len(self.fresh)} stored anew)"
        )


def render(path_or_number: str | Path | int, *, root: Path | None = None) -> RenderReport:
    """Run a chapter as a fresh learner would and store its outputs; the file is replaced at once or not at all.

    A cell tagged nbval-ignore-output keeps its stored outputs as long as its source stays the same.

    Raises:
        UnknownName: there is no such chapter.
        LabError: the file is no notebook, a cell failed, or a process outlived the notebook.
    """
    path = chapter_path(path_or_number, root)
    before, book = path.read_text(encoding="utf-8"), read_notebook(path)
    stored = {cell.id: copy.deepcopy(cell) for cell in code_cells(book)}
    began = time.monotonic()
    _execute(book, path)
    kept = tuple(cell.id for cell in code_cells(book) if _keep_outputs(cell, stored[cell.id]))
    varying = [cell for cell in code_cells(book) if IGNORED in tags_of(cell)]
    for cell in varying:
        cell.metadata.setdefault("course", {})["rendered"] = fingerprint(cell)
    text = normalised(book)
    if text != before:
        _replace(path, text)
    fresh = tuple(cell.id for cell in varying if cell.id not in kept)
    return RenderReport(path, len(stored), time.monotonic() - began, text != before, kept, fresh)


def chapter_path(path_or_number: str | Path | int, root: Path | None = None) -> Path:
    """Return the file of a chapter, given its path or its number (1, "01").

    Raises:
        UnknownName: there is no such chapter.
    """
    wanted = Path(path_or_number) if not isinstance(path_or_number, int) else Path(f"{path_or_number:02d}")
    if wanted.suffix == ".ipynb" and wanted.is_file():
        return wanted.absolute()
    folder = (root or course_root()) / "chapters"
    found = sorted(folder.glob(f"{wanted.name.zfill(2)}_*.ipynb")) + sorted(folder.glob(f"{wanted.name}.ipynb"))
    if len(found) == 1:
        return found[0].absolute()
    raise UnknownName(
        f"no single chapter is called {str(path_or_number)!r}",
        where=str(folder),
        evidence="chapters: " + (", ".join(chapter.stem for chapter in sorted(folder.glob("*.ipynb"))) or "none"),
        next_step="course render 01",
    )


class _ThisInterpreter(KernelSpecManager):
    """The kernel of the running interpreter, whatever `python3` is registered elsewhere on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


def _execute(book: Any, path: Path) -> None:
    for cell in code_cells(book):
        cell.outputs, cell.execution_count = [], None
    current: list[Any] = []
    client = NotebookClient(
        book,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=_ThisInterpreter()),
        timeout=CELL_SECONDS,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=lambda cell, cell_index: current.append(cell),
    )
    run = uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as folder:
        try:
            client.execute(env=_fresh_learner(folder, run), cleanup_kc=True, stderr=subprocess.DEVNULL)
        except (CellExecutionError, TimeoutError, RuntimeError) as error:
            raise _cell_failed(path, current[-1] if current else None, error) from None
        finally:
            _wait_until_quiet(run)
    _refuse_leftovers(run, path)
    for cell in code_cells(book):
        if RAISES in tags_of(cell) and not any(output.output_type == "error" for output in cell.outputs):
            raise _cell_failed(path, cell, f"it is tagged {RAISES}, but it did not raise")


def _fresh_learner(folder: str, run: str) -> dict[str, str]:
    """Return the environment of somebody who has done nothing yet; the course is importable also when not installed."""
    paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    own = {"COURSE_WORK": f"{folder}/work", "IPYTHONDIR": f"{folder}/ipython", "COURSE_RUN": run}
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _cell_failed(path: Path, cell: Any, error: Exception | str) -> LabError:
    kind = "" if isinstance(error, str) else f": {getattr(error, 'ename', '') or type(error).__name__}"
    said = _COLOUR.sub("", str(getattr(error, "traceback", "") or error)).strip()
    said = re.split(r"^-{60,}$", said, flags=re.MULTILINE)[-1].strip()  # nbclient puts the source before IPython's line
    source = cell.source if cell is not None else ""
    return LabError(
        f"a cell of {path.stem} failed{kind}",
        where=f"{path.name}, cell {cell.id if cell is not None else '(none was started)'}",
        evidence=f"{source}\n--\n" + "\n".join(said.splitlines()[-SAID_LINES:]),
        next_step=f"mend the cell (or tag it {RAISES} when the error is meant), then: course render {path.stem[:2]}",
    )


def processes_of(run: str) -> list[psutil.Process]:
    """Return the living processes whose environment says COURSE_RUN=`run`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("COURSE_RUN") == run and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # gone meanwhile, or another user's
            continue
    return found


def _wait_until_quiet(run: str) -> None:
    deadline = time.monotonic() + QUIET_SECONDS
    while processes_of(run) and time.monotonic() < deadline:
        time.sleep(0.05)


def _refuse_leftovers(run: str, path: Path) -> None:
    left = [f"{process.pid} {' '.join(process.cmdline())[:200]}" for process in processes_of(run)]
    if left:
        raise LabError(
            f"{path.stem} left processes running {QUIET_SECONDS} s after its end",
            where=path.name,
            evidence="\n".join(left),
            next_step="let the notebook start services by open_lab only, and end these: course down --all",
        )


def _keep_outputs(cell: Any, stored: Any) -> bool:
    """Put the stored outputs back into a cell whose output is not compared, when they are still of the same kinds."""
    unchanged = stored.metadata.get("course", {}).get("rendered") == fingerprint(cell)
    same_kinds = bool(_kinds(cell) & _kinds(stored)) or (not cell.outputs and not stored.outputs)
    if IGNORED not in tags_of(cell) or not unchanged or not same_kinds:
        return False
    cell.outputs = stored.outputs
    return True


def _kinds(cell: Any) -> set[str]:
    return {kind for output in cell.outputs for kind in (output.get("data") or [output.get("name", "error")])}


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8", newline="\n")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
