"""Orchestrator: takes what was told of a start, and says the command of the state that starts_moves.py decides.

The process can die behind any line, and another one goes on with what is in starts.db; of memory nothing is left. The
relay says what is in the outbox, each row at least once and in order, also when the broker was away meanwhile.

enter    Writes down the state of a start (`book.write`) and, if the state has a command, puts it into the outbox
         (`book.put_out`), both in the transaction of its caller: a command that is said has a state that waits for its
         reply. A command is an Event with the action as its type, `start.ride.model_dump()` as its data, and the id
         <ride_id>.<action>: the same one each time it is said, because by the id a participant knows what it has done.
take     Takes a reply to its start. Replies come twice, late, and of rides that nobody knows. A reply counts when it
         answers the command that the start waits for now; every other one changes nothing.
wake     Is called some times per second. Each start whose reply is overdue (`book.silent`) is told "silence".

`next_state` says what follows; where it says None, nothing is written.
"""

import sqlite3
from datetime import UTC, datetime

import starts_book as book
from starts_book import Start
from starts_mail import Reply
from starts_moves import COMMAND, next_state

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import new_event


def wake() -> None:
    """Tell the starts that have been silent for too long."""
    with transaction("starts") as db:
        for start in book.silent(db):
            if state := next_state(start, "silence"):
                enter(db, start, state)


# --- your turn 5.4 ---
def enter(db: sqlite3.Connection, start: Start, state: str) -> None:
    """Write down a state, and its command to be said, in one transaction."""
    book.write(db, start.ride_id, state)
    if action := COMMAND.get(state):
        # One id however often it is said: who has done it answers, and does not do it again.
        command_id = f"{start.ride_id}.{action}"
        book.put_out(db, new_event(action, datetime.now(UTC), start.ride.model_dump(), event_id=command_id))


def take(reply: Reply) -> None:
    """Take a reply to its start, if that waits for it."""
    with transaction("starts") as db:
        start = book.find(db, reply.ride_id)
        # A copy, or an answer that comes too late, is of a command that is over.
        if start is None or reply.command != f"{start.ride_id}.{COMMAND.get(start.state)}":
            return
        if state := next_state(start, reply.outcome):
            enter(db, start, state)


# --- end 5.4 ---
