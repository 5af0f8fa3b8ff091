"""Wallet: the riders' money. A ride holds an amount when it starts and captures its price when it ends. Calls nobody.

Law of every wallet: deposited == balance + open holds + captured. Money is integer cents.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Query, Response
from pydantic import Field

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import ID, Body, Id, Problem, speak_problems

RIDERS = os.environ.get("RIDERS", "ada:5000,bo:5000,chen:5000,dora:5000,poor:100")
MOST_WALLETS = 200  # in one batch
Cents = Annotated[int, Field(ge=0, le=100_000_000)]
SCHEMA = """
    CREATE TABLE IF NOT EXISTS wallets(rider_id TEXT PRIMARY KEY, deposited_cents INTEGER, balance_cents INTEGER);
    CREATE TABLE IF NOT EXISTS holds(
        ride_id TEXT PRIMARY KEY, rider_id TEXT, cents INTEGER, state TEXT, captured_cents INTEGER);
    CREATE INDEX IF NOT EXISTS holds_of_rider ON holds(rider_id)
"""
NEW_WALLET = "INSERT OR IGNORE INTO wallets VALUES (?1, ?2, ?2)"
WALLET = """SELECT *, (SELECT coalesce(sum(cents), 0) FROM holds WHERE rider_id = wallets.rider_id AND state = 'open')
    AS held_cents FROM wallets WHERE rider_id = ?"""
HOLD = "SELECT * FROM holds WHERE ride_id = ?"
ADD = "UPDATE wallets SET balance_cents = balance_cents + ? WHERE rider_id = ?"


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
def list_wallets(ids: str) -> dict[str, Any]:
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


def settle(ride_id: str, state: str, cents: int) -> dict[str, Any]:
    """Close an open hold and pay back what is not captured; the same again changes nothing."""
    with transaction("wallet") as db:
        held = find(db, HOLD, ride_id)
        if cents > held["cents"]:
            detail = f"cents: {cents} is more than the hold of {held['cents']}"
            raise Problem(422, "bad input", detail, errors=[{"field": "cents"}])
        if (held["state"], held["captured_cents"]) == (state, cents):
            return held
        if held["state"] != "open":
            raise Problem(409, "hold settled", f"ride {ride_id}: {held['captured_cents']} cents {held['state']} before")
        db.execute("UPDATE holds SET state = ?, captured_cents = ? WHERE ride_id = ?", [state, cents, ride_id])
        db.execute(ADD, [held["cents"] - cents, held["rider_id"]])
        return find(db, HOLD, ride_id)


def find(db: sqlite3.Connection, query: str, key: str) -> dict[str, Any]:
    if row := db.execute(query, [key]).fetchone():
        return dict(row)
    raise Problem(404, "not found", f"there is no {'hold for ride' if query == HOLD else 'wallet of'} {key}")
