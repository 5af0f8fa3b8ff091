"""Wallet: POST /holds holds the money for a ride; whose rider_id ends with "poor" has none (402)."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from log_lines import configure
from log_trace import trace_of
from pydantic import BaseModel

from lab_services.bikeshare.health import answer_health

log = logging.getLogger("wallet")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    configure("wallet")
    yield


app = FastAPI(title="wallet", lifespan=lifespan)
answer_health(app)


class Hold(BaseModel):
    ride_id: str
    rider_id: str


@app.post("/holds")
async def hold(hold: Hold, request: Request) -> JSONResponse:
    poor = hold.rider_id.endswith("poor")
    with trace_of(request.headers):
        log.info("hold_refused" if poor else "money_held", extra=hold.model_dump())
    return JSONResponse({}, 402 if poor else 201)
