"""Life: what this process knows of itself, the clock by which it waits, and how it leaves.

    life.started    True once it has read the riders' balances from the bank (health_teller.py)
    life.leaving    True from SIGTERM on
    life.round_at   when the teller began its last round, by now(); None until its first one
    seconds_since_round()   how long ago that is; 0 until its first one

now() is in seconds and never goes back. If DATA_DIR has a file `clock`, it is the number that stands there: whoever
writes it lets an hour pass at once.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

CLOCK = Path(os.environ.get("DATA_DIR", "data")) / "clock"
LEAVE_SECONDS = 0.5  # from "leaving" until no new caller is let in: those who route have time to see it
TICK_SECONDS = 0.02


@dataclass
class Life:
    """One process; `life` is this one."""

    started: bool = False
    leaving: bool = False
    round_at: float | None = None


life = Life()


def now() -> float:
    """Return the time in seconds, from a beginning of its own."""
    try:
        return float(CLOCK.read_text())
    except FileNotFoundError:
        return time.monotonic()


def seconds_since_round() -> float:
    """Return how long ago the teller began its last round; 0 until its first one."""
    return 0.0 if life.round_at is None else now() - life.round_at


@asynccontextmanager
async def leaving_slowly() -> AsyncIterator[None]:
    """On SIGTERM say so, serve on for LEAVE_SECONDS, and then let the server close its door and finish its work."""
    loop, close = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    tasks: list[asyncio.Task[None]] = []

    async def leave() -> None:
        life.leaving, since = True, now()
        while now() < since + LEAVE_SECONDS:
            await asyncio.sleep(TICK_SECONDS)
        if callable(close):
            close(signal.SIGTERM, None)

    loop.add_signal_handler(signal.SIGTERM, lambda: tasks.append(loop.create_task(leave())))
    yield
