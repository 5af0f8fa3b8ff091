"""Worker: bills the rides that have ended. Three replicas of it share the consumer `billing`, and wallet.db.

Each worker has HANDS hands. A hand takes one message, does what work.py says, and takes the next: a worker never has
more messages than hands, and the others wait at the broker. What work.handle raises is logged, and nothing more: the
message comes again ACK_SECONDS later.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import letters
import streams
import work
from fastapi import FastAPI
from nats.errors import Error
from nats.js import JetStreamContext

from lab_services.bikeshare.charges import SCHEMA, furnish
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import connected
from lab_services.bikeshare.problems import speak_problems

HANDS = int(os.environ.get("HANDS", "4"))
FETCH_SECONDS = float(os.environ.get("FETCH_SECONDS", "5"))  # how long an empty hand waits before it asks again
REST_SECONDS = 0.1  # before a hand asks a broker again that has just said no
log = logging.getLogger("worker")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("wallet", f"{SCHEMA}; {work.MORE_TABLES}"):
        with transaction("wallet") as db:
            furnish(db)
        async with connected() as client:
            app.state.broker = client.jetstream(timeout=streams.BROKER_SECONDS)
            await streams.keep(app.state.broker)
            await streams.share(app.state.broker)
            hands = [asyncio.create_task(hand(app.state.broker)) for _ in range(HANDS)]
            yield
            for each in hands:
                each.cancel()
            await asyncio.gather(*hands, return_exceptions=True)


app = FastAPI(title="worker", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("wallet"))
app.include_router(letters.router)


async def hand(broker: JetStreamContext) -> None:
    """Take one message after the other, for as long as the worker lives."""
    pile = await broker.pull_subscribe_bind(streams.BILLING.durable_name, "RIDES")
    while True:
        try:
            [message] = await pile.fetch(1, timeout=FETCH_SECONDS)
        except TimeoutError:
            continue  # nothing to do
        except Error as error:
            log.warning("no message: %s", error)
            await asyncio.sleep(REST_SECONDS)
            continue
        try:
            await work.handle(message, broker)
        except Exception:
            log.exception("message %s comes again", message.metadata.sequence.stream)
