"""Rides of task 6.2: asks pricing for a price before a ride and at its end, and says each time for which ride.

It calls http://pricing and knows of no versions; `x-pricing`, by which a tester asks for one, goes on to pricing.
"""

import os
from typing import Any

import httpx
from fastapi import FastAPI, Header, HTTPException

from lab_services.bikeshare.health import answer_health

PRICING_URL = os.environ.get("PRICING_URL", "")
ANSWER_SECONDS = 5.0
city = httpx.AsyncClient(timeout=ANSWER_SECONDS)  # finds its sidecar by HTTP_PROXY
ended: dict[str, dict[str, Any]] = {}
app = FastAPI(title="rides")
answer_health(app)


@app.get("/rides/{ride_id}/quote")
async def quote(ride_id: str, minutes: int, x_pricing: str = Header("")) -> dict[str, Any]:
    """Tell what a ride of so many minutes would cost."""
    return await price(ride_id, minutes, x_pricing)


@app.put("/rides/{ride_id}/end")
async def end(ride_id: str, minutes: int, x_pricing: str = Header("")) -> dict[str, Any]:
    """End a ride, once, and tell what it has cost."""
    if ride_id not in ended:
        ended[ride_id] = await price(ride_id, minutes, x_pricing)
    return ended[ride_id]


async def price(ride_id: str, minutes: int, version: str) -> dict[str, Any]:
    headers = {"x-ride": ride_id} | ({"x-pricing": version} if version else {})
    try:
        answer = await city.get(f"{PRICING_URL}/quote", params={"minutes": minutes}, headers=headers)
    except httpx.TransportError as error:
        raise HTTPException(503, f"pricing does not answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise HTTPException(502, f"pricing answers {answer.status_code}")
    found: dict[str, Any] = answer.json()
    return found
