"""The learner's copy of a lab: work/<lab>/, made once, never overwritten silently.

work/<lab>/                  what the learner edits; .data/ and .logs/ of a run stand inside
work/.base/<lab>/            the starter as it was copied: the base of every later update
work/<lab>.before-reset-N/   what stood there before the Nth reset
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lab_services.errors import WorkspaceError
from lab_services.runtime.safe_files import code_files, copy_files, refused_by_machine, replace_file, staging
from lab_services.runtime.spec import LabSpec, course_root
from lab_services.runtime.update import UpdateReport, carry_out, in_the_way, plan, waiting
from lab_services.runtime.zones import Zone, differs_outside_zones, zones

__all__ = [
    "UpdateReport", "Workspace", "Zone", "differs_outside_zones", "lay_solution", "open_workspace", "reset",
    "snapshot", "starter_files", "update", "work_root", "zones",
]  # fmt: skip


@dataclass(frozen=True)
class Workspace:
    """The folder of the learner's copy and the lab it belongs to."""

    folder: Path
    spec: LabSpec

    def data(self, service: str) -> Path:
        """Return the folder of one service's data (DATA_DIR); it may not be there yet."""
        return self.folder / ".data" / service

    def log(self, service: str) -> Path:
        """Return the log file of one service; it may not be there yet."""
        return self.folder / ".logs" / f"{service}.log"

    def missing(self) -> tuple[str, ...]:
        """Return the starter's files that the learner's copy no longer has."""
        return tuple(name for name in starter_files(self.spec) if not (self.folder / name).is_file())

    def require(self) -> None:
        """Refuse a copy that lacks a file of the starter.

        Raises:
            WorkspaceError: it names the files; nothing is restored by itself.
        """
        gone = self.missing()
        if gone:
            raise WorkspaceError(
                f"your copy of {self.spec.name} no longer has {' and '.join(gone)}",
                where=str(self.folder),
                next_step="bring the file back (Undo), or type lab.reset(): a fresh copy, yours is kept beside it",
            )


def work_root() -> Path:
    """Return the folder of all learners' copies: COURSE_WORK, else work/ in the course folder."""
    named = os.environ.get("COURSE_WORK")
    return Path(named).absolute() if named else course_root() / "work"


def starter_files(spec: LabSpec) -> tuple[str, ...]:
    """Return what a learner gets of a lab: every file except lab.toml and the checks."""
    return tuple(name for name in code_files(spec.folder) if name != "lab.toml" and not _is_check(name))


def open_workspace(spec: LabSpec) -> Workspace:
    """Return the learner's copy; make it, whole or not at all, when there is none.

    Raises:
        WorkspaceError: something else stands in its place.
        MachineError: the disk refuses.
    """
    root = work_root()
    folder = root / spec.name
    with refused_by_machine(folder):
        if not _stands(folder, root):
            with staging(root, spec.name) as stage:
                if not _stands(folder, root):  # another process may have been faster
                    _lay_base(spec, stage)
                    copy_files(starter_files(spec), spec.folder, stage / "copy")
                    os.rename(stage / "copy", folder)
    return Workspace(folder, spec)


def update(spec: LabSpec) -> UpdateReport:
    """Bring a changed starter into the learner's copy, file by file; delete nothing, lose nothing.

    A file that only the course changed is replaced, one that only the learner changed is kept, one that both
    changed is merged; where both changed the same lines, the learner's file stays and <file>.new holds both.
    """
    mine, base, names = open_workspace(spec).folder, _base(spec), starter_files(spec)
    with staging(work_root(), spec.name) as stage:
        earlier = waiting(names, mine)
        done = carry_out(plan(names, base, mine, spec.folder), base, mine, stage)
    done["waiting"] = [file for file in earlier if file not in done.get("conflicts", [])]
    return UpdateReport(lab=spec.name, **{key: tuple(files) for key, files in done.items()})


def reset(spec: LabSpec) -> Path:
    """Make the learner's copy the starter again and return the folder that keeps the old one.

    The folder itself stays, so that open editors, the watcher and .data/ keep standing; a crash in the middle
    leaves every file whole, and the old copy was complete before the first of them changed.
    """
    folder = open_workspace(spec).folder
    with staging(work_root(), spec.name) as stage:
        old = code_files(folder)
        copy_files(old, folder, stage / "kept")
        kept = _next_kept(folder)
        os.rename(stage / "kept", kept)
        _lay_base(spec, stage)
        for name in starter_files(spec):
            _clear_the_way(folder, name, kept)
            _refuse_if_saved_since(folder / name, kept / name)
            replace_file(folder / name, (spec.folder / name).read_bytes(), stage)
        _remove_kept(folder, kept, set(old) - set(starter_files(spec)))
    return kept


