"""Manager: hands out what is owed, until each handler has had each event that it wants, or it is set aside.

`hand_out(handler)` hands one event to one handler, notes what has become of it, and returns True; False if none was
due. events.py calls it again and again, in a loop of its own for each handler: so a handler has one event in hand at a
time, and a slow one waits alone.

Which one is next is the business of event_order.py.

| handler.handle(event)                          | the delivery                                                       |
| ---------------------------------------------- | ------------------------------------------------------------------ |
| returns new events                             | done; what was returned is written down (event_source.write_down)  |
| raises, or takes longer than HANDLE_SECONDS    | waiting, due in RETRY_SECONDS; at the TRIES-th try set_aside       |
| returns an event that write_down refuses, or   | set_aside at once, and nothing of what it returned is written:     |
|   raises Problem: no other try makes it better |   that is how a cycle ends, and becomes visible                    |

The last two add 1 to `tries`, and note reason_of(error) as the `reason`. Other deliveries of the event stay as they
are.

Everything can die between any two lines. A handler may then be called twice for an event, and its service bears that.
But what it returns has new ids each time: so `done` and all that was returned are written together, or not at all. And
once: two replicas share events.db, and both may have an event in hand. Whoever comes second finds that the delivery is
no longer waiting, and leaves everything as it is. No transaction is open while a handler is at work.
"""

import asyncio
import os
import time
from sqlite3 import Connection

from event_form import CityEvent
from event_handlers import Handler, reason_of
from event_order import next_due
from event_source import write_down
from event_table import find_event, in_transaction

from lab_services.bikeshare.problems import Problem

HANDLE_SECONDS = float(os.environ.get("HANDLE_SECONDS", "10"))
RETRY_SECONDS = float(os.environ.get("RETRY_SECONDS", "5"))
TRIES = int(os.environ.get("TRIES", "100"))


# --- your turn 5.1 ---
async def hand_out(handler: Handler) -> bool:
    """Hand the next event to a handler; return False if none is due."""
    if (row := await in_transaction(next_due, handler.name)) is None:
        return False
    event, tries = await in_transaction(find_event, row["event_id"]), row["tries"] + 1
    try:
        async with asyncio.timeout(HANDLE_SECONDS):
            said = await handler.handle(event)
        await in_transaction(note, row["seq"], "done", row["tries"], "", said)
    except Exception as error:
        state = "set_aside" if tries >= TRIES or isinstance(error, Problem) else "waiting"
        await in_transaction(note, row["seq"], state, tries, reason_of(error), [])
    return True


def note(db: Connection, seq: int, state: str, tries: int, reason: str, said: list[CityEvent]) -> None:
    """Note what has become of a delivery that is still waiting, together with what its handler says."""
    sql = "UPDATE deliveries SET state = ?, tries = ?, reason = ?, due = ? WHERE seq = ? AND state = 'waiting'"
    if db.execute(sql, [state, tries, reason, time.time() + RETRY_SECONDS, seq]).rowcount:
        for event in said:  # not before and not after: whoever dies in between would say it never, or twice
            write_down(db, event)


# --- end 5.1 ---
