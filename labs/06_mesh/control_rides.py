"""Rides: GET /price asks pricing what a ride costs; with ?slow=true pricing takes its time. It knows
nothing of sidecars: it calls http://pricing."""

import os
from typing import Any

import httpx
from fastapi import FastAPI

from lab_services.bikeshare.health import answer_health

client = httpx.AsyncClient(base_url=os.environ["PRICING_URL"])  # by HTTP_PROXY, as every program of this city
app = FastAPI(title="rides")
answer_health(app)


@app.get("/price")
async def price(slow: bool = False) -> dict[str, Any]:
    answer = await client.get("/quote", params={"slow": slow})
    answer.raise_for_status()
    return dict(answer.json())
