"""What rides asks and tells for a tap: the wallet by HTTP, the city by NATS. And what can go wrong there.

* `ask_wallet(tap)` raises Refused when the rider cannot pay (402), an httpx.HTTPError when the wallet is away or fails.
* `tariff_of(tap)` has a bug: it raises ValueError for a tariff that is not in its table.
* `tell(tap)` publishes `ride.started`.
"""

import json
from typing import Any

import httpx
import log_trace
from pydantic import BaseModel

TARIFFS = {"city": 20, "student": 10}  # cents a minute
WALLET_SECONDS = 8.0


class Tap(BaseModel):
    """A rider's card on a dock. Only the three ids are not personal."""

    ride_id: str
    bike_id: str
    rider_id: str
    name: str
    email: str
    phone: str
    card: str
    token: str = ""
    tariff: str = "city"

    def ids(self) -> dict[str, str]:
        """Return the fields by which a line is found."""
        return {"ride_id": self.ride_id, "bike_id": self.bike_id, "rider_id": self.rider_id}


class Refused(Exception):
    """What the rider asks for cannot be: nobody has to be woken for it."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class Lines:
    """The open connections of the service."""

    wallet: httpx.AsyncClient
    broker: Any


async def ask_wallet(tap: Tap) -> None:
    """Hold the rider's money. The wallet's old interface wants the card in the query."""
    query = {"card": tap.card, "email": tap.email}
    hold = {"ride_id": tap.ride_id, "rider_id": tap.rider_id}
    answer = await Lines.wallet.post("/holds", params=query, json=hold, headers=log_trace.headers())
    if answer.status_code == 402:
        raise Refused("no_money", 402)
    answer.raise_for_status()


def tariff_of(tap: Tap) -> int:
    """Return the cents a minute."""
    try:
        return TARIFFS[tap.tariff]
    except KeyError:
        raise ValueError(f"no tariff {tap.tariff} for {tap.name} <{tap.email}>, {tap.phone}, {tap.card}") from None


async def tell(tap: Tap) -> None:
    """Tell the city that the ride has started."""
    facts = {**tap.ids(), "cents_a_minute": tariff_of(tap)}
    await Lines.broker.publish("ride.started", json.dumps(facts).encode(), headers=log_trace.headers())
