"""The bus of the service-oriented city: every call passes here, riders' calls from outside and calls between services.

It is dumb on purpose: it knows names and addresses, no rule of the city. `/customer/wallets/ada` goes to the service
`customer` as `/wallets/ada`; a rider's `/wallets/ada` goes where the table FRONT_DOOR says.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems

SERVICES = ("customer", "billing", "trips", "notices")
FRONT_DOOR = {
    "rides": "trips",
    "stations": "trips",
    "wallets": "customer",
    "holds": "customer",
    "quote": "billing",
    "tariff": "billing",
}
TIMEOUT_SECONDS = 5.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False) as app.state.client:
        yield


app = FastAPI(title="bus", lifespan=lifespan)
speak_problems(app)
answer_health(app)


@app.api_route("/{path:path}", methods=["GET", "PUT", "POST", "DELETE"])
async def carry(path: str, request: Request) -> Response:
    service, address = destination(path)
    url = os.environ.get(f"{service.upper()}_URL", "http://127.0.0.1:1") + address
    headers = {"content-type": "application/json"}
    try:
        answer = await app.state.client.request(
            request.method, url, params=request.query_params, content=await request.body(), headers=headers
        )
    except httpx.HTTPError as error:
        raise Problem(503, "service down", f"{service} cannot be reached: {type(error).__name__}") from error
    kept = {name: answer.headers[name] for name in ("content-type", "location") if name in answer.headers}
    return Response(answer.content, answer.status_code, kept)


def destination(path: str) -> tuple[str, str]:
    """Return the service and its address: by name for a service, by the table for a rider."""
    first, _, rest = path.partition("/")
    if first in SERVICES and rest:
        return first, f"/{rest}"
    if first == "notices":
        return "notices", f"/{path}"
    if first in FRONT_DOOR:
        return FRONT_DOOR[first], f"/{path}"
    raise Problem(404, "unknown service", f"the bus knows no {first!r}")
