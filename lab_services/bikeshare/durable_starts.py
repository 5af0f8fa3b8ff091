"""Starts, on an engine for durable execution: it takes riders' wishes, and works for the engine. It keeps nothing.

PUT /starts/{ride_id} with rider_id, bike_id and cents: 202, the same again 200, another wish for this ride 409.
GET /starts/{ride_id}: how far it is, as the engine knows it. GET /starts: those under way; ?stuck=true the old ones.
Each replica is a worker: it is given steps of any start, also of those that another one has begun.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI, Response
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import RawValue, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, WorkflowAlreadyStartedError

from lab_services.bikeshare.durable_actions import Order
from lab_services.bikeshare.durable_line import QUEUE, RPC_SECONDS, Engine, speak_of_engine
from lab_services.bikeshare.durable_saga import REFUSED, StartRide, Wish
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Id, Problem, speak_problems

CALL_SECONDS = 1.5  # less than the engine waits for a step: its next try must not meet this one
QUIET = ApplicationErrorCategory.BENIGN  # no traceback in the log: the engine keeps what went wrong
MOST = 100  # starts in a list
STUCK_SECONDS = float(os.environ.get("STUCK_SECONDS", "20"))
BOOKS = {"wallet": "WALLET_URL", "stations": "DOCKS_URL", "locks": "DOCKS_URL", "rides": "RIDES_URL"}
STATES = {
    "wallet.hold": "holding", "stations.reserve": "reserving", "locks.unlock": "unlocking",
    "rides.start": "starting", "stations.cancel": "cancelling", "wallet.release": "releasing",
}  # fmt: skip
city = httpx.AsyncClient(timeout=CALL_SECONDS, trust_env=False)


@activity.defn(dynamic=True)  # one function for all actions: the engine says which one
async def carry_out(given: Sequence[RawValue]) -> None:
    """Ask a participant for an action; its no is an answer, anything else a failure, which the engine repeats."""
    action = activity.info().activity_type
    wish = activity.payload_converter().from_payload(given[0].payload, Wish)
    books = os.environ[BOOKS[action.partition(".")[0]]]
    order = {"rider_id": wish.rider_id, "bike_id": wish.bike_id, "cents": wish.cents}
    try:
        answer = await city.put(f"{books}/actions/{action}/{wish.ride_id}", json=order)
        if answer.status_code == 409:
            raise ApplicationError(answer.json()["detail"], type=REFUSED, category=QUIET)
        answer.raise_for_status()
    except httpx.HTTPError as error:  # the whole traceback would be too long for the engine's book
        raise ApplicationError(f"{action}: {type(error).__name__}", type="Silent", category=QUIET) from None


engine = Engine(StartRide, carry_out)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with city, engine.opened():
        yield


app = FastAPI(title="starts", lifespan=lifespan)
speak_problems(app)
speak_of_engine(app)
follow_http(app)
answer_health(app, ready=engine.client)


@app.put("/starts/{ride_id}", status_code=202)
async def begin(ride_id: Id, order: Order, response: Response) -> dict[str, Any]:
    wish = Wish(ride_id, **order.model_dump())
    try:
        await engine.client().start_workflow(
            StartRide.run, wish, id=ride_id, task_queue=QUEUE, memo=asdict(wish), rpc_timeout=RPC_SECONDS,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )  # fmt: skip
    except WorkflowAlreadyStartedError:
        response.status_code = 200
    start = await told(ride_id)
    if any(start[key] != value for key, value in asdict(wish).items()):
        raise Problem(409, "another wish", f"ride {ride_id} was wished with another rider, bike or price")
    return start


@app.get("/starts/{ride_id}")
async def show(ride_id: Id) -> dict[str, Any]:
    return await told(ride_id)


@app.get("/starts")
async def list_under_way(stuck: bool = False) -> dict[str, Any]:
    query = f"WorkflowType = '{StartRide.__name__}' AND ExecutionStatus = 'Running'"
    if stuck:
        query += f" AND StartTime < '{(datetime.now(UTC) - timedelta(seconds=STUCK_SECONDS)).isoformat()}'"
    found = engine.client().list_workflows(query, limit=MOST, rpc_timeout=RPC_SECONDS)
    return {"starts": [await told(each.id) async for each in found]}


async def told(ride_id: str) -> dict[str, Any]:
    """Return what the engine knows of a start: its wish, the step that it waits for, how often, and what went wrong."""
    handle = engine.client().get_workflow_handle(ride_id)
    found = await handle.describe(rpc_timeout=RPC_SECONDS)
    start = dict(await found.memo()) | {"step": None, "attempt": 0, "failure": None, "reason": None}
    if found.status == WorkflowExecutionStatus.COMPLETED:
        return start | dict(await handle.result(rpc_timeout=RPC_SECONDS))
    if found.status != WorkflowExecutionStatus.RUNNING:  # somebody has ended it at the engine, by hand
        return start | {"state": str(found.status and found.status.name).lower()}
    for waiting in found.raw_description.pending_activities:
        step = {"step": waiting.activity_type.name, "attempt": waiting.attempt}
        start |= step | {"failure": waiting.last_failure.message or None}
    return start | {"state": STATES.get(start["step"], "deciding")}
