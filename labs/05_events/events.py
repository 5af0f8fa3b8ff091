"""Events: the event manager. It writes down what happens, and hands it to each handler that wants it.

| request                                      | answer                                                                |
| -------------------------------------------- | --------------------------------------------------------------------- |
| POST /events                                 | 202: written down; 200: it was written down before                    |
|   {"id", "type", "version", "time",          |   422: no event, the reason says why; 409: another event has this id; |
|    "subject", "data", "caused_by"}           |   503: too many wait, send it again later                             |
| GET /events/{event_id}                       | 200: the event, and its deliveries; 404                               |
| GET /deliveries?state=set_aside              | 200: the newest 100 that are waiting, done or set_aside               |
| POST /deliveries/{event_id}/{handler}/again  | 202: what was set aside waits anew; 404: there is no such delivery    |

The source is event_source.py, the manager event_manager.py, the handlers stand in event_handlers.py.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import event_manager
import event_source
import event_table
from event_form import read_event
from event_handlers import HANDLERS, Handler
from event_table import in_transaction
from fastapi import FastAPI, Request, Response

from lab_services.bikeshare.database import opened, probe
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Id, Problem, speak_problems

POLL_SECONDS = float(os.environ.get("POLL_SECONDS", "0.2"))  # until a handler that had nothing to do is asked again
log = logging.getLogger("events")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("events", event_table.SCHEMA):
        running = [asyncio.create_task(run(handler)) for handler in HANDLERS]
        yield
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


app = FastAPI(title="events", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("events"))


async def run(handler: Handler) -> None:
    """Hand out one event after the other, for as long as the service lives; each handler has a `run` of its own."""
    while True:
        try:
            busy = await event_manager.hand_out(handler)
        except Exception:
            log.exception("%s: goes on", handler.name)
            busy = False
        await asyncio.sleep(0 if busy else POLL_SECONDS)


@app.post("/events")
async def take(request: Request, response: Response) -> dict[str, str]:
    event = read_event(await request.body())
    new = await event_source.accept(event)
    response.status_code = 202 if new else 200
    return {"id": event.id, "state": "new" if new else "known"}


@app.get("/events/{event_id}")
async def show(event_id: Id) -> dict[str, Any]:
    event = await in_transaction(event_table.find_event, event_id)
    if event is None:
        raise Problem(404, "no such event", f"there is no event {event_id}")
    return {**event.model_dump(), "deliveries": await in_transaction(event_table.list_deliveries, "event_id", event_id)}


@app.get("/deliveries")
async def show_deliveries(state: Literal["waiting", "done", "set_aside"]) -> list[dict[str, Any]]:
    return await in_transaction(event_table.list_deliveries, "state", state)


@app.post("/deliveries/{event_id}/{handler}/again", status_code=202)
async def again(event_id: Id, handler: Id) -> dict[str, str]:
    if not await in_transaction(event_table.wait_again, event_id, handler):
        raise Problem(404, "no such delivery", f"{handler} has set no event {event_id} aside")
    return {"state": "waiting"}
