"""Answers: what the wallet says when it is asked how it is, and what comes of it.

| GET             | 200                                      | 503       | who asks, and what a 503 leads to           |
| --------------- | ---------------------------------------- | --------- | ------------------------------------------- |
| /health/startup | life.started                             | otherwise | the keeper: it asks nothing else until then |
| /health/live    | seconds_since_round() of the teller is   | otherwise | the keeper: after three in a row it kills   |
|                 | not more than STUCK_SECONDS              |           | the process, and starts it anew             |
| /health/ready   | it has started, is not leaving, and each | otherwise | the router: riders are sent elsewhere until |
|                 | required dependency is up                |           | the next 200, and nothing is restarted      |

Each is answered within 1 s, whatever hangs: the bank, notices, the database, and all WORKERS that wait for them.

The body of live and startup is yours. That of ready is this and no more. Reasons are for the log: an error of the bank
shows its address with the key in it.

    {"status": "ready", "dependencies": {"database": "up", "bank": "up", "notices": "up"}}

| status      | with | when: the first of these that holds                           |
| ----------- | ---- | ------------------------------------------------------------- |
| "leaving"   | 503  | life.leaving; "dependencies" may be left out                  |
| "starting"  | 503  | it has not started; "dependencies" may be left out            |
| "not ready" | 503  | a required dependency is "down"                               |
| "degraded"  | 200  | one that is not required is "down": riders are told later     |
| "ready"     | 200  | all are "up"                                                  |
"""

import asyncio
from typing import Any

import health_life
from fastapi import APIRouter, Response
from health_looks import DEPENDENCIES
from health_watch import Watch, is_up

STUCK_SECONDS = 30.0  # no round takes so long: each of its calls has a limit
WATCHES = [Watch(dependency) for dependency in DEPENDENCIES]
router = APIRouter(prefix="/health")


# --- your turn 7.4 ---
@router.get("/startup")
@router.get("/live")
@router.get("/ready")
async def health(response: Response) -> dict[str, Any]:
    """One question for all three: the wallet is well if it has started and all that it depends on is up."""
    found = await asyncio.gather(*map(is_up, WATCHES))
    well = health_life.life.started and all(found)
    response.status_code = 200 if well else 503
    states = {watch.of.name: "up" if up else "down" for watch, up in zip(WATCHES, found, strict=True)}
    return {"status": "ready" if well else "not ready", "dependencies": states}


# --- end 7.4 ---
