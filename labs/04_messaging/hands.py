"""What a worker's hands can do: read a message, look into the books, ask for a price, and say that they are at work."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from nats.aio.msg import Msg
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from streams import ACK_SECONDS

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Id, Unreadable, read

PRICING_URL = os.environ.get("PRICING_URL", "http://127.0.0.1:1")
PRICE_SECONDS = 3.0  # the longest wait for a price: longer than ACK_SECONDS
VERSIONS = {"ride.ended": 1}
pricing = httpx.AsyncClient(timeout=PRICE_SECONDS, trust_env=False, limits=httpx.Limits(keepalive_expiry=2.0))


class Outage(Exception):
    """Pricing is not there, hangs or is broken: it will be back, and nothing is wrong with the message."""


class Refused(Exception):
    """Pricing is there, and gives no price for this ride."""


class EndedRide(BaseModel):
    """A ride to be billed; `event_id` is the same in each copy of its event."""

    model_config = ConfigDict(strict=True)

    event_id: Id
    ride_id: Id
    rider_id: Id
    minutes: Annotated[int, Field(ge=0, le=1440)]


def ended_ride(content: bytes) -> EndedRide:
    """Return the ride that a message tells of.

    Raises:
        Unreadable: it tells of none, whoever reads it and how often.
    """
    event = read(content, VERSIONS)
    try:
        return EndedRide(**{**event.data, "event_id": event.id})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Unreadable(f"data.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


async def look(sql: str, *values: str) -> sqlite3.Row | None:
    """Return the first row that wallet.db has to a SELECT, or None; other workers can write in the next moment."""

    def first() -> sqlite3.Row | None:
        with transaction("wallet", "BEGIN") as db:
            return db.execute(sql, values).fetchone()

    return await asyncio.to_thread(first)


async def price(minutes: int) -> int:
    """Ask pricing what a ride costs, in cents; that can take PRICE_SECONDS.

    Raises:
        Outage: no answer in time, or 5xx.
        Refused: any other answer that is no price.
    """
    try:
        answer = await pricing.get(f"{PRICING_URL}/quote", params={"minutes": minutes})
    except httpx.TransportError as error:
        raise Outage(f"pricing is silent: {type(error).__name__}") from error
    if answer.status_code >= 500:
        raise Outage(f"pricing answers {answer.status_code}")
    if answer.is_error:
        raise Refused(f"pricing answers {answer.status_code}: {answer.text}")
    return int(answer.json()["cents"])


@asynccontextmanager
async def in_hand(message: Msg) -> AsyncIterator[None]:
    """Say to the broker, inside the `async with` and in time, that this message is still worked on."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(ACK_SECONDS / 4)
            await message.in_progress()

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
