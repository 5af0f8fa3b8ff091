"""Billing of the service-oriented city: the price of a ride, and the money for it. Shared by all who sell something.

Calls the service `customer`, as all do here through the bus.
"""

from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import Field

from lab_services.bikeshare.city_client import call
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Body, speak_problems

UNLOCK_CENTS, MINUTE_CENTS, HOLD_CENTS = 100, 20, 2000

app = FastAPI(title="billing")
speak_problems(app)
answer_health(app)


class Bill(Body):
    minutes: int = Field(ge=0, le=1440)


@app.get("/quote")
def quote(minutes: Annotated[int, Query(ge=0, le=1440)]) -> dict[str, Any]:
    return {"minutes": minutes, "cents": price(minutes), "tariff": "standard", "version": "v1"}


@app.get("/tariff")
def tariff() -> dict[str, Any]:
    cents = {"unlock_cents": UNLOCK_CENTS, "minute_cents": MINUTE_CENTS, "cap_cents": HOLD_CENTS}
    return {"tariff": "standard", **cents}


@app.put("/bills/{ride_id}")
def write_bill(ride_id: str, bill: Bill) -> dict[str, Any]:
    """Take the price of a ride from its hold; the same bill again takes nothing."""
    cents = price(bill.minutes)
    call("bus", "PUT", f"/customer/holds/{ride_id}/captured", {"cents": cents})
    return {"ride_id": ride_id, "minutes": bill.minutes, "cents": cents, "tariff": "standard"}


def price(minutes: int) -> int:
    return min(HOLD_CENTS, UNLOCK_CENTS + MINUTE_CENTS * minutes)