def snapshot(spec: LabSpec, target: Path, workspace: Path | None = None) -> Path:
    """Copy the learner's code, without data, logs and caches, into an empty or new folder, and return that folder.

    `workspace` is the folder to copy in place of the learner's own.
    """
    source = open_workspace(spec).folder if workspace is None else Path(workspace)
    if not source.is_dir():
        raise WorkspaceError("there is no such workspace", where=str(source), next_step="name a folder that is there")
    _refuse_target(target, source)
    names = tuple(name for name in code_files(source) if not _is_check(name))
    with refused_by_machine(target):
        copy_files(names, source, target, durable=False)
    return target


def lay_solution(spec: LabSpec, target: Path) -> Path:
    """Copy the starter into an empty or new folder, lay solutions/<lab>/ over it, and return that folder."""
    solution = spec.folder.parents[1] / "solutions" / spec.name
    if not solution.is_dir():
        raise WorkspaceError(
            f"{spec.name} has no solution", where=f"solutions/{spec.name}", next_step="restore the folder solutions/"
        )
    _refuse_target(target, spec.folder)
    with refused_by_machine(target):
        copy_files(starter_files(spec), spec.folder, target, durable=False)
        copy_files(code_files(solution), solution, target, durable=False)
    return target


def _base(spec: LabSpec) -> Path:
    return work_root() / ".base" / spec.name


def _lay_base(spec: LabSpec, stage: Path) -> None:
    base, names = _base(spec), starter_files(spec)
    for name in names:
        replace_file(base / name, (spec.folder / name).read_bytes(), stage)
    for name in set(code_files(base) if base.is_dir() else ()) - set(names):
        (base / name).unlink()


def _clear_the_way(folder: Path, name: str, kept: Path) -> None:
    """Move a link or folder that stands where the starter's file belongs into the kept copy."""
    at = in_the_way(folder, name)
    if at:
        os.rename(at, kept / f"{at.name}.in-the-way")


def _refuse_if_saved_since(file: Path, kept: Path) -> None:
    if file.is_file() and file.read_bytes() != kept.read_bytes():
        raise WorkspaceError(
            f"{file.name} was saved while the reset ran; it is left as you saved it",
            where=str(file),
            evidence=f"what stood there before is in {kept}",
            next_step="type lab.reset() again",
        )


def _remove_kept(folder: Path, kept: Path, names: set[str]) -> None:
    """Remove the learner's additions, except one that was saved again after it was copied."""
    for name in names:
        file = folder / name
        if file.is_file() and file.read_bytes() == (kept / name).read_bytes():
            file.unlink()


def _is_check(name: str) -> bool:
    last = name.rsplit("/", 1)[-1]
    return last.startswith("test_") and last.endswith(".py")


def _stands(folder: Path, root: Path) -> bool:
    """Say whether the learner's copy is there; refuse anything else in its place."""
    if folder.is_symlink() and not folder.resolve().is_relative_to(root.resolve()):
        raise _in_the_way(folder, f"a link to {folder.resolve()}, outside of {root}")
    if folder.is_symlink() and not folder.exists():
        raise _in_the_way(folder, "a link to nothing")
    if folder.exists() and not folder.is_dir():
        raise _in_the_way(folder, "a file, not a folder")
    return folder.is_symlink() or (folder.is_dir() and any(folder.iterdir()))


def _in_the_way(folder: Path, evidence: str) -> WorkspaceError:
    return WorkspaceError(
        f"something else stands where your copy of {folder.name} belongs",
        where=str(folder),
        evidence=f"it is {evidence}",
        next_step="rename or remove it, then open the lab again",
    )


def _next_kept(folder: Path) -> Path:
    number = 1
    while os.path.lexists(folder.with_name(f"{folder.name}.before-reset-{number}")):
        number += 1
    return folder.with_name(f"{folder.name}.before-reset-{number}")


def _refuse_target(target: Path, source: Path) -> None:
    inside = target.resolve().is_relative_to(source.resolve())
    if inside or target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise WorkspaceError(
            "a copy needs a folder of its own",
            where=str(target),
            evidence=f"it is inside {source}" if inside else "something is in it already",
            next_step="name a folder that is not there yet",
        )
