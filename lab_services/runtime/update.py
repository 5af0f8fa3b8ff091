"""A changed starter reaches a learner's copy: decided for every file first, then written file by file.

The learner's file is written before its base. A crash between the two repeats the same merge at the next
update, where both sides have made the same change: nothing happens twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Literal

from lab_services.errors import WorkspaceError
from lab_services.runtime.merge import merge
from lab_services.runtime.safe_files import code_files, replace_file

Verdict = Literal["same", "taken", "added", "kept", "merged", "conflict", "missing"]
HEADINGS = {
    "taken": "now the new version (you had not changed it)",
    "added": "new",
    "merged": "your changes and the new ones together",
    "kept": "yours, unchanged",
    "conflicts": "yours, unchanged; both versions stand in the file named",
    "missing": "deleted by you, not restored; lab.reset() brings it back",
    "waiting": "left by an earlier update: take what you want into your file, then delete it",
}


@dataclass(frozen=True)
class Step:
    """What becomes of one file: `mine` is what was read, `content` what to write (beside it for a conflict)."""

    file: str
    verdict: Verdict
    mine: bytes | None
    new: bytes
    content: bytes | None = None


@dataclass(frozen=True, repr=False)
class UpdateReport:
    """What an update did, file by file; `conflicts` and `waiting` name the files that hold both versions."""

    lab: str
    taken: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Say whether any file of the workspace was written."""
        return bool(self.taken or self.added or self.merged or self.conflicts)

    def rows(self) -> list[tuple[str, str]]:
        """Return (file, what became of it) for every file worth a word."""
        lists = [field.name for field in fields(self) if field.name != "lab"]
        return [(file, HEADINGS[name]) for name in lists for file in getattr(self, name)]

    def __repr__(self) -> str:
        rows = self.rows()
        width = max((len(file) for file, _ in rows), default=0)
        lines = [f"  {file:<{width}}  {what}" for file, what in rows]
        return "\n".join([f"{self.lab}: {self._summary()}", *lines])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row"><code>{escape(file)}</code></th><td>{escape(what)}</td></tr>'
            for file, what in self.rows()
        )
        head = '<tr><th scope="col">file</th><th scope="col">what became of it</th></tr>'
        table = f"<table>{head}{rows}</table>" if rows else ""
        return f"<p>{escape(self.lab)}: {escape(self._summary())}</p>{table}"

    def _summary(self) -> str:
        if self.conflicts:
            return "updated, except for changes that meet yours"
        return "updated" if self.changed else "up to date"


def decide(file: str, base: bytes | None, mine: bytes | None, new: bytes) -> Step:
    """Decide about one file; None stands for a file that is not there."""
    if mine is None:
        return Step(file, "added", None, new, new) if base is None else Step(file, "missing", None, new)
    if mine == new:
        return Step(file, "same", mine, new)
    if base == new:
        return Step(file, "kept", mine, new)
    if base == mine:
        return Step(file, "taken", mine, new, new)
    result = merge(base or b"", mine, new, python=file.endswith(".py"))
    if result.conflict or base is None:
        return Step(file, "conflict", mine, new, result.content)
    return Step(file, "same" if result.content == mine else "merged", mine, new, result.content)


def plan(names: tuple[str, ...], base: Path, mine: Path, starter: Path) -> list[Step]:
    """Read the three versions of every starter file and decide; nothing is written yet.

    Raises:
        WorkspaceError: a folder of the learner is in the way, or is a link to somewhere else.
    """
    for name in names:
        _refuse_in_the_way(mine, name)
    return [decide(name, _read(base / name), _read(mine / name), (starter / name).read_bytes()) for name in names]


def carry_out(steps: list[Step], base: Path, mine: Path, stage: Path) -> dict[str, list[str]]:
    """Write what was decided; return the files under the names of UpdateReport."""
    done: dict[str, list[str]] = {}
    for step in steps:
        target = mine / step.file
        if step.verdict == "conflict":
            done.setdefault("conflicts", []).append(_write_beside(target, step.content or b"", mine, stage))
        elif step.content is not None and step.content != step.mine:
            _refuse_if_saved_since(target, step)
            replace_file(target, step.content, stage)
        if _read(base / step.file) != step.new:
            replace_file(base / step.file, step.new, stage)
        if step.verdict not in ("same", "conflict"):
            done.setdefault(step.verdict, []).append(step.file)
    return done


def in_the_way(mine: Path, name: str) -> Path | None:
    """Return what stands where a file of the starter, or a folder above it, belongs: a link, a folder, a pipe."""
    for place in (*reversed(Path(name).parents[:-1]), Path(name)):
        at = mine / place
        fits = at.is_file() if place == Path(name) else at.is_dir()
        if os.path.lexists(at) and (at.is_symlink() or not fits):
            return at
    return None


def waiting(names: tuple[str, ...], mine: Path) -> list[str]:
    """Return the files with both versions that still stand beside the learner's."""
    return [file for file in code_files(mine) if any(file.startswith(name + ".new") for name in names)]


def _write_beside(target: Path, content: bytes, mine: Path, stage: Path) -> str:
    """Write rides.py.new; when the learner still has another one, rides.py.new-2, and so on."""
    number, beside = 1, target.with_name(target.name + ".new")
    while (beside.exists() or beside.is_symlink()) and _read(beside) != content:
        number += 1
        beside = target.with_name(f"{target.name}.new-{number}")
    if not beside.exists():
        replace_file(beside, content, stage)
    return beside.relative_to(mine).as_posix()


def _read(path: Path) -> bytes | None:
    if path.is_dir():
        return None
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _refuse_in_the_way(mine: Path, name: str) -> None:
    at = in_the_way(mine, name)
    if at:
        raise WorkspaceError(
            f"{at.relative_to(mine)} is in the way of the starter's {name}",
            where=str(at),
            evidence="it is a link" if at.is_symlink() else "it is a folder" if at.is_dir() else "it is not a folder",
            next_step=f"rename {at.name}, then repeat; or type lab.reset(), which keeps your copy beside",
        )


def _refuse_if_saved_since(target: Path, step: Step) -> None:
    if _read(target) != step.mine:
        raise WorkspaceError(
            f"{step.file} was saved while the update ran; it is left as you saved it",
            where=str(target),
            next_step="repeat the update",
        )
