"""Trips of the service-oriented city: stations and rides, in one file of their own, `trips.db`.

Calls `customer` (holds), `billing` (bills) and `notices`, all through the bus.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import city_tables as city
from fastapi import FastAPI, Response

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("trips", city.TABLES):
        with transaction("trips") as db:
            city.build_stations(db)
        yield


app = FastAPI(title="trips", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: list_stations())


@app.post("/rides", status_code=201)
def start_ride(wish: city.Start, response: Response) -> dict[str, Any]:
    ride_id = f"r-{uuid4().hex[:12]}"
    call("bus", "PUT", f"/customer/holds/{ride_id}", {"rider_id": wish.rider_id, "cents": city.HOLD_CENTS})
    try:
        with transaction("trips") as db:
            bike_id = city.take_bike(db, ride_id, wish.station_id)
            city.note_start(db, ride_id, wish.rider_id, bike_id, wish.station_id)
    except Problem:
        call("bus", "PUT", f"/customer/holds/{ride_id}/released")  # the transaction of the monolith has become an undo
        raise
    tell(ride_id, wish.rider_id, "started")
    response.headers["Location"] = f"/rides/{ride_id}"
    return show_ride(ride_id)


@app.post("/rides/{ride_id}/end")
def end_ride(ride_id: str, wish: city.End) -> dict[str, Any]:
    ride = show_ride(ride_id)
    if ride["state"] == "ended":
        return ride
    with transaction("trips", "BEGIN") as db:
        city.require_free_dock(db, wish.station_id)
    bill = call("bus", "PUT", f"/billing/bills/{ride_id}", {"minutes": wish.minutes})
    with transaction("trips") as db:
        city.return_bike(db, ride_id, wish.station_id)
        city.note_end(db, ride_id, wish.station_id, wish.minutes, bill["cents"])
    tell(ride_id, ride["rider_id"], "ended")
    return show_ride(ride_id)


@app.get("/rides/{ride_id}")
def show_ride(ride_id: str) -> dict[str, Any]:
    with transaction("trips", "BEGIN") as db:
        return city.one(db, "rides", "ride_id", ride_id)


@app.get("/stations")
def list_stations() -> dict[str, Any]:
    with transaction("trips", "BEGIN") as db:
        rows = city.every(db, "SELECT station_id FROM stations ORDER BY station_id")
        return {"stations": [city.station(db, row["station_id"]) for row in rows]}


@app.get("/stations/{station_id}")
def show_station(station_id: str) -> dict[str, Any]:
    with transaction("trips", "BEGIN") as db:
        return city.station(db, station_id)


def tell(ride_id: str, rider_id: str, text: str) -> None:
    with suppress(Problem):  # a message may be lost here: task 1.4 does better
        notice = {"rider_id": rider_id, "ride_id": ride_id, "text": f"ride {text}"}
        call("bus", "PUT", f"/notices/notices/{ride_id}-{text}", notice)
