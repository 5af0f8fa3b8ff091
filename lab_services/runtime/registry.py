"""Which supervisors run, on disk, so that whatever a crash left behind can be found and stopped.

Every process of a run carries COURSE_RUN in its environment: the folder of the work, the lab and a random token.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from lab_services.runtime.socket_files import remove_sockets_folder

STOP_SECONDS = 5.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Entry:
    """One supervisor: the lab it runs, its pid, the time that pid was started, and the mark of its processes."""

    lab: str
    pid: int
    created: float
    mark: str
    path: str

    @staticmethod
    def of_this_process(lab: str, folder: str, mark: str) -> Entry:
        """Return the entry of the calling supervisor."""
        created = psutil.Process().create_time()
        return Entry(lab, os.getpid(), created, mark, str(Path(folder) / f"{os.getpid()}.json"))

    def write(self) -> None:
        """Put the entry on disk; a full disk is no reason not to run."""
        path = Path(self.path)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(asdict(self)))
            os.replace(fresh, path)

    def remove(self) -> None:
        """Take the entry off the disk, and with it the socket files of the run."""
        remove_sockets_folder(self.mark)
        with suppress(OSError):
            Path(self.path).unlink()

    def alive(self) -> bool:
        """Say whether this very supervisor still runs (a pid alone may belong to a stranger by now)."""
        try:
            process = psutil.Process(self.pid)
            return process.is_running() and abs(process.create_time() - self.created) < 1.0 and not _is_zombie(process)
        except psutil.Error:
            return False

    def kill_the_rest(self) -> list[int]:
        """Kill every process that carries this run's mark, but not the caller; return their pids."""
        killed = []
        for process in marked(self.mark):
            if process.pid != os.getpid():
                with suppress(psutil.Error):
                    process.kill()
                    killed.append(process.pid)
        return killed


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes of this user whose environment carries `mark` as COURSE_RUN."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("COURSE_RUN") == mark and not _is_zombie(process):
                found.append(process)
    return found


def entries() -> list[Entry]:
    """Return what is on disk below work/.run; a file that cannot be read is passed over."""
    from lab_services.runtime.workspace import work_root

    found = []
    for path in sorted((work_root() / ".run").glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            found.append(Entry(**json.loads(path.read_text())))
    return found


def sweep(*, everything: bool = False) -> list[str]:
    """Stop what dead supervisors have left behind; with `everything` the living ones as well.

    Returns:
        One sentence for each supervisor or leftover process that was stopped.
    """
    told = []
    for entry in entries():
        if entry.alive() and not everything:
            continue
        if entry.alive():
            _stop(entry)
            told.append(f"{entry.lab}: stopped (supervisor {entry.pid})")
        rest = entry.kill_the_rest()
        if rest:
            told.append(f"{entry.lab}: {len(rest)} leftover processes stopped")
        entry.remove()
    return told


def _stop(entry: Entry) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(entry.pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while entry.alive() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    if entry.alive():
        with suppress(ProcessLookupError, PermissionError):
            os.kill(entry.pid, signal.SIGKILL)


def _is_zombie(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_ZOMBIE)
