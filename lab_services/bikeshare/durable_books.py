"""Books of a start: the wallet, the docks or the rides, as SERVICE_NAME says. Each action is done once for a ride.

PUT /actions/{action}/{ride_id} with rider_id, bike_id and cents: 200 when it is done, now or before; 409 when it is
refused, for good, or (start, cancel, release) for now. An engine that repeats a call until it has an answer needs this
note of what was answered as much as a broker does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Path

from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.durable_actions import BOOKS, Order
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, Id, Problem, speak_problems

NAME = os.environ.get("SERVICE_NAME", "wallet")
REFUSE = os.environ.get("REFUSE", "")  # for a demonstration: "locks.unlock:b-13,rides.start" does nothing and refuses
NOT_NOW = ("rides.start", "stations.cancel", "wallet.release")  # has to succeed at last: no refusal is for good
NOTES = "CREATE TABLE IF NOT EXISTS answered(action TEXT, ride_id TEXT, reason TEXT, PRIMARY KEY (action, ride_id))"
NOTED = "SELECT reason FROM answered WHERE action = ? AND ride_id = ?"
books = BOOKS[NAME]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened(NAME, f"{books.schema};{NOTES}"):
        with transaction(NAME) as db:
            books.furnish(db)
        yield


app = FastAPI(title=NAME, lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe(NAME))


@app.put("/actions/{action}/{ride_id}")
def act(action: Annotated[str, Path(pattern=ID)], ride_id: Id, order: Order) -> dict[str, Any]:
    if action not in books.actions:
        raise Problem(404, "unknown action", f"{NAME} knows no {action}, it knows {', '.join(books.actions)}")
    with transaction(NAME) as db:
        noted = db.execute(NOTED, [action, ride_id]).fetchone()
        reason = (
            noted["reason"] if noted else told_to_refuse(action, order) or books.actions[action](db, ride_id, order)
        )
        if not noted and not (reason and action in NOT_NOW):
            db.execute("INSERT INTO answered VALUES (?, ?, ?)", [action, ride_id, reason])
    if reason:
        raise Problem(409, "refused", reason)
    return {"action": action, "ride_id": ride_id}


def told_to_refuse(action: str, order: Order) -> str:
    told = {action, f"{action}:{order.bike_id}"} & set(REFUSE.split(","))
    return f"{action} is told to refuse" if told else ""
