"""Wallet: riders pay for their rides. It books each payment at the bank, writes it down, and tells the rider of it.

| request                                 | answer                                                                   |
| --------------------------------------- | ------------------------------------------------------------------------ |
| PUT /payments/{id} {"rider_id","cents"} | 201: paid; 200: it was paid before; 503: not now                          |
| POST /deadlock                          | 202: the teller is in a deadlock from now on (a switch of this lab alone) |
| GET /health/...                         | health_answers.py                                                        |

It needs its database and the bank. Without notices it works: riders are told later.
"""

import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import health_answers
import health_teller
import httpx
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Response
from health_life import leaving_slowly, life
from pydantic import Field

from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems

WORKERS = 4  # threads in which FastAPI runs what is written with `def`
SCHEMA = "CREATE TABLE IF NOT EXISTS payments(payment_id TEXT PRIMARY KEY, rider_id, cents, told DEFAULT 0)"
ROW = "SELECT payment_id, rider_id, cents FROM payments WHERE payment_id = ?"


class NewPayment(Body):
    rider_id: str = Field(pattern=ID)
    cents: int = Field(gt=0, le=100_000_000)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = WORKERS
    with opened("wallet", SCHEMA):
        threading.Thread(target=health_teller.work, name="teller", daemon=True).start()
        async with leaving_slowly():
            yield


app = FastAPI(title="wallet", lifespan=lifespan)
speak_problems(app)
app.include_router(health_answers.router)


@app.put("/payments/{payment_id}")
def pay(payment_id: Id, wish: NewPayment, response: Response) -> dict[str, Any]:
    if not life.started:
        raise Problem(503, "starting", "the balances are not there yet")
    try:
        health_teller.bank.put(f"/bookings/{payment_id}", json=wish.model_dump()).raise_for_status()
        with transaction("wallet") as db:
            sql = "INSERT OR IGNORE INTO payments(payment_id, rider_id, cents) VALUES (?, ?, ?)"
            new = db.execute(sql, [payment_id, wish.rider_id, wish.cents]).rowcount
            row = dict(db.execute(ROW, [payment_id]).fetchone())
    except (httpx.HTTPError, sqlite3.Error) as error:
        raise Problem(503, "not now", "the bank or the database is away") from error
    response.status_code = 201 if new else 200
    return row


@app.post("/deadlock", status_code=202)
def deadlock() -> dict[str, str]:
    health_teller.bench.acquire()  # and nobody gives it back
    return {"teller": "waits for ever"}
