"""Relay: tells the city what the outbox holds. Two processes run it at the same time, with one outbox.

`run` works for as long as its process lives; when it raises, that is logged, and it is called again. It takes rows of
`outbox` and publishes each: `await line.publish(row["subject"], row["content"], row["event_id"])`, the same bytes under
the same id at every try. What comes of it decides about the row:

| what has come                        | what becomes of the row                                                     |
| ------------------------------------ | --------------------------------------------------------------------------- |
| `line.publish` returns               | it is deleted: the outbox holds what is not told yet, and nothing else      |
| Refused: the stream says no to it    | `tries` one more, `reason` = str(error); tried again BACKOFF_SECONDS later  |
| Silent: the stream says nothing      | tried again BACKOFF_SECONDS later, under the same id                        |
| SIGKILL, at any moment               | it is there until it is told: the other relay, or the next, goes on         |

No row is ever given up: an outage ends, and somebody makes the stream larger. Not before BACKOFF_SECONDS have passed is
a refused row tried again, whatever else happens, and not much later.

Order: events of one ride get into the stream in the order of `seq`. While a row of a ride is not told, no later row of
this ride is. The rows of all other rides go on: any number of refused rows holds up their own rides, and no other.
`seq` is the order of the commits. `time` is by the clocks of the bikes, which differ: it decides nothing here.

Two relays: a row that one has in hand is not published by the other meanwhile. But who has it in hand may be dead, or
asleep: LEASE_SECONDS after it was taken, it is free again. (LEASE_SECONDS is longer than ACK_SECONDS, which
`line.publish` takes at most.) One that sleeps for longer finds the row gone, or publishes a copy, which the stream
knows by its id.

Waiting: `await line.rung(seconds)` returns when somebody has rung, or after so many seconds. A relay looks again when
the bell rings, when a row becomes due, and in any case after POLL_SECONDS, because a ring may get lost. It does not ask
the database all the time.

The book has one writer at a time: no transaction may be open while something is awaited from the broker. Each
`await do(sql, name=value)` is one transaction, with `:name` in the SQL; it returns the rows (also of a RETURNING).
`outbox` has the columns seq, event_id, ride_id, subject, content, time, and for you: tries (0 at first), due_at (0 at
first: the time.time() before which nobody takes the row) and reason. Further tables go into MORE_TABLES.
"""

import asyncio
import os
import time
from sqlite3 import Row

from outbox_book import do
from outbox_line import CityLine, Refused, Silent

POLL_SECONDS = float(os.environ.get("POLL_SECONDS", "30"))
BACKOFF_SECONDS = float(os.environ.get("BACKOFF_SECONDS", "5"))
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "10"))
BATCH = int(os.environ.get("BATCH", "50"))  # as many rows as one relay takes at once

# --- your turn 5.2 ---
MORE_TABLES = ""  # of the book, as SQL
FIRST = "SELECT min(seq) FROM outbox GROUP BY ride_id"  # the first row of each ride: if it waits, its ride waits
FREE = f"SELECT seq FROM outbox WHERE seq IN ({FIRST}) AND due_at <= :now ORDER BY seq LIMIT :batch"
TAKE = f"UPDATE outbox SET due_at = :now + :lease WHERE seq IN ({FREE}) RETURNING *"  # nobody else's until then


async def run(line: CityLine) -> None:
    while True:
        if rows := await do(TAKE, now=time.time(), lease=LEASE_SECONDS, batch=BATCH):
            await asyncio.gather(*(tell(line, row) for row in rows))
        else:
            [[due]] = await do(f"SELECT ifnull(min(due_at), 1e12) FROM outbox WHERE seq IN ({FIRST})")
            await line.rung(min(POLL_SECONDS, max(0, due - time.time())))


async def tell(line: CityLine, row: Row) -> None:
    try:
        await line.publish(row["subject"], row["content"], row["event_id"])
    except (Refused, Silent) as error:  # no row is given up: its event would be lost without a word
        change = "tries = tries + 1, reason = :reason, due_at = :due WHERE seq = :seq"
        await do(f"UPDATE outbox SET {change}", reason=str(error), due=time.time() + BACKOFF_SECONDS, seq=row["seq"])
    else:
        await do("DELETE FROM outbox WHERE seq = :seq", seq=row["seq"])


# --- end 5.2 ---
