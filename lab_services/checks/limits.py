"""How long each part of a check may take, and what ends it when it takes longer."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab_services.checks.verdict import CheckTimedOut

CHECK_SECONDS = 10.0
START_SECONDS = 40.0  # the city starts, cold and on a busy machine
STOP_SECONDS = 15.0
HARD_SECONDS = 3.0  # this much later the process ends, even if C code does not return


def check_seconds() -> float:
    """Return the limit of one check's body; COURSE_CHECK_SECONDS gives a slow machine more."""
    try:
        return max(0.1, float(os.environ.get("COURSE_CHECK_SECONDS", "")))
    except ValueError:
        return CHECK_SECONDS


def run_seconds(checks: int) -> float:
    """Return the limit of a whole run of that many checks, above the sum of their own."""
    return 30.0 + checks * (START_SECONDS + check_seconds() + STOP_SECONDS + 3 * HARD_SECONDS)


@contextmanager
def bounded(seconds: float, what: str) -> Iterator[None]:
    """Raise CheckTimedOut in the main thread after `seconds`; end the process when even that does not help."""

    def ring(*_: Any) -> None:
        raise CheckTimedOut(f"{what} took longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    faulthandler.dump_traceback_later(seconds + HARD_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def end_with(lease: int) -> None:
    """End this process as soon as the other end of the pipe `lease` is closed: nobody waits for the result."""
    os.set_inheritable(lease, False)

    def wait() -> None:
        while os.read(lease, 1):
            pass
        os._exit(3)

    threading.Thread(target=wait, name="lease", daemon=True).start()
