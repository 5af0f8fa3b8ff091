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
async def startup(response: Response) -> None:
    response.status_code = 200 if health_life.life.started else 503


@router.get("/live")
async def live(response: Response) -> None:
    # No dependency: a restart mends none of them. And no `def`: it would wait for a worker.
    response.status_code = 503 if health_life.seconds_since_round() > STUCK_SECONDS else 200


@router.get("/ready")
async def ready(response: Response) -> dict[str, Any]:
    if health_life.life.leaving or not health_life.life.started:
        response.status_code = 503
        return {"status": "leaving" if health_life.life.leaving else "starting"}
    found = list(zip(WATCHES, await asyncio.gather(*map(is_up, WATCHES)), strict=True))
    able = all(up or not watch.of.required for watch, up in found)
    response.status_code = 200 if able else 503
    status = "ready" if all(up for _, up in found) else "degraded" if able else "not ready"
    return {"status": status, "dependencies": {watch.of.name: "up" if up else "down" for watch, up in found}}


# --- end 7.4 ---
