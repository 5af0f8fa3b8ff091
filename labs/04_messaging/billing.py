"""Billing: takes the price of each ended ride from its rider's wallet (wallet.db). Asks pricing what the ride costs.

Three replicas share the messages `ride.ended` (sharing.py). GET /work tells what this replica has done.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from sharing import sharing
from tally import Tally

from lab_services.bikeshare.charges import SCHEMA, charge, furnish
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import Event

KNOWN = {"ride.ended": 1}
PRICING_URL = os.environ["PRICING_URL"]
PRICE_SECONDS = 9.0  # what a price may take; on a bad day pricing is slow
tally = Tally()
web = httpx.Client(timeout=PRICE_SECONDS, trust_env=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("wallet", SCHEMA):
        with transaction("wallet") as db:
            furnish(db)
        async with sharing("ride.ended", KNOWN, bill, tally):
            yield


app = FastAPI(title="billing", lifespan=lifespan)
answer_health(app, ready=lambda: probe("wallet"))


@app.get("/work")
async def work() -> dict[str, Any]:
    return tally.told()


def bill(ride: Event) -> None:
    """Charge a ride. It waits for pricing and for the disk, and whoever calls it waits with it."""
    answer = web.get(f"{PRICING_URL}/quote", params={"minutes": ride.data["minutes"]}).raise_for_status()
    with transaction("wallet") as db:
        charge(db, ride.data["ride_id"], ride.data["rider_id"], answer.json()["cents"])
