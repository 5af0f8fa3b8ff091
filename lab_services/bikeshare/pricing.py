"""Pricing, version 1: what a ride costs. Keeps nothing, calls nobody; pricing_v2.ts answers the same contract."""

from __future__ import annotations

import os
import re
import time
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BeforeValidator, Field

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import speak_problems

TARIFF = os.environ.get("TARIFF", "standard")
UNLOCK_CENTS = int(os.environ.get("UNLOCK_CENTS", "100"))
MINUTE_CENTS = int(os.environ.get("MINUTE_CENTS", "20"))
HOLD_CENTS = int(os.environ.get("HOLD_CENTS", "2000"))  # no ride costs more than what was held for it
QUOTE_SECONDS = float(os.environ.get("QUOTE_SECONDS", "0"))  # how long one quote keeps this process busy
VERSION = "v1"


def whole_number(text: str) -> int:
    """Take digits only: Python alone would read "1_2", " 12" and "12.0" as numbers, and version 2 would not."""
    if not re.fullmatch("[0-9]{1,4}", text):
        raise ValueError("is not a whole number from 0 to 1440")
    return int(text)


app = FastAPI(title="pricing")
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app)


@app.get("/quote")
async def quote(minutes: Annotated[int, BeforeValidator(whole_number), Field(ge=0, le=1440)]) -> dict[str, Any]:
    if QUOTE_SECONDS:
        time.sleep(QUOTE_SECONDS)  # blocks on purpose: a tariff that computes for so long answers nobody else meanwhile
    cents = min(UNLOCK_CENTS + MINUTE_CENTS * minutes, HOLD_CENTS)
    return {"minutes": minutes, "cents": cents, "tariff": TARIFF, "version": VERSION}


@app.get("/tariff")
async def tariff() -> dict[str, Any]:
    return {"tariff": TARIFF, "unlock_cents": UNLOCK_CENTS, "minute_cents": MINUTE_CENTS, "cap_cents": HOLD_CENTS}
