"""Line: the orchestrator at the broker. It says what is in the outbox, takes the replies, and looks at the clock."""

import asyncio
import logging

import starts_orchestrator as orchestrator
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from starts_mail import COMMANDS, REST_SECONDS, hear, open_box, read_reply

from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.streams import keep

RELAY_SECONDS = 0.02  # between two looks into an outbox that was empty
TICK_SECONDS = 0.05  # between two looks at the clock
MOST_ROWS = 100  # of the outbox, in one look
log = logging.getLogger("line")


async def prepare(client: Client) -> None:
    await open_box(client, "REPLIES", "starts", ["reply.>"])


async def work(client: Client, over: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hear(client, "REPLIES", "starts", take, over))
        tasks.create_task(relay(client, over))
        tasks.create_task(clock(over))


async def take(message: Msg) -> None:
    """Take a reply; it is acknowledged when what follows from it is written down."""
    await asyncio.to_thread(orchestrator.take, read_reply(message.data))
    await message.ack()


async def relay(client: Client, over: asyncio.Event) -> None:
    """Say the commands of the outbox in their order; each row goes when the broker has acknowledged it."""
    while not over.is_set():
        try:
            for row in await asyncio.to_thread(waiting):
                again = {"Nats-Msg-Id": f"{row['event_id']}.{row['seq']}"}  # the row twice is one message; the next row
                await keep(client, COMMANDS, row["subject"], row["content"], again)  # of this command is another one
                await asyncio.to_thread(said, row["seq"])
            await asyncio.sleep(RELAY_SECONDS)
        except (Error, TimeoutError) as error:
            log.warning("not said yet: %s", type(error).__name__)
            await asyncio.sleep(REST_SECONDS)


def waiting() -> list[dict]:
    with transaction("starts", "BEGIN") as db:
        return [dict(row) for row in db.execute(f"SELECT * FROM outbox ORDER BY seq LIMIT {MOST_ROWS}")]


def said(seq: int) -> None:
    with transaction("starts") as db:
        db.execute("DELETE FROM outbox WHERE seq = ?", [seq])


async def clock(over: asyncio.Event) -> None:
    while not over.is_set():
        try:
            await asyncio.to_thread(orchestrator.wake)
        except Exception:
            log.exception("the clock goes on")
        await asyncio.sleep(TICK_SECONDS)


line = Line(prepare, work)
