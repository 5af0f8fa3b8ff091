"""Wallet: obeys wallet.hold and wallet.release, and captures the price of a ride when it hears that it has ended.

Law of every wallet: deposited == balance + open holds + captured. A release that comes before its hold is remembered:
the hold is then refused.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from lab_services.bikeshare import commands
from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.commands import Action, Ended, Order, Refused, commands_to, ended_rides
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.intake import Intake, Unusable
from lab_services.bikeshare.problems import Id, speak_problems
from lab_services.bikeshare.wallet_table import ADD, HOLD, NEW_WALLET, WALLET, find
from lab_services.bikeshare.wallet_table import SCHEMA as WALLETS

RIDERS = os.environ.get("RIDERS", "ada:100000,bo:100000,chen:100000,dora:100000,poor:100")
BALANCE = "SELECT balance_cents FROM wallets WHERE rider_id = ?"
SCHEMA = f"""{WALLETS}{commands.SCHEMA};
    CREATE TABLE IF NOT EXISTS released_before(ride_id TEXT PRIMARY KEY)
"""


def hold(db: sqlite3.Connection, order: Order) -> None:
    if db.execute("SELECT 1 FROM released_before WHERE ride_id = ?", [order.ride_id]).fetchone():
        raise Refused(f"the hold for ride {order.ride_id} was released before it came")
    wallet = db.execute(BALANCE, [order.rider_id]).fetchone()
    if wallet is None:
        raise Refused(f"{order.rider_id} has no wallet")
    if wallet["balance_cents"] < order.cents:
        raise Refused(f"{order.rider_id} has {wallet['balance_cents']} cents, the hold is {order.cents}")
    db.execute("INSERT INTO holds VALUES (?, ?, ?, 'open', 0)", [order.ride_id, order.rider_id, order.cents])
    db.execute(ADD, [-order.cents, order.rider_id])


def release(db: sqlite3.Connection, order: Order) -> None:
    held = db.execute(HOLD, [order.ride_id]).fetchone()
    if held is None:  # Tombstone: the hold may still be on its way
        db.execute("INSERT OR IGNORE INTO released_before VALUES (?)", [order.ride_id])
    elif held["state"] == "open":
        db.execute("UPDATE holds SET state = 'released' WHERE ride_id = ?", [order.ride_id])
        db.execute(ADD, [held["cents"], held["rider_id"]])


def capture(db: sqlite3.Connection, ride: Ended) -> None:
    held = db.execute(HOLD, [ride.ride_id]).fetchone()
    if held is None:
        raise Unusable(f"no money is held for ride {ride.ride_id}")
    if (held["state"], held["captured_cents"]) == ("captured", ride.cents):
        return
    if held["state"] != "open" or ride.cents > held["cents"]:
        raise Unusable(f"ride {ride.ride_id} costs {ride.cents} cents, its hold of {held['cents']} is {held['state']}")
    settle = "UPDATE holds SET state = 'captured', captured_cents = ? WHERE ride_id = ?"
    db.execute(settle, [ride.cents, ride.ride_id])
    db.execute(ADD, [held["cents"] - ride.cents, held["rider_id"]])


ACTIONS = {"wallet.hold": Action(hold), "wallet.release": Action(release, must=True)}
intake = Intake("wallet", commands_to("wallet", ACTIONS), ended_rides(capture))
line = Line(intake.prepare, intake.work)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("wallet", SCHEMA):
        with transaction("wallet") as db:
            db.executemany(NEW_WALLET, [pair.split(":") for pair in RIDERS.split(",") if pair])
        async with line.opened():
            yield


def ready() -> None:
    probe("wallet")
    line.client()


app = FastAPI(title="wallet", lifespan=lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready)


@app.get("/wallets/{rider_id}")
def show_wallet(rider_id: Id) -> dict[str, Any]:
    with transaction("wallet", "BEGIN") as db:
        return find(db, WALLET, rider_id)


@app.get("/holds/{ride_id}")
def show_hold(ride_id: Id) -> dict[str, Any]:
    with transaction("wallet", "BEGIN") as db:
        return find(db, HOLD, ride_id)
