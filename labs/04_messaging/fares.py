"""Rides, the part that charges them: asks the wallet on the subject `wallet.charge` and waits for its answer.

POST /charges {"ride_id", "rider_id", "cents"}: 201 when the wallet has taken the cents (it takes them once for a ride),
409 with its reason when it refuses, 504 when no answer comes in time: then nobody knows, and asking again is safe.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from intruder import connections, let_in
from nats.errors import NoRespondersError
from purse_message import Charge

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems

ASK_SECONDS = float(os.environ.get("ASK_SECONDS", "1"))
INBOX = "_INBOX.rides"  # answers come below it: by nats-py's own prefix, _INBOX, they would lie among everybody's


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connections(app, inbox_prefix=INBOX):
        yield


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
answer_health(app)
let_in(app)


@app.post("/charges", status_code=201)
async def charge(charge: Charge) -> dict[str, Any]:
    try:
        content = charge.model_dump_json().encode()
        answer = await app.state.client.request("wallet.charge", content, timeout=ASK_SECONDS)
    except (NoRespondersError, TimeoutError) as error:
        raise Problem(504, "no answer", "the wallet has not answered: ask again, with the same ride_id") from error
    told: dict[str, Any] = json.loads(answer.data)
    if "refused" in told:
        raise Problem(409, "refused", told["refused"])
    return told
