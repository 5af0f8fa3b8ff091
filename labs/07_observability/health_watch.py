"""Watch: what the wallet believes of one dependency, by the looks at it.

`await is_up(watch)` tells it, with what the watch remembers. Any number of probes ask it at once, and:

* From the begin of a look to the begin of the next, LOOK_EVERY_SECONDS pass at least, by now(); however many ask, and
  also while a look has no answer yet. Whoever asks meanwhile waits for that look, or is told what was believed before.
  Once they have passed, the next who asks brings a new look about (or it has been begun already, by a task of yours).
* A look takes LOOK_SECONDS at most, of real time. One that has not ended by then has failed.
* A look that raises has failed, whatever it raises; the reason goes into the log and nowhere else.
* The first look decides at once. Later, what is up becomes down by DOWN_AFTER failed looks in a row, and what is down
  becomes up by UP_AFTER good ones in a row. One look of another kind, and the row begins anew.
"""

import asyncio
import logging
from dataclasses import dataclass, field

from health_life import now
from health_looks import Dependency

LOOK_EVERY_SECONDS = 1.0
LOOK_SECONDS = 0.4
DOWN_AFTER = 3
UP_AFTER = 2
log = logging.getLogger("watch")


@dataclass
class Watch:
    """What is remembered of one dependency from look to look."""

    of: Dependency
    up: bool | None = None  # None until the first look has ended
    row: int = 0
    looked_at: float = float("-inf")  # by now()
    guard: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_due(self) -> bool:
        """Tell whether the next look may begin."""
        return now() - self.looked_at >= LOOK_EVERY_SECONDS


# --- your turn 7.4 ---
async def is_up(watch: Watch) -> bool:
    """Tell whether the wallet can do its work with a dependency."""
    try:
        await watch.of.look()
    except Exception as error:
        log.warning("%s: %r", watch.of.name, error)
        return False
    return True


# --- end 7.4 ---
