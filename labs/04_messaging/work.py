"""Work: what becomes of a message that a worker has in hand. No ride is billed twice, and no message gets lost.

| what happens                                                   | what becomes of the message            |
| -------------------------------------------------------------- | -------------------------------------- |
| its ride is billed, now or before                              | acknowledged, after the commit         |
| hands.Unreadable                                               | 1 try, then a dead letter              |
| hands.Outage: pricing is down                                  | OUTAGE_TRIES tries, then a dead letter |
| any other exception: pricing refuses, nobody has such a wallet | TRIES tries, then a dead letter        |

A try is a delivery by the broker, to whichever worker: `message.metadata.num_delivered`, 1 at first, counts them all,
whatever the earlier ones failed of. Two tries are RETRY_SECONDS apart. Meanwhile the message waits at the broker, not
in a hand, and others go on. A message knows `ack()`, `nak(delay=...)` and `term()` (give up); each is awaited.

Billed once: an event can come again at any time, to two workers in one moment, days later, after younger ones, in other
bytes, without a Nats-Msg-Id. Its copies have one `event_id`, and no other event has it; two rides may be alike in all
but ride_id and event_id. A copy of a billed ride needs no price: pricing may refuse it by now, or be away.
`charges.charge` takes the money each time it is called. All workers share wallet.db: MORE_TABLES are made in it, and
`hands.look` reads it.

In hand: pricing can take longer than ACK_SECONDS. No other worker gets the message meanwhile: `hands.in_hand`. What
becomes of the message is said behind the `async with`, so that no in_progress follows it.

A dead letter is the message as it came, byte for byte, on DEAD_PREFIX + its subject, with the headers that
`letters.on_the_letter` returns. Only when DEAD has kept it (`broker.publish` returns then) is the message given up; if
DEAD refuses, let the exception go: the worker logs it, and the message comes again. A letter that is replayed bills its
ride, if nobody has.
"""

import asyncio
import os

import hands
from letters import on_the_letter
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from streams import DEAD_PREFIX

from lab_services.bikeshare.charges import charge
from lab_services.bikeshare.database import transaction

RETRY_SECONDS = float(os.environ.get("RETRY_SECONDS", "5"))
TRIES = int(os.environ.get("TRIES", "5"))
OUTAGE_TRIES = int(os.environ.get("OUTAGE_TRIES", "720"))  # with RETRY_SECONDS = 5, pricing may be away for an hour


# --- your turn 4.4 ---
MORE_TABLES = ""  # of wallet.db, as SQL
billed: set[str] = set()


async def handle(message: Msg, broker: JetStreamContext) -> None:
    """Bill the ride that a message tells of, and tell the broker what has become of the message."""
    try:
        ride = hands.ended_ride(message.data)
        cents = await hands.price(ride.minutes)
        if ride.event_id not in billed:
            await asyncio.to_thread(bill, ride, cents)
            billed.add(ride.event_id)
        await message.ack()
    except hands.Outage:
        await message.nak()
    except Exception as error:
        await message.term()
        await broker.publish(DEAD_PREFIX + message.subject, message.data, headers=on_the_letter(message, error))


def bill(ride: hands.EndedRide, cents: int) -> None:
    with transaction("wallet") as db:
        charge(db, ride.ride_id, ride.rider_id, cents)


# --- end 4.4 ---
