"""Bank: it keeps the riders' money, and wants a key in each call. It is older than the city, and slow at times.

| request                                 | answer                                        |
| --------------------------------------- | --------------------------------------------- |
| GET /balances                           | 200: {"ada": 5000, ...}                       |
| GET /accounts/city                      | 200: {"open": true}, while it takes bookings  |
| PUT /bookings/{id} {"rider_id","cents"} | 201: booked; 200: it was booked before        |
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Response

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Body, Id, Problem, speak_problems

KEY = os.environ.get("BANK_KEY", "")
SCHEMA = "CREATE TABLE IF NOT EXISTS bookings(booking_id TEXT PRIMARY KEY, rider_id, cents)"


class Booking(Body):
    rider_id: str
    cents: int


def know(key: str = "") -> None:
    if key != KEY:
        raise Problem(403, "wrong key", "key: it is not the wallet's")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("bank", SCHEMA):
        yield


app = FastAPI(title="bank", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: probe("bank"))


@app.get("/balances", dependencies=[Depends(know)])
def balances() -> dict[str, int]:
    return {"ada": 5000, "bo": 5000, "chen": 5000, "dora": 5000, "poor": 100}


@app.get("/accounts/city", dependencies=[Depends(know)])
def account() -> dict[str, Any]:
    return {"open": True}


@app.put("/bookings/{booking_id}", dependencies=[Depends(know)])
def book(booking_id: Id, booking: Booking, response: Response) -> dict[str, Any]:
    with transaction("bank") as db:
        row = [booking_id, booking.rider_id, booking.cents]
        new = db.execute("INSERT OR IGNORE INTO bookings VALUES (?, ?, ?)", row).rowcount
    response.status_code = 201 if new else 200
    return {"booking_id": booking_id, **booking.model_dump()}
