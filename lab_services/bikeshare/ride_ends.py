"""Ride ends: writes down that a ride has ended, then says so: ride.ended.<ride> into the stream RIDES. Hears nothing.

The row and the event are two writes: a crash between them leaves a ride that nobody pays, until somebody repeats the
PUT. An outbox (chapter 05) is what repeats by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Path, Response
from nats.errors import Error
from pydantic import Field

from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import new_event, written
from lab_services.bikeshare.problems import ID, Body, Problem, speak_problems
from lab_services.bikeshare.streams import RIDES, keep, token

SCHEMA = """
    CREATE TABLE IF NOT EXISTS rides(
        ride_id TEXT PRIMARY KEY, rider_id TEXT, bike_id TEXT, state TEXT, cents INTEGER, ended_at TEXT)
"""  # bike_id is what the laws read everywhere; this service knows no bikes
RideId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,58}$")]  # with ".ended" behind it, it is the event's id
line = Line()


class End(Body):
    rider_id: str = Field(pattern=ID)
    cents: int = Field(ge=0, le=100_000_000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", SCHEMA):
        async with line.opened():
            yield


def ready() -> None:
    probe("rides")
    line.client()


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready)


@app.put("/rides/{ride_id}/ended")
async def end_ride(ride_id: RideId, wish: End, response: Response) -> dict[str, Any]:
    ride, new = await asyncio.to_thread(write, ride_id, wish)
    await tell(ride)
    response.status_code = 201 if new else 200
    return ride


@app.get("/rides/{ride_id}")
def show_ride(ride_id: RideId) -> dict[str, Any]:
    with transaction("rides", "BEGIN") as db:
        row = db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone()
    if row is None:
        raise Problem(404, "unknown ride", f"there is no ride {ride_id}")
    return dict(row)


def write(ride_id: str, wish: End) -> tuple[dict[str, Any], bool]:
    """Return the ride, and whether this call has ended it; the time of a repeated PUT is that of the first."""
    row = [ride_id, wish.rider_id, wish.cents, datetime.now(UTC).isoformat(timespec="milliseconds")]
    with transaction("rides") as db:
        new = db.execute("INSERT OR IGNORE INTO rides VALUES (?, ?, NULL, 'ended', ?, ?)", row).rowcount
        ride = dict(db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone())
    if (ride["rider_id"], ride["cents"]) != (wish.rider_id, wish.cents):
        raise Problem(409, "another end", f"ride {ride_id} has ended with another rider or price")
    return ride, bool(new)


async def tell(ride: dict[str, Any]) -> None:
    """Publish the event; the same ride is the same event with the same id, so that to repeat it does no harm."""
    facts = {key: ride[key] for key in ("ride_id", "rider_id", "cents")}
    when = datetime.fromisoformat(ride["ended_at"])
    event = new_event("ride.ended", when, facts, event_id=f"{ride['ride_id']}.ended")
    client = line.client()
    try:
        subject = f"ride.ended.{token(ride['ride_id'])}"
        await keep(client, RIDES, subject, written(event), {"Nats-Msg-Id": event.id})
    except (Error, TimeoutError) as error:
        detail = f"ride {ride['ride_id']} is written down, and the broker has not confirmed its event: repeat this PUT"
        raise Problem(503, "not told", detail) from error
