"""Gateways: three of this program, each for the locks of one district (radio.py). They answer requests over the broker.

wishes.py says what is asked and answered; `read_wish` and the radio raise Refused. What holds for a gateway:

* Every request that can be answered is answered: what is Refused by its word and sentence; a mistake, whatever it is,
  by {"error": "mistake"}, nothing of the inside besides, and its traceback in the log. Then it goes on with the others.
* Who gives no reply subject cannot be told: nothing is done for them.
* A lock may take seconds: no request waits for that of another lock. nats-py hands over the next message of a
  subscription when the callback for the one before has returned.
* MOST_AT_WORK requests are at work at most; one more is refused at once: busy.
* A bolt moves once for a request_id: also if the same wish comes again while its lock is still at work; when the bolt
  has moved and the radio waits for word of it (the ledger knows: radio.opened); or after this program was killed.
"""

import asyncio
import json
import logging
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import radio
from fastapi import FastAPI
from nats.aio.msg import Msg
from wishes import DISTRICTS, Batteries, Battery, Refused, Unlock, read_wish

from lab_services.bikeshare.database import opened
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import connected, settled

DISTRICT = list(DISTRICTS.values())[int(os.environ.get("REPLICA", "1")) - 1]
SUBJECTS = [f"lock.{DISTRICT}.battery", f"lock.{DISTRICT}.unlock", "lock.all.batteries"]
MOST_AT_WORK = 20
LEAVE_SECONDS = float(os.environ.get("LEAVE_SECONDS", "1"))  # for what is at work when this program has to leave
log = logging.getLogger("gateways")
at_work: set[asyncio.Task[None]] = set()
turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by lock_id, of locks that there are


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("locks", radio.TABLES):
        radio.furnish(DISTRICT)
        async with connected() as client:
            for subject in SUBJECTS:  # a group for each district: where two programs serve it for a moment, one answers
                await client.subscribe(subject, queue=DISTRICT, cb=hear)
            await settled(client)
            yield
            if at_work:
                await asyncio.wait(at_work, timeout=LEAVE_SECONDS)


app = FastAPI(title="gateways", lifespan=lifespan)
answer_health(app)


async def work(message: Msg, busy: bool) -> dict[str, Any]:
    """Do what a message asks for, unless we are busy, and return the answer. Raises Refused."""
    if busy:
        raise Refused("busy", f"{MOST_AT_WORK} requests are at work")
    match read_wish(message):
        case Battery(lock_id=lock_id):
            return {"battery_percent": await radio.battery(DISTRICT, lock_id)}
        case Unlock() as wish:
            return await unlock(wish)
        case Batteries():
            return {"district": DISTRICT, "batteries": await radio.batteries(DISTRICT)}
    raise TypeError(f"no work for {message.subject}")


# --- your turn 4.3 ---
async def hear(message: Msg) -> None:
    if message.reply:  # what nobody can be told of is not done; and no wait here: the next message waits for this one
        at_work.add(task := asyncio.create_task(answer(message, busy=len(at_work) >= MOST_AT_WORK)))
        task.add_done_callback(at_work.discard)


async def answer(message: Msg, busy: bool) -> None:
    try:
        content = await work(message, busy)
    except Refused as refusal:
        content = {"error": refusal.word, "detail": refusal.detail}
    except Exception:
        log.exception("cannot answer %s", message.subject)
        content = {"error": "mistake"}
    await message.respond(json.dumps(content).encode())


async def unlock(wish: Unlock) -> dict[str, Any]:
    if not await radio.opened(DISTRICT, wish):  # not behind the turn: there the try waits that gets no word of its lock
        async with turns[wish.lock_id]:
            if not await radio.opened(DISTRICT, wish):
                await radio.open_bolt(DISTRICT, wish)
    return {"opened": True}


# --- end 4.3 ---
