"""How the replicas of a service share the messages of a subject. Billing and counting both live on it.

`async with sharing(...)` listens from its beginning to its end:

* **One of each service.** Each message is work for billing and for counting, and in each of them for one replica alone.
* **Ready means heard.** When the block begins, the broker knows of the subscription (`messages.settled`): what is said
  from then on is not missed.
* **A few at once.** `work(event)` is a plain function that may take seconds. MOST_AT_ONCE calls of it run at the same
  time in a replica, never more; as soon as one ends, whichever it is, the next message gets its place. Further
  messages wait with nats-py, none is dropped (its own limits are wide enough here). nats-py calls the callback of a
  subscription for one message after the other: while one call has not returned, it does not make the next one. All the
  while the replica answers HTTP.
* **No failure vanishes.** What `read` refuses, and whatever exception `work` raises, goes to `tally.failed`; each
  other message to `tally.done` when its work has ended. Nothing is tried again, and the next one is not held up.
* **A good end.** A replica that leaves takes on nothing new and ends what had arrived, also what still waited for a
  place. When `connected` leaves, it waits 2 seconds at most until each callback has returned; what callbacks have
  started in tasks, and left there, is yours to wait for. 3 seconds after it was asked to leave, a process is killed.
* **The broker may go and come back.** nats-py subscribes again by itself; from then on all is as before, and no
  message is done twice.

More is not promised. The broker keeps nothing here: a message that nobody hears is gone, and so are those that a
killed replica had in hand (task 4.4 does better).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from nats.aio.msg import Msg
from tally import Tally

from lab_services.bikeshare import messages
from lab_services.bikeshare.messages import Event

SERVICE_NAME = os.environ["SERVICE_NAME"]  # "billing" in all replicas of billing
MOST_AT_ONCE = int(os.environ.get("MOST_AT_ONCE", "4"))
Work = Callable[[Event], None]


# --- your turn 4.2 ---
@asynccontextmanager
async def sharing(subject: str, known: Mapping[str, int], work: Work, tally: Tally) -> AsyncIterator[None]:
    """Do the work of each message that falls to this replica; `known` are the types and versions that it can read."""
    waiting: asyncio.Queue[Msg] = asyncio.Queue(1)

    async def take_turns() -> None:
        while True:
            message = await waiting.get()
            try:
                await asyncio.to_thread(work, messages.read(message.data, known))
                tally.done()
            except Exception as error:
                tally.failed(error)
            waiting.task_done()

    workers = [asyncio.create_task(take_turns()) for _ in range(MOST_AT_ONCE)]
    async with messages.connected() as client:
        await client.subscribe(subject, queue=SERVICE_NAME, cb=waiting.put)  # a group for each service, by its name
        await messages.settled(client)
        yield
    await waiting.join()  # what nats-py has handed over is ours to end
    for worker in workers:
        worker.cancel()


# --- end 4.2 ---
