"""Pricing: what a ride costs, and offers that can be asked for again. Calls nobody.

GET /quote is the plain price. POST /quotes is an offer: it rises with the demand and is kept under an id.
All replicas of this service share one DATA_DIR, and in it the file `pricing.db`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

from fastapi import FastAPI, Query, Response
from pydantic import Field

from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Body, Problem, speak_problems

Json = dict[str, Any]
TARIFF = "standard"
UNLOCK_CENTS, MINUTE_CENTS, HOLD_CENTS = 100, 20, 2000
BUSY_QUOTES, BUSY_CENTS = 10, 5  # every 10 offers, an offer costs 5 cents more


class Wish(Body):
    minutes: int = Field(ge=0, le=1440)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("pricing", TABLES):
        yield


app = FastAPI(title="pricing", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: look_into_file())


# --- your turn 1.3 ---
TABLES = ""  # of pricing.db, as CREATE TABLE IF NOT EXISTS ...
quotes: dict[str, Json] = {}


def make_quote(minutes: int) -> Json:
    """Make an offer at the demand of this moment, and keep it."""
    quote = offer(minutes, demand())
    quotes[quote["quote_id"]] = quote
    return quote


def find_quote(quote_id: str) -> Json | None:
    """Return an offer that was made before, or None."""
    return quotes.get(quote_id)


def demand() -> int:
    """Return how many offers were made."""
    return len(quotes)


# --- end 1.3 ---


def offer(minutes: int, demand: int) -> Json:
    """Return a new offer: the plain price, and what the demand adds to it."""
    cents = min(HOLD_CENTS, plain_price(minutes) + demand // BUSY_QUOTES * BUSY_CENTS)
    return {"quote_id": uuid4().hex, "minutes": minutes, "cents": cents, "tariff": TARIFF}


def plain_price(minutes: int) -> int:
    return min(HOLD_CENTS, UNLOCK_CENTS + MINUTE_CENTS * minutes)


def look_into_file() -> None:
    with transaction("pricing", "BEGIN"):
        pass


@app.get("/quote")
def plain_quote(minutes: Annotated[int, Query(ge=0, le=1440)]) -> Json:
    return {"minutes": minutes, "cents": plain_price(minutes), "tariff": TARIFF, "version": "v1"}


@app.get("/tariff")
def show_tariff() -> Json:
    cents = {"unlock_cents": UNLOCK_CENTS, "minute_cents": MINUTE_CENTS, "cap_cents": HOLD_CENTS}
    return {"tariff": TARIFF, **cents}


@app.post("/quotes", status_code=201)
def post_quote(wish: Wish, response: Response) -> Json:
    quote = make_quote(wish.minutes)
    response.headers["Location"] = f"/quotes/{quote['quote_id']}"
    return quote


@app.get("/quotes/{quote_id}")
def show_quote(quote_id: str) -> Json:
    if (quote := find_quote(quote_id)) is not None:
        return quote
    raise Problem(404, "unknown quote", f"nobody was offered {quote_id}")


@app.get("/demand")
def show_demand() -> Json:
    return {"quotes": demand()}
