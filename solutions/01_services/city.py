"""The old city in one program, being strangled: today its money leaves, by the door `money`, for the service wallet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from threading import Lock
from uuid import uuid4

import city_money
import city_tables as city
from city_history import write_history
from city_tables import Json
from fastapi import FastAPI, Response

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems

moving = Lock()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.moved = False
    with opened("city", ";".join([city.TABLES, city_money.MONEY])):
        with transaction("city") as db:
            write_history(db)
        with suppress(Problem):  # the wallet is down: tried again before money moves
            everybody_moves()
        yield


app = FastAPI(title="city", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: show_ride("r-old-1"))


# --- your turn 1.1 ---
def move_riders() -> None:
    """Bring the riders of before to the wallet. Runs at each start until it has succeeded; no money moves before."""
    # One possibility. Every step is a PUT that may be repeated, so a move that was killed half-way begins again.
    with transaction("city", "BEGIN") as db:
        riders = city.every(db, "SELECT * FROM wallets")
        holds = city.every(db, "SELECT * FROM holds WHERE state != 'released' ORDER BY state")  # captured, then open
    for rider in riders:
        call("wallet", "PUT", f"/wallets/{rider['rider_id']}", {"deposited_cents": rider["deposited_cents"]})
    for old in holds:
        cents = old["captured_cents"] or old["cents"]  # of a paid ride just its price, so that no order is too dear
        call("wallet", "PUT", f"/holds/{old['ride_id']}", {"rider_id": old["rider_id"], "cents": cents})
        if old["state"] == "captured":
            call("wallet", "PUT", f"/holds/{old['ride_id']}/captured", {"cents": cents})
    with transaction("city") as db:  # forgotten last: until here the old rows are the only complete ones
        db.execute("DELETE FROM holds")
        db.execute("DELETE FROM wallets")


def money(method: str, path: str, body: Json | None = None) -> Json:
    """Do one step of money and return the answer that the wallet's contract promises."""
    return call("wallet", method, path, body)  # one owner: no copy, and no "ride anyway" when the wallet is silent


# --- end 1.1 ---


def everybody_moves() -> None:
    with moving:
        if not app.state.moved:
            move_riders()
            app.state.moved = True


@app.post("/rides", status_code=201)
def start_ride(wish: city.Start, response: Response) -> Json:
    everybody_moves()
    ride_id = f"r-{uuid4().hex[:12]}"
    try:
        money("PUT", f"/holds/{ride_id}", {"rider_id": wish.rider_id, "cents": city.HOLD_CENTS})
        with transaction("city") as db:
            bike_id = city.take_bike(db, ride_id, wish.station_id)
            city.note_start(db, ride_id, wish.rider_id, bike_id, wish.station_id)
    except Problem:
        with suppress(Problem):  # also when the answer was lost and nobody knows whether the hold was placed
            money("PUT", f"/holds/{ride_id}/released")
        raise
    response.headers["Location"] = f"/rides/{ride_id}"
    return show_ride(ride_id)


@app.post("/rides/{ride_id}/end")
def end_ride(ride_id: str, wish: city.End) -> Json:
    everybody_moves()
    ride = show_ride(ride_id)
    if ride["state"] == "ended":
        return ride
    with transaction("city", "BEGIN") as db:
        city.require_free_dock(db, wish.station_id)
    cents = city.price(wish.minutes)
    money("PUT", f"/holds/{ride_id}/captured", {"cents": cents})
    with transaction("city") as db:
        city.return_bike(db, ride_id, wish.station_id)
        city.note_end(db, ride_id, wish.station_id, wish.minutes, cents)
    return show_ride(ride_id)


@app.get("/rides/{ride_id}")
def show_ride(ride_id: str) -> Json:
    with transaction("city", "BEGIN") as db:
        return city.one(db, "rides", "ride_id", ride_id)


@app.put("/wallets/{rider_id}")
def open_wallet(rider_id: str, wish: city.NewWallet) -> Json:
    everybody_moves()
    return money("PUT", f"/wallets/{rider_id}", wish.model_dump())


@app.get("/wallets/{rider_id}")
def show_wallet(rider_id: str) -> Json:
    everybody_moves()
    return money("GET", f"/wallets/{rider_id}")
