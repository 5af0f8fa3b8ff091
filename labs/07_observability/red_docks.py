"""Docks: POST /bikes/{bike_id}/open opens the dock of a bike, GET /bikes/{bike_id} asks where the bike is.

Bikes are b0, b1, b2, ... Each dock takes a time of its own, from 0.1 to 0.64 s. One in twenty is
jammed: it answers 503.
"""

import asyncio
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path

from lab_services.bikeshare.health import answer_health

FASTEST_SECONDS, STEP_SECONDS, STEPS = 0.1, 0.06, 10
JAMMED = 20  # one in so many
BikeId = Annotated[str, Path(pattern="^b[0-9]{1,6}$")]

app = FastAPI(title="docks")
answer_health(app)


@app.get("/bikes/{bike_id}")
@app.post("/bikes/{bike_id}/open")
async def answer_for(bike_id: BikeId) -> dict[str, str]:
    number = int(bike_id[1:])
    await asyncio.sleep(FASTEST_SECONDS + STEP_SECONDS * (number % STEPS))
    if number % JAMMED == JAMMED - 1:
        raise HTTPException(503, "jammed")
    return {"bike_id": bike_id, "dock": f"dock-{number % 7}"}
