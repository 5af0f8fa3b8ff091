"""Rides over HTTP. What happens to a ride stands in rides_table.py and is right; what grew wrong is this interface.

It is to follow this table; every refusal is a problem document (RFC 9457), and no address of before is left.

    POST   /rides              {rider_id, station_id}  201, Location, the ride; 402 too poor, 409 no bike, 404 unknown
    GET    /rides/{id}                                 200, the ride; 404
    PUT    /rides/{id}/end     {station_id, minutes}   200, the ride, and the same for the same end again; 409, 404
    GET    /rides/{id}/report                          200, the report; 404
    PUT    /rides/{id}/report  the whole report        201 when it is the first, 200 when it replaces one; 404
    PATCH  /rides/{id}/report  what changes, RFC 7396  200, the merged report; null removes the note; 404
    DELETE /rides/{id}/report                          204, and 204 or 404 when there is none

Everywhere: 4xx and the name of the field for bad input, 503 when a service that is needed is away. The OpenAPI document
lists all codes of each route: `refusals` of rides_words.py writes them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import report_table
import rides_table
import rides_words as words
from fastapi import FastAPI, Request, Response
from report import reports

from lab_services.bikeshare.database import opened, probe
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import Problem, answer, speak_problems


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with opened("rides", ";".join([rides_table.RIDES, report_table.REPORTS])):
        yield


app = FastAPI(title="rides", lifespan=lifespan)
speak_problems(app)
follow_http(app)
answer_health(app, ready=lambda: probe("rides"))
app.include_router(reports)


@app.exception_handler(rides_table.Refusal)
def refuse(request: Request, refusal: rides_table.Refusal) -> Response:
    """Answer a refusal that no route has caught."""
    return answer(Problem(STATUS[refusal.kind], refusal.kind, str(refusal)))


# --- your turn 2.1 ---
STATUS = dict.fromkeys(["too poor", "unknown", "conflict", "away"], 500)


@app.post("/start_ride")
def start_ride(wish: words.Json) -> words.Json:
    try:
        return rides_table.start(wish["rider_id"], wish["station_id"])
    except rides_table.Refusal as refusal:
        return {"error": str(refusal)}


@app.get("/show_ride")
def show_ride(ride_id: str) -> words.Json:
    return rides_table.find_ride(ride_id)


@app.get("/end_ride")
def end_ride(ride_id: str, station_id: str, minutes: int) -> words.Json:
    try:
        return rides_table.end(ride_id, station_id, minutes)
    except rides_table.Refusal as refusal:
        return {"error": str(refusal)}


# --- end 2.1 ---
