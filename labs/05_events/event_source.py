"""Source: where events come in. Whatever is accepted is written down first, and from then on nothing loses it.

accept      is for events from outside. It returns True for a new event, False for one that is written down already:
            when all of it is committed, and without waiting for any handler.
write_down  does the work, in a transaction of its caller: for accept, and for what a handler says.

| an event                                                   | what becomes of it                                      |
| ---------------------------------------------------------- | ------------------------------------------------------- |
| with an id that is not written down                        | a row of `events`; and for each of HANDLERS that wants  |
|                                                            | its type a row of `deliveries`, with its `subject`      |
| written down before: equal (==), in whatever bytes it came | False, and nothing else: no handler gets it once more   |
| another one with the id of one that is written down        | Problem 409                                             |
| to which more than MOST_HOPS events led (count_hops)       | Problem 422, with the word "hops" in its detail         |
| new, from outside, while MOST_WAITING or more wait         | Problem 503; an event that a handler says is taken even |
|                                                            | then, or what waits could never become less             |

The service can die between any two lines, and the sender of an event who got no answer sends it again: so the rows of
an event are all there, or none is. What is refused leaves none. Two requests can bring the same id in one moment.

The tables, and what is given to read and write them, stand in event_table.py. MOST_HOPS ends a cycle: a handler says
an event on account of another, a second handler says the first again, and so on; each of them means well.
"""

import os
from sqlite3 import Connection

import event_handlers
import event_table
from event_form import CityEvent
from event_table import find_event, in_transaction

from lab_services.bikeshare.problems import Problem

MOST_HOPS = int(os.environ.get("MOST_HOPS", "8"))
MOST_WAITING = int(os.environ.get("MOST_WAITING", "10000"))


# --- your turn 5.1 ---
async def accept(event: CityEvent) -> bool:
    """Write down an event from outside, and hand it to all who want it; return whether it is new."""
    if not await in_transaction(write_down, event):
        return False
    for handler in [each for each in event_handlers.HANDLERS if event.type in each.wants]:
        state, reason = "done", ""
        try:
            for said in await handler.handle(event):
                await accept(said)
        except Exception as error:
            state, reason = "waiting", event_handlers.reason_of(error)
        sql = "INSERT INTO deliveries(event_id, handler, subject, state, reason) VALUES (?, ?, ?, ?, ?)"
        await in_transaction(Connection.execute, sql, [event.id, handler.name, event.subject, state, reason])
    return True


def write_down(db: Connection, event: CityEvent) -> bool:
    """Write down an event; return whether it is new."""
    if (before := find_event(db, event.id)) and before.type != event.type:
        raise Problem(409, "another event", f"id: another event is called {event.id}")
    if before is None:
        event_table.insert_event(db, event, event_table.count_hops(db, event))
    return before is None


# --- end 5.1 ---
