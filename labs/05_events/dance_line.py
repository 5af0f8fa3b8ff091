"""Line: how each service of the dance hears facts from the stream FACTS and says what is in its outbox.

A message is acknowledged when the reaction to it is committed. What nobody can read goes into DEAD, with the reason. A
reaction that raises is logged, and gets its fact again.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import envelope
from dance_boxes import TABLES, Reactions, react, said, unsaid
from dance_facts import FACTS, SERVICE
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.deliveries import bury, later
from lab_services.bikeshare.messages import Unreadable
from lab_services.bikeshare.streams import DEAD, keep, make

ACK_SECONDS = float(os.environ.get("ACK_SECONDS", "2"))  # after which a message that nobody acknowledged comes again
FETCH_SECONDS = 0.5  # how long an empty hand waits before it asks again
RELAY_SECONDS = 0.02  # between two looks into an outbox that was empty
REST_SECONDS = 0.1  # before a broker, or a reaction, that has failed is asked again
MOST_LETTERS = 200  # of a reason in the header of a dead letter
log = logging.getLogger("line")


@asynccontextmanager
async def dancing(
    schema: str, furnish: Callable[[sqlite3.Connection], object], reactions: Reactions
) -> AsyncIterator[None]:
    """Keep <service>.db and the line open; the service hears the facts whose names are in `reactions`."""
    with opened(SERVICE, f"{schema}; {TABLES}"):
        with transaction(SERVICE) as db:
            furnish(db)
        async with Line(partial(prepare, list(reactions)), partial(work, reactions)).opened():
            yield


async def prepare(names: list[str], client: Client) -> None:
    for stream in (FACTS, DEAD):
        await make(client, stream)
    explicit = {"ack_policy": AckPolicy.EXPLICIT, "ack_wait": ACK_SECONDS, "deliver_policy": DeliverPolicy.ALL}
    filters = [f"fact.{name}.*" for name in names]
    config = ConsumerConfig(durable_name=SERVICE, filter_subjects=filters, max_deliver=-1, **explicit)
    await client.jetstream().add_consumer(FACTS.name, config)


async def work(reactions: Reactions, client: Client, over: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hear(client, reactions, over))
        tasks.create_task(relay(client, over))


async def hear(client: Client, reactions: Reactions, over: asyncio.Event) -> None:
    """Take one message after the other."""
    box = await client.jetstream().pull_subscribe_bind(SERVICE, FACTS.name)
    while not over.is_set():
        try:
            [message] = await box.fetch(1, timeout=FETCH_SECONDS)
            await take(client, message, reactions)
        except TimeoutError:
            continue  # nothing to do
        except Error as error:
            log.warning("no message: %s", type(error).__name__)
            await asyncio.sleep(REST_SECONDS)


async def take(client: Client, message: Msg, reactions: Reactions) -> None:
    try:
        await asyncio.to_thread(react, message, reactions)
    except Unreadable as error:
        return await bury(client, message, printable(str(error)), REST_SECONDS)
    except Exception as trouble:
        log.exception("message %s comes again", message.metadata.sequence.stream)
        return await later(message, REST_SECONDS, trouble)
    await message.ack()


async def relay(client: Client, over: asyncio.Event) -> None:
    """Say the outbox in its order; each row goes when the stream has kept it."""
    while not over.is_set():
        try:
            for row in await asyncio.to_thread(unsaid):
                headers = {"Nats-Msg-Id": f"{SERVICE}.{row['event_id']}", "content-type": envelope.CONTENT_TYPE}
                await keep(client, FACTS, row["subject"], row["content"], headers)
                await asyncio.to_thread(said, row["seq"])
            await asyncio.sleep(RELAY_SECONDS)
        except (Error, TimeoutError) as error:
            log.warning("not said yet: %s", type(error).__name__)
            await asyncio.sleep(REST_SECONDS)


def printable(reason: str) -> str:
    """Return a reason as a header can carry it: whoever wrote the message may have chosen its words."""
    return "".join(sign if " " <= sign <= "~" else "?" for sign in reason)[:MOST_LETTERS]
