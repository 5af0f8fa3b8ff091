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
    """Write down an event from outside; return whether it is new."""
    return await in_transaction(write_down, event, MOST_WAITING)


def write_down(db: Connection, event: CityEvent, most_waiting: float = float("inf")) -> bool:
    """Write down an event, and to whom it is owed; return whether it is new."""
    if before := find_event(db, event.id):
        if before != event:
            raise Problem(409, "another event", f"id: another event is called {event.id}")
        return False
    if (hops := event_table.count_hops(db, event)) > MOST_HOPS:
        raise Problem(422, "too many hops", f"hops: {hops} events led to this {event.type}, {MOST_HOPS} may at most")
    if event_table.count_waiting(db) >= most_waiting:
        raise Problem(503, "too many wait", f"{most_waiting} deliveries wait: send the event again later")
    event_table.insert_event(db, event, hops)
    for handler in event_handlers.HANDLERS:
        if event.type in handler.wants:  # a row for each pair: an event that one handler has, another may lack
            row = [event.id, handler.name, event.subject]
            db.execute("INSERT INTO deliveries(event_id, handler, subject) VALUES (?, ?, ?)", row)
    return True


# --- end 5.1 ---
