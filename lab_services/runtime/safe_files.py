"""Write below work/ so that a crash, a full disk or a second process never leaves half a file or half a folder.

Everything is first written whole into a staging folder beside its destination and then moved there by one
rename. Staging folders that a crash left are swept by the next process that gets the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab_services.errors import MachineError, WorkspaceError

LOCK_SECONDS = 20.0
POLL_SECONDS = 0.02
SKIPPED_FOLDERS = ("__pycache__", "node_modules")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def code_files(folder: Path) -> tuple[str, ...]:
    """Return the regular files below a folder as relative names with /, without hidden ones and caches."""
    found = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in SKIPPED_FOLDERS)
        inner = Path(place).relative_to(folder)
        found += [(inner / name).as_posix() for name in files if name[0] != "." and (Path(place) / name).is_file()]
    return tuple(sorted(found))


def copy_files(names: Iterable[str], source: Path, target: Path, *, durable: bool = True) -> None:
    """Copy the named files into target, which need not be there; the copies are writable."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        _write(copy, (source / name).read_bytes(), durable)
        if os.access(source / name, os.X_OK):
            copy.chmod(copy.stat().st_mode | 0o111)


def replace_file(path: Path, content: bytes, stage: Path) -> None:
    """Put content at path in one step: a reader sees the old file or the new one, whole."""
    staged = Path(tempfile.mkdtemp(dir=stage)) / "file"
    _write(staged, content, durable=True)
    if path.exists():
        shutil.copymode(path, staged)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(staged, path)


@contextmanager
def staging(root: Path, lab: str) -> Iterator[Path]:
    """Hold the lab's lock and give an empty folder on the same disk; it is gone afterwards.

    Raises:
        WorkspaceError: another process has held the lock for LOCK_SECONDS.
        MachineError: the folder cannot be written.
    """
    prefix = f".new-{lab}-"
    with refused_by_machine(root):
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".copy-{lab}.lock"):
            for left in root.glob(prefix + "*"):
                shutil.rmtree(left, ignore_errors=True)
            stage = Path(tempfile.mkdtemp(prefix=prefix, dir=root))
            try:
                yield stage
            finally:
                shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def refused_by_machine(place: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a MachineError that says what to do."""
    try:
        yield
    except OSError as error:
        what, step = _explain(error.errno)
        raise MachineError(
            f"{place} {what}", where=str(error.filename or place), evidence=str(error), next_step=step
        ) from None


def _explain(number: int | None) -> tuple[str, str]:
    if number in _FULL:
        return (
            "cannot take another file: the disk is full",
            "make room (course doctor shows how much there is), then repeat",
        )
    if number in _REFUSED:
        return "cannot be written", "make the folder writable, or set COURSE_WORK to one that is"
    return "cannot be used", "look at the evidence; setting COURSE_WORK to another folder goes round it"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("ab") as lock:
        limit = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > limit:
                    raise WorkspaceError(
                        f"another process has been copying this lab for {LOCK_SECONDS:.0f} seconds",
                        where=str(path),
                        next_step="end the other notebook or terminal, then repeat",
                    ) from None
                time.sleep(POLL_SECONDS)
        yield  # closing the file gives the lock back, and so does the death of the process


def _raise(error: OSError) -> None:
    raise error


def _write(path: Path, content: bytes, durable: bool) -> None:
    with path.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
