"""Wallet: takes the price of a ride when it is asked to on the subject `wallet.charge`, once for each ride.

It answers {"charged": cents} or {"refused": why}, and only below _INBOX: whoever asks also says where the answer is to
go, and must not make the wallet speak on a subject of the city.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from intruder import connections, let_in
from nats.aio.msg import Msg
from purse_message import Charge
from pydantic import ValidationError

from lab_services.bikeshare import charges
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import settled
from lab_services.bikeshare.problems import speak_problems

log = logging.getLogger("wallet")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("wallet", charges.SCHEMA):
        with transaction("wallet") as db:
            charges.furnish(db)
        async with connections(app):
            await app.state.client.subscribe("wallet.charge", cb=answer)
            await settled(app.state.client)
            yield


app = FastAPI(title="wallet", lifespan=lifespan)
speak_problems(app)
answer_health(app, ready=lambda: probe("wallet"))
let_in(app)


async def answer(question: Msg) -> None:
    try:
        told = await asyncio.to_thread(take, Charge.model_validate_json(question.data))
    except (ValidationError, LookupError) as error:
        reason = str(error) if isinstance(error, LookupError) else "this is no charge"
        log.warning("refused: %s", reason)
        told = {"refused": reason}
    if question.reply.startswith("_INBOX."):
        await question.respond(json.dumps(told).encode())


def take(charge: Charge) -> dict[str, Any]:
    """Take the cents, unless this ride has been charged.

    Raises:
        LookupError: the rider has no wallet.
    """
    with transaction("wallet") as db:
        if not (before := charges.charges(db, charge.ride_id)):
            charges.charge(db, charge.ride_id, charge.rider_id, charge.cents)
        return {"charged": before[0]["captured_cents"] if before else charge.cents}
