"""Bookings: a rider books a bike for LEASE_SECONDS and is reminded REMIND_SECONDS before its end. Three replicas.

| request                                   | answer                                                                   |
| ----------------------------------------- | ------------------------------------------------------------------------ |
| PUT /bikes/{bike_id}/booking              | 201: the rider has the bike; 200: the same booking, its time begins anew |
|   {"rider_id": "ada"}                     |   409: somebody else has it, or was faster; 404: it became free just now |
| GET /bikes/{bike_id}/booking              | 200: booking_id and rider_id; 404: nobody has the bike                   |
| DELETE /bikes/{bike_id}/booking?rider_id= | 204: it is free; 409: somebody else has it; 404: nobody has it           |

201 and 200 have booking_id, rider_id, remind_at and ends_at. 503: the broker has not answered; the request may have
been done, and may be sent again. Who has a bike is the business of leases.py, what comes later that of reminders.py.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import leases
import reminders
from fastapi import FastAPI, Query, Response
from leases import LEASE_SECONDS, BikeId, Booking
from nats.errors import Error
from nats.js.errors import KeyNotFoundError
from pydantic import Field

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import connected, new_event
from lab_services.bikeshare.problems import ID, Body, Problem, speak_problems

REMIND_SECONDS = float(os.environ.get("REMIND_SECONDS", "120"))
BROKER_SECONDS = 5  # for each question to the broker
WRONG_SEQUENCE = (10071, 10164)  # a write that the broker has refused, because another one had come before it


class Wish(Body):
    rider_id: Annotated[str, Field(pattern=ID)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connected() as client:
        app.state.broker = client.jetstream(timeout=BROKER_SECONDS)
        app.state.bucket = await leases.opened(app.state.broker)
        await reminders.opened(app.state.broker)
        yield


app = FastAPI(title="bookings", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app)


@app.put("/bikes/{bike_id}/booking")
async def book(bike_id: BikeId, wish: Wish, response: Response) -> dict[str, Any]:
    ends_at = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)  # counted from before the broker is asked
    remind_at = ends_at - timedelta(seconds=REMIND_SECONDS)
    with as_answers():
        booking, new = await leases.take(app.state.bucket, bike_id, wish.rider_id)
        if datetime.now(UTC) >= ends_at:  # we have slept: what we were given is over, and may be another's by now
            raise Problem(409, "too late", "the booking has ended before it could be answered")
        times = {"remind_at": remind_at.isoformat(), "ends_at": ends_at.isoformat()}
        told = {**vars(booking), **times}
        event = new_event("booking.ending", remind_at, {**told, "bike_id": bike_id})
        await reminders.remind(app.state.broker, bike_id, booking.booking_id, event)
    response.status_code = 201 if new else 200
    return told


@app.get("/bikes/{bike_id}/booking")
async def show(bike_id: BikeId) -> Booking:
    with as_answers():
        booking, _ = await leases.find(app.state.bucket, bike_id)
    return booking


@app.delete("/bikes/{bike_id}/booking", status_code=204)
async def release(bike_id: BikeId, rider_id: Annotated[str, Query(pattern=ID)]) -> None:
    with as_answers():
        booking = await leases.give_back(app.state.bucket, bike_id, rider_id)
        await reminders.cancel(app.state.broker, bike_id, booking.booking_id)


@contextmanager
def as_answers() -> Iterator[None]:
    """Say in HTTP how a booking went wrong."""
    try:
        yield
    except leases.Taken as error:
        raise Problem(409, "taken", str(error)) from error
    except (leases.Free, KeyNotFoundError) as error:  # create() raises the second when a booking ends right then
        raise Problem(404, "not booked", str(error)) from error
    except (Error, TimeoutError, ValueError) as error:
        if isinstance(error, leases.Changed) or getattr(error, "err_code", 0) in WRONG_SEQUENCE:
            raise Problem(409, "somebody was faster", "the booking has changed meanwhile") from error
        raise Problem(503, "no answer of the broker", f"{type(error).__name__}: {error}") from error
