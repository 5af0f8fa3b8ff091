"""What earlier runs have left behind: processes whose supervisor is gone."""

from __future__ import annotations

from contextlib import suppress

from .finding import Finding

SUPERVISOR = ["-m", "lab_services.runtime"]


def leftovers() -> Finding:
    """No process of a lab outlives its supervisor; a lab that runs now is none of them."""
    found = _processes_of_labs()
    living = {mark for _, mark, supervises in found if supervises}
    left = sorted(name for name, mark, _ in found if mark not in living)
    if not left:
        running = f"; {len(living)} running now" if living else ""
        return Finding("leftovers", True, f"none of earlier runs{running}")
    return Finding("leftovers", False, f"{len(left)} processes of earlier runs: {', '.join(left)}", "course down")


def _processes_of_labs() -> list[tuple[str, str, bool]]:
    """Return each process of this course's folder: its name, its mark, and whether it is a supervisor.

    A mark is "<work folder>|<lab>|<token>", the same for all processes of one supervisor.
    """
    import psutil

    from ..runtime.workspace import work_root

    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            mark = process.environ().get("COURSE_RUN", "")
            if mark.startswith(f"{work_root()}|") and process.status() != psutil.STATUS_ZOMBIE:
                found.append((f"{process.name()} ({process.pid})", mark, process.cmdline()[1:3] == SUPERVISOR))
    return found
