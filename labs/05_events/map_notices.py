"""Map notices: tells a rider what a ride has cost, when it ends. It keeps its own position, and begins with today.

A notice has the id of its event: one that is sent again, after a crash, is the same notice.
"""

import asyncio
import logging
import os

import httpx
from map_facts import VERSIONS
from map_told import Told
from nats.js import JetStreamContext

from lab_services.bikeshare.database import transaction
from lab_services.bikeshare.messages import Event, Unreadable, read

SUBJECT = "ride.ended.*"
NOTICES_URL = os.environ.get("NOTICES_URL", "http://127.0.0.1:1")
ANSWER_SECONDS = 2.0
REACHED = "UPDATE followers SET position = ? WHERE name = 'notices'"
REST_SECONDS = 0.2  # before a service that is away is asked again
web = httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, limits=httpx.Limits(keepalive_expiry=2.0))
log = logging.getLogger("citymap")


async def begin(broker: JetStreamContext) -> None:
    """Begin with the next message, the first time; after a restart, with the next that was not handled."""
    newest = (await broker.stream_info("RIDES")).state.last_seq
    await asyncio.to_thread(_write, "INSERT OR IGNORE INTO followers VALUES ('notices', ?)", newest)


async def position() -> int:
    """Return the position of the last message that was handled."""

    def look() -> int:
        with transaction("citymap", "BEGIN") as db:
            return int(db.execute("SELECT position FROM followers WHERE name = 'notices'").fetchone()[0])

    return await asyncio.to_thread(look)


async def handle(batch: list[Told]) -> None:
    """Send a notice for each ride that has ended."""
    for told in batch:
        try:
            event = read(told.content, VERSIONS)
            if event.type == "ride.ended":
                await _send(event)
                await asyncio.to_thread(_write, REACHED, told.position)
        except Unreadable:
            pass  # whoever draws the map sets it aside
    await asyncio.to_thread(_write, REACHED, batch[-1].position)


async def _send(event: Event) -> None:
    ride_id, rider_id = event.data.get("ride_id"), event.data.get("rider_id")
    notice = {"rider_id": rider_id, "ride_id": ride_id, "text": f"ride {ride_id} has ended"}
    while True:
        try:
            answer = await web.put(f"{NOTICES_URL}/notices/{event.id}", json=notice)
        except httpx.TransportError as error:
            log.warning("notices is silent: %s", type(error).__name__)
        else:
            if not answer.is_server_error:
                return None if answer.is_success else log.warning("notice %s: %s", event.id, answer.text)
        await asyncio.sleep(REST_SECONDS)


def _write(sql: str, position: int) -> None:
    with transaction("citymap") as db:
        db.execute(sql, [position])
