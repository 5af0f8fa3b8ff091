"""Order: which delivery of a handler is next.

`next_due(db, handler)` returns the row of `deliveries` that is next for this handler, or None. Of those that are
waiting and due (`due <= time.time()`) it is the one with the smallest `due`; of several with the same `due`, the one
with the smallest `seq`. So what has just failed goes to the end of the queue, and cannot keep new events out of it.

But no event overtakes an older one (smaller `seq`) of the same subject that is still waiting for this handler, due or
not. Events of other subjects do: a bike whose events fail holds up its own events at this handler, and nothing else.
What is done or set aside holds up nothing.

Thousands may be waiting: read no more of them than you need.
"""

import time
from sqlite3 import Connection, Row

# --- your turn 5.1 ---
NEXT = """
    SELECT * FROM deliveries AS mine WHERE handler = ? AND state = 'waiting' AND due <= ? AND NOT EXISTS (
        SELECT 1 FROM deliveries
        WHERE handler = mine.handler AND subject = mine.subject AND state = 'waiting' AND seq < mine.seq)
    ORDER BY due, seq LIMIT 1"""


def next_due(db: Connection, handler: str) -> Row | None:
    # The older one is looked for among all that wait, not among those that are due: it may be waiting for its next try.
    return db.execute(NEXT, [handler, time.time()]).fetchone()


# --- end 5.1 ---
