"""Wallet: the riders' money. A ride holds an amount when it starts and captures its price when it ends. Calls nobody.

Law of every wallet: deposited == balance + open holds + captured. Money is integer cents.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from pydantic import Field

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems
from lab_services.bikeshare.wallet_table import ADD, HOLD, NEW_WALLET, SCHEMA, WALLET, find, settle

RIDERS = os.environ.get("RIDERS", "ada:5000,bo:5000,chen:5000,dora:5000,poor:100")
MOST_WALLETS = 200  # in one batch
IDS = r"^[A-Za-z0-9._-]{1,64}(,[A-Za-z0-9._-]{1,64})*$"
Cents = Annotated[int, Field(ge=0, le=100_000_000)]


class NewWallet(Body):
    deposited_cents: Cents


class NewHold(Body):
    rider_id: str = Field(pattern=ID)
    cents: Cents


class Capture(Body):
    cents: Cents


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("wallet", SCHEMA):
        with transaction("wallet") as db:
            db.executemany(NEW_WALLET, [pair.split(":") for pair in RIDERS.split(",") if pair])
        yield


app = FastAPI(title="wallet", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=lambda: probe("wallet"))


@app.put("/wallets/{rider_id}")
def create_wallet(rider_id: Id, wish: NewWallet, response: Response) -> dict[str, Any]:
    with transaction("wallet") as db:
        response.status_code = 201 if db.execute(NEW_WALLET, [rider_id, wish.deposited_cents]).rowcount else 200
        return find(db, WALLET, rider_id)


@app.get("/wallets/{rider_id}")
def show_wallet(rider_id: Id) -> dict[str, Any]:
    with transaction("wallet", "BEGIN") as db:
        return find(db, WALLET, rider_id)


@app.get("/wallets")
def list_wallets(ids: Annotated[str, Query(pattern=IDS)]) -> dict[str, Any]:
    """Answer many wallets in one call; a rider without a wallet is left out."""
    wanted = dict.fromkeys(ids.split(","))
    if len(wanted) > MOST_WALLETS:
        raise Problem(422, "bad input", f"ids: at most {MOST_WALLETS}, not {len(wanted)}", errors=[{"field": "ids"}])
    with transaction("wallet", "BEGIN") as db:
        rows = [db.execute(WALLET, [rider_id]).fetchone() for rider_id in wanted]
    return {"wallets": [dict(row) for row in rows if row]}


@app.put("/holds/{ride_id}")
def place_hold(ride_id: Id, wish: NewHold, response: Response) -> dict[str, Any]:
    with transaction("wallet") as db:
        balance = find(db, WALLET, wish.rider_id)["balance_cents"]
        if earlier := db.execute(HOLD, [ride_id]).fetchone():
            if (earlier["rider_id"], earlier["cents"]) == (wish.rider_id, wish.cents):
                return dict(earlier)
            raise Problem(409, "another hold", f"ride {ride_id} has a hold of another rider or amount")
        if balance < wish.cents:
            raise Problem(402, "balance too low", f"{wish.rider_id} has {balance} cents, the hold is {wish.cents}")
        db.execute("INSERT INTO holds VALUES (?, ?, ?, 'open', 0)", [ride_id, wish.rider_id, wish.cents])
        db.execute(ADD, [-wish.cents, wish.rider_id])
        response.status_code = 201
        return find(db, HOLD, ride_id)


@app.put("/holds/{ride_id}/captured")
def capture(ride_id: Id, wish: Capture) -> dict[str, Any]:
    return settle(ride_id, "captured", wish.cents)


@app.put("/holds/{ride_id}/released")
def release(ride_id: Id) -> dict[str, Any]:
    return settle(ride_id, "released", 0)


@app.get("/holds/{ride_id}")
def show_hold(ride_id: Id) -> dict[str, Any]:
    with transaction("wallet", "BEGIN") as db:
        return find(db, HOLD, ride_id)


@app.get("/holds")
def list_holds(rider_id: Annotated[str, Query(pattern=ID)]) -> dict[str, Any]:
    with transaction("wallet", "BEGIN") as db:
        rows = db.execute("SELECT * FROM holds WHERE rider_id = ? ORDER BY ride_id", [rider_id])
        return {"holds": [dict(row) for row in rows]}
