"""Rides: starts and ends a ride. Calls the wallet, the stations, pricing and the notices, one after the other."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from threading import Event, Thread
from typing import Annotated
from uuid import uuid4

import rides_table as table
from fastapi import FastAPI, Query, Response
from rides_table import End, Json, Start, now

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    stop = Event()
    with opened("rides", table.RIDES):
        get_ready()
        beside = Thread(target=beside_the_requests, args=[stop])
        beside.start()
        yield
        stop.set()
        beside.join()


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: list_rides("ended", 1))


# --- your turn 1.4 ---
def get_ready() -> None:
    """Runs once, when the service starts."""
    for _ in range(10):  # riders need their notices: wait for them, at most a second
        with suppress(Problem):
            call("notices", "GET", "/health/ready")
            return
        Event().wait(0.1)
    raise RuntimeError("the notices are not there: rides cannot start without them")


def tell(db: sqlite3.Connection, notice_id: str, notice: Json) -> None:
    """Tell a rider. Runs inside the transaction that changes the ride: what it writes to `db` is kept with the ride."""
    call("notices", "PUT", f"/notices/{notice_id}", notice)


def beside_the_requests(stop: Event) -> None:
    """Runs in a thread of its own from the start of the service until `stop` is set."""
    # Today nothing happens here: every call is made while the rider waits.


# --- end 1.4 ---


@app.post("/rides", status_code=201)
def start_ride(wish: Start, response: Response) -> Json:
    ride_id = f"r-{uuid4().hex[:12]}"
    with transaction("rides") as db:
        table.insert_ride(db, ride_id, wish)
    try:
        call("wallet", "PUT", f"/holds/{ride_id}", {"rider_id": wish.rider_id, "cents": table.HOLD_CENTS})
        bike = call("stations", "PUT", f"/stations/{wish.station_id}/taken/{ride_id}")
        response.headers["Location"] = f"/rides/{ride_id}"
        return finish_step(ride_id, "started", bike_id=bike["bike_id"])
    except Problem:
        undo(ride_id, wish.station_id)
        raise


@app.post("/rides/{ride_id}/end")
def end_ride(ride_id: str, wish: End) -> Json:
    ride = show_ride(ride_id)
    if ride["state"] == "ended":
        return ride
    table.require_started(ride)
    cents = call("pricing", "GET", f"/quote?minutes={wish.minutes}")["cents"]
    call("stations", "PUT", f"/stations/{wish.station_id}/returned/{ride_id}")
    call("wallet", "PUT", f"/holds/{ride_id}/captured", {"cents": cents})
    return finish_step(ride_id, "ended", to_station=wish.station_id, minutes=wish.minutes, cents=cents, ended_at=now())


@app.get("/rides/{ride_id}")
def show_ride(ride_id: str) -> Json:
    with transaction("rides", "BEGIN") as db:
        return table.find_ride(db, ride_id)


@app.get("/rides")
def list_rides(state: str = "ended", limit: Annotated[int, Query(ge=1, le=500)] = 100) -> Json:
    with transaction("rides", "BEGIN") as db:
        return {"rides": table.find_rides(db, state, limit)}


def finish_step(ride_id: str, state: str, **facts: object) -> Json:
    """Write what has become true of a ride, and tell its rider, in one transaction."""
    with transaction("rides") as db:
        ride = table.change_ride(db, ride_id, state=state, **facts)
        tell(db, f"{ride_id}-{state}", {"rider_id": ride["rider_id"], "ride_id": ride_id, "text": f"ride {state}"})
        return ride


def undo(ride_id: str, station_id: str) -> None:
    """Give bike and money back after a start that failed half-way; what had not happened is refused, which is fine."""
    with suppress(Problem):
        call("stations", "PUT", f"/stations/{station_id}/returned/{ride_id}")
    with suppress(Problem):
        call("wallet", "PUT", f"/holds/{ride_id}/released")
    with transaction("rides") as db:
        table.change_ride(db, ride_id, state="refused")
