"""Outbox, the writing side: a step of a ride is in the book together with its event, or neither is.

`record` is called for every PUT. By when it returns True, both are committed: the row of the step (`write`) and, in the
table `outbox`, the event that tells of it (`put`). By when it raises, neither is, and nothing was said at the broker.
So it must be, whatever happens in between:

| what happens                                         | what is in the book afterwards                              |
| ---------------------------------------------------- | ----------------------------------------------------------- |
| `write` returns True: the step is new                | the step, and one event of it                               |
| `write` returns False: the same PUT came once more   | what was there: no second event, whatever its id            |
| `write` raises, after it has written a part of it    | what was there; the exception goes to whoever called        |
| `put` raises (the disk is full), or SIGKILL comes    | what was there                                              |

Each event has an id of its own, at most 64 letters, digits, dots, `_` and `-`. It is chosen once, here, and stays.

Nobody waits for the broker: a PUT is answered while the broker hangs or is away. The relay tells the city. It may sleep
for as long as POLL_SECONDS, and `await line.ring()` wakes it: ring when there is something for it to see.

`transaction(BOOK)` commits at its end, and rolls back when an exception leaves it. It can wait for other writers, so it
belongs beside the event loop: `asyncio.to_thread`.
"""

import asyncio

from outbox_book import BOOK, Step, put, write
from outbox_line import CityLine

from lab_services.bikeshare.database import transaction


# --- your turn 5.2 ---
async def record(step: Step, line: CityLine) -> bool:
    """Write a step and have it told; return whether it is new."""
    new = await asyncio.to_thread(write_both, step)
    await line.ring()  # behind the commit: a relay that is woken before finds nothing, and sleeps on
    return new


def write_both(step: Step) -> bool:
    with transaction(BOOK) as db:  # Outbox: one commit for both, so that no crash comes in between
        if new := write(db, step):
            put(db, step, f"{step.ride_id}.{step.what}")
    return new


# --- end 5.2 ---
