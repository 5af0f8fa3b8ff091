"""Desk: prices and wallets at one counter, made to stand behind caches. Calls tariffs and the wallet.

GET /tariff is the tariff of today, which may be TARIFF_SECONDS old; GET /tariffs/{number} one that never changes;
GET /wallets/{rider_id} is for the rider whose token it carries; PUT /rides/{ride_id}/charge takes the price of a ride.
"""

import os
from threading import Lock
from time import monotonic
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, HTTPException, Path, Request, Response
from pydantic import Field
from starlette.middleware.base import RequestResponseEndpoint

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Body, Id, Problem, speak_problems

Json = dict[str, Any]
Bike = Literal["city", "cargo"]
TARIFF_SECONDS = int(os.environ.get("TARIFF_SECONDS", "2"))
RIDERS = dict(pair.split(":")[::-1] for pair in os.environ.get("TOKENS", "").split(",") if pair)  # by token


class Charge(Body):
    minutes: int = Field(ge=0, le=1440)
    tariff: int = Field(ge=1, le=9999)  # the one that the rider was quoted when she got on
    bike: Bike = "city"


app = FastAPI(title="desk")
speak_problems(app)
follow_http(app)
answer_health(app)


# --- your turn 2.4 ---
CACHE_RULES = {  # what caches are told in Cache-Control, by the kind of answer
    "today's tariff": "public, max-age=60",
    "numbered tariff": "public, max-age=60",
    "wallet": "public, max-age=60",
    "error": "public, max-age=60",
    "anything else": "no-store",
}
known: dict[str, tuple[Json, float]] = {}  # the answer, and when it came
asking = Lock()


def look_up(path: str, query: str) -> tuple[Json, float]:
    """Return what tariffs answers to GET path?query, and its age in seconds; many threads ask at once."""
    with asking:
        if path not in known or monotonic() - known[path][1] >= 60:
            known[path] = ask_tariffs(path, query), monotonic()
        return known[path][0], 0.0


def tariff_of(wish: Charge) -> Json:
    """Return the tariff by which a ride is charged."""
    return look_up("/tariff", f"bike={wish.bike}")[0]


# --- end 2.4 ---


def ask_tariffs(path: str, query: str) -> Json:
    return call("tariffs", "GET", f"{path}?{query}")


@app.middleware("http")
async def tell_caches(request: Request, call_next: RequestResponseEndpoint) -> Response:
    answer = await call_next(request)
    kinds = {"/tariff": "today's tariff", "/tariffs": "numbered tariff", "/wallets": "wallet"}
    kind = kinds.get("/" + request.url.path.split("/")[1], "anything else") if answer.status_code < 400 else "error"
    answer.headers["Cache-Control"] = CACHE_RULES[kind]
    if hasattr(request.state, "age"):
        answer.headers["Age"] = str(int(request.state.age))
    return answer


@app.get("/tariff")
def todays_tariff(request: Request, bike: Bike = "city") -> Json:
    tariff, request.state.age = look_up("/tariff", f"bike={bike}")
    return tariff


@app.get("/tariffs/{number}")
def numbered_tariff(request: Request, number: Annotated[int, Path(ge=1, le=9999)], bike: Bike = "city") -> Json:
    tariff, request.state.age = look_up(f"/tariffs/{number}", f"bike={bike}")
    return tariff


@app.get("/wallets/{rider_id}")
def show_wallet(rider_id: Id, authorization: Annotated[str, Header()] = "") -> Json:
    known_rider = RIDERS.get(authorization.removeprefix("Bearer "))
    if known_rider is None:
        raise HTTPException(401, "no token that we know", {"WWW-Authenticate": "Bearer"})
    if known_rider != rider_id:
        raise Problem(403, "another rider's wallet", f"{known_rider} may not see the wallet of {rider_id}")
    return call("wallet", "GET", f"/wallets/{rider_id}")


@app.put("/rides/{ride_id}/charge")
def charge(ride_id: Id, wish: Charge) -> Json:
    tariff = tariff_of(wish)
    cents = min(tariff["cap_cents"], tariff["unlock_cents"] + tariff["minute_cents"] * wish.minutes)
    return call("wallet", "PUT", f"/holds/{ride_id}/captured", {"cents": cents})
