"""Rides, the part that starts them: each tap carries an Idempotency-Key. Calls the wallet and the stations.

Two replicas of this program share `rides.db`. POST /rides starts a ride; POST /alerts asks to be told when a bike
stands at a station.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated

import starts_table as table
import taps
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from taps import Answer, Json, Keep, Tap, Wish, Work

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Id, Problem, speak_problems

HOLD_CENTS = 2000
LEASE_SECONDS = float(os.environ.get("LEASE_SECONDS", "10"))  # a claim of a key that is older belongs to the dead
Key = Annotated[str, Depends(taps.read_key)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", table.TABLES):
        yield


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("rides"))


# --- your turn 2.2 ---
def once(tap: Tap, work: Work) -> Answer:
    """Do what a tap asks for once; whoever sends the same tap again gets the answer of that one time."""
    # One possibility. The claim is a row: to look and to claim is one transaction, and its key is unique for all.
    for _ in taps.looks():
        with transaction("rides") as db:
            row = db.execute("SELECT * FROM keys WHERE (rider_id, route, key) = (?, ?, ?)", tap[:3]).fetchone()
            if row and row["fingerprint"] != tap.fingerprint:
                raise Problem(422, "key used before", "Idempotency-Key: it came with another body before")
            if row and row["answer"]:
                return taps.as_answer(row["answer"])
            if row and row["leased_until"] > taps.now():
                continue  # somebody is at work: look again
            made_id = row["made_id"] if row else taps.new_id()  # after a crash under the same id: nothing is done twice
            claim = [*tap, made_id, taps.now() + LEASE_SECONDS]
            db.execute("REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL)", claim)
        try:
            return work(made_id, partial(table.keep_answer, made_id))  # kept with the last step, in its transaction
        except Problem:  # undone: the key is free again
            with transaction("rides") as db:
                db.execute("DELETE FROM keys WHERE made_id = ? AND answer IS NULL", [made_id])
            raise
    raise Problem(409, "still at work", "the first tap with this Idempotency-Key is not answered yet: tap again")


# --- end 2.2 ---


@app.post("/rides", status_code=201)
def start_ride(wish: Wish, key: Key) -> JSONResponse:
    tap = Tap(wish.rider_id, "POST /rides", key, taps.fingerprint(wish))
    return taps.spoken(once(tap, partial(start, wish)))


@app.post("/alerts", status_code=201)
def set_alert(wish: Wish, key: Key) -> JSONResponse:
    tap = Tap(wish.rider_id, "POST /alerts", key, taps.fingerprint(wish))
    return taps.spoken(once(tap, partial(table.write_alert, wish)))


@app.get("/rides/{ride_id}")
def show_ride(ride_id: Id) -> Json:
    with transaction("rides", "BEGIN") as db:
        return table.find(db, "ride", ride_id)


@app.get("/alerts/{alert_id}")
def show_alert(alert_id: Id) -> Json:
    with transaction("rides", "BEGIN") as db:
        return table.find(db, "alert", alert_id)


def start(wish: Wish, ride_id: str, keep: Keep) -> Answer:
    """Start the ride of this id; cut off half-way, it may be repeated under the same id. A Problem: it was undone."""
    try:
        with transaction("rides") as db:
            table.accept(db, ride_id, wish)
        call("wallet", "PUT", f"/holds/{ride_id}", {"rider_id": wish.rider_id, "cents": HOLD_CENTS})
        bike = call("stations", "PUT", f"/stations/{wish.station_id}/taken/{ride_id}")
        with transaction("rides") as db:
            answer = taps.created(f"/rides/{ride_id}", table.begin(db, ride_id, bike["bike_id"]))
            keep(db, answer)
            return answer
    except Problem:
        undo(ride_id, wish.station_id)
        raise


def undo(ride_id: str, station_id: str) -> None:
    """Refuse the ride, then give bike and money back; what had not happened is refused, which is fine."""
    with transaction("rides") as db:
        if not table.refuse(db, ride_id):
            return
    with suppress(Problem):
        call("stations", "PUT", f"/stations/{station_id}/returned/{ride_id}")
    with suppress(Problem):
        call("wallet", "PUT", f"/holds/{ride_id}/released")
