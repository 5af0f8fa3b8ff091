"""The whole city in one program: one process, one database file, and function calls where the others send messages.

With DISTRICT=north (stations A and B) or south (C and D) it is a vertical: one copy of the city for each district.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

import city_money as money
import city_tables as city
from fastapi import FastAPI, Query, Response

from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import speak_problems

RIDERS = os.environ.get("RIDERS", "ada:5000,bo:5000,chen:5000,dora:5000,poor:100")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("city", ";".join([city.TABLES, money.MONEY, city.MESSAGES])):
        with transaction("city") as db:
            city.build_stations(db)
            for rider_id, cents in (pair.split(":") for pair in RIDERS.split(",") if pair):
                money.open_wallet(db, rider_id, int(cents))
        yield


app = FastAPI(title="city", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: list_stations())


@app.post("/rides", status_code=201)
def start_ride(wish: city.Start, response: Response) -> dict[str, Any]:
    ride_id = f"r-{uuid4().hex[:12]}"
    with transaction("city") as db:  # money, bike and ride change together or not at all
        money.hold(db, ride_id, wish.rider_id, city.HOLD_CENTS)
        bike_id = city.take_bike(db, ride_id, wish.station_id)
        city.note_start(db, ride_id, wish.rider_id, bike_id, wish.station_id)
        city.tell(db, ride_id, wish.rider_id, "started")
        response.headers["Location"] = f"/rides/{ride_id}"
        return city.one(db, "rides", "ride_id", ride_id)


@app.post("/rides/{ride_id}/end")
def end_ride(ride_id: str, wish: city.End) -> dict[str, Any]:
    with transaction("city") as db:
        ride = city.one(db, "rides", "ride_id", ride_id)
        if ride["state"] == "ended":
            return ride
        city.return_bike(db, ride_id, wish.station_id)
        money.settle(db, ride_id, "captured", city.price(wish.minutes))
        city.note_end(db, ride_id, wish.station_id, wish.minutes, city.price(wish.minutes))
        city.tell(db, ride_id, ride["rider_id"], "ended")
        return city.one(db, "rides", "ride_id", ride_id)


@app.get("/rides/{ride_id}")
def show_ride(ride_id: str) -> dict[str, Any]:
    with transaction("city", "BEGIN") as db:
        return city.one(db, "rides", "ride_id", ride_id)


@app.get("/stations")
def list_stations() -> dict[str, Any]:
    with transaction("city", "BEGIN") as db:
        rows = city.every(db, "SELECT station_id FROM stations ORDER BY station_id")
        return {"stations": [city.station(db, row["station_id"]) for row in rows]}


@app.get("/stations/{station_id}")
def show_station(station_id: str) -> dict[str, Any]:
    with transaction("city", "BEGIN") as db:
        return city.station(db, station_id)


@app.put("/wallets/{rider_id}")
def put_wallet(rider_id: str, wish: city.NewWallet) -> dict[str, Any]:
    with transaction("city") as db:
        return money.open_wallet(db, rider_id, wish.deposited_cents)


@app.get("/wallets/{rider_id}")
def show_wallet(rider_id: str) -> dict[str, Any]:
    with transaction("city", "BEGIN") as db:
        return money.wallet(db, rider_id)


@app.get("/quote")
def quote(minutes: Annotated[int, Query(ge=0, le=1440)]) -> dict[str, Any]:
    return {"minutes": minutes, "cents": city.price(minutes), "tariff": "standard", "version": "v1"}


@app.get("/notices")
def list_notices(rider_id: str) -> dict[str, Any]:
    with transaction("city", "BEGIN") as db:
        return {"notices": city.every(db, "SELECT * FROM notices WHERE rider_id = ?", rider_id)}
