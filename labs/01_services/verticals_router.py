"""The front door of the verticals: each request goes to the copy of the city that serves its district.

A station belongs to a district by its letter; a rider lives in the north (a to m) or in the south, and has a wallet
there. A ride is looked for in both copies. The copies know nothing of each other.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, Request, Response

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems

DISTRICTS = {name: os.environ.get(f"{name.upper()}_URL", "http://127.0.0.1:1") for name in ("north", "south")}
TIMEOUT_SECONDS = 5.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as app.state.client:
        yield


app = FastAPI(title="verticals", lifespan=lifespan)
speak_problems(app)
answer_health(app)


@app.get("/stations")
async def list_stations() -> dict[str, Any]:
    answers = [(await forward(name, "GET", "/stations", b"")).json() for name in DISTRICTS]
    return {"stations": [station for answer in answers for station in answer["stations"]]}


@app.api_route("/{path:path}", methods=["GET", "PUT", "POST"])
async def route(path: str, request: Request) -> Response:
    body = await request.body()
    address = f"/{path}" + (f"?{request.url.query}" if request.url.query else "")
    for district in candidates(path.split("/"), body, request.query_params.get("rider_id", "")):
        answer = await forward(district, request.method, address, body)
        if answer.status_code != 404:
            break
    kept = {name: answer.headers[name] for name in ("content-type", "location") if name in answer.headers}
    return Response(answer.content, answer.status_code, kept)


def candidates(parts: list[str], body: bytes, rider_id: str) -> list[str]:
    """Return the districts to ask, in this order: the first answer that is not 404 counts."""
    if parts[0] == "rides" and body:
        return [of_station(station_in(body))]
    if parts[0] == "stations":
        return [of_station(parts[1])]
    if parts[0] == "wallets" or rider_id:
        return [of_rider(parts[1] if parts[0] == "wallets" else rider_id)]
    return list(DISTRICTS)


def station_in(body: bytes) -> str:
    try:
        return str(json.loads(body)["station_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise Problem(422, "bad input", "the body has no station_id") from error


def of_station(station_id: str) -> str:
    return "north" if station_id[:1] in ("A", "B") else "south"


def of_rider(rider_id: str) -> str:
    return "north" if rider_id[:1].lower() <= "m" else "south"


async def forward(district: str, method: str, address: str, body: bytes) -> httpx.Response:
    try:
        headers = {"content-type": "application/json"}
        url = DISTRICTS[district] + address
        answer: httpx.Response = await app.state.client.request(method, url, content=body, headers=headers)
        return answer
    except httpx.HTTPError as error:
        raise Problem(502, "district down", f"the {district} cannot be reached: {type(error).__name__}") from error
