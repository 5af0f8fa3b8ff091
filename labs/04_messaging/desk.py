"""Desk: what riders and mechanics ask of the locks, by HTTP. It asks the gateways over the broker (asking.py).

| request                                   | answer                                                               |
| ----------------------------------------- | -------------------------------------------------------------------- |
| GET /locks/{lock_id}/battery              | 200 {"lock_id", "battery_percent"}, or a problem: 404 no such lock,  |
|                                           |   503 nobody there or busy, 504 no answer                            |
| GET /batteries?within=SECONDS             | 200 {"batteries": {lock_id: percent}, "missing": [district]}         |
| PUT /rides/{ride_id}/unlocked {"lock_id"} | 200 {"ride_id", "lock_id", "state": "opened"}: the bolt has moved    |
|                                           | a problem (404, 409, 503): this PUT has moved nothing, and will not  |
|                                           | 202 with the state "unknown": the same PUT, sent again, tells        |

Unlocking: a ride opens its lock once, however often it is asked for, by the desk or by the rider, who may send the PUT
again at any time. After Unclear the desk asks again, MOST_TRIES in all. What one try has left open, only "opened" can
settle: that the next try finds nobody, or is refused, says nothing of the first one. `until` is when the desk has given
up, after the last try.
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from asking import ask, ask_all
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from nats.aio.client import Client
from wishes import DISTRICTS, Nobody, Refused, Unclear, subject_for

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import connected
from lab_services.bikeshare.problems import Body, Id, speak_problems

ANSWER_SECONDS = float(os.environ.get("ANSWER_SECONDS", "2"))
LONGEST_SECONDS = 5.0  # that anybody waits for all batteries
MOST_TRIES = 2


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connected() as app.state.broker:
        yield


app = FastAPI(title="desk", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app)


class Lock(Body):
    lock_id: Id


# --- your turn 4.3 ---
async def unlock(broker: Client, ride_id: str, lock_id: str) -> str:
    """Return "opened" or "unknown"; raise Nobody or Refused where nothing has moved for this call, and will not."""
    problem: Exception = Nobody(f"{lock_id} has not opened")
    for number in range(MOST_TRIES):
        try:
            until = time.time() + ANSWER_SECONDS
            wish = {"lock_id": lock_id, "request_id": f"{ride_id}-{number}", "until": until}
            await ask(broker, subject_for("unlock", lock_id), wish, ANSWER_SECONDS)
            return "opened"
        except (Nobody, Refused, Unclear) as error:
            problem = error
    raise problem


# --- end 4.3 ---


@app.put("/rides/{ride_id}/unlocked")
async def put_unlocked(ride_id: Id, lock: Lock) -> JSONResponse:
    state = await unlock(app.state.broker, ride_id, lock.lock_id)
    content = {"ride_id": ride_id, "lock_id": lock.lock_id, "state": state}
    return JSONResponse(content, 200 if state == "opened" else 202)


@app.get("/locks/{lock_id}/battery")
async def show_battery(lock_id: Id) -> dict[str, Any]:
    answer = await ask(app.state.broker, subject_for("battery", lock_id), {"lock_id": lock_id}, ANSWER_SECONDS)
    return {"lock_id": lock_id, **answer}


@app.get("/batteries")
async def show_batteries(within: Annotated[float, Query(gt=0, le=LONGEST_SECONDS)] = ANSWER_SECONDS) -> dict[str, Any]:
    found = await ask_all(app.state.broker, "lock.all.batteries", within)
    together = {lock_id: percent for batteries in found.values() for lock_id, percent in batteries.items()}
    return {"batteries": together, "missing": [district for district in DISTRICTS.values() if district not in found]}
