"""Gateway: one address for the whole city. It forwards by the first part of the path and keeps nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems

BEHIND = {
    "rides": "RIDES_URL",
    "stations": "STATIONS_URL",
    "bikes": "STATIONS_URL",
    "wallets": "WALLET_URL",
    "holds": "WALLET_URL",
    "quote": "PRICING_URL",
    "tariff": "PRICING_URL",
    "notices": "NOTICES_URL",
}
ANSWER_SECONDS = 10.0  # more than any service takes that itself waits 2 s for each of three others
MOST_BYTES = 1_000_000
# RFC 9110 section 7.6.1: these belong to one connection. Each side writes its own length, encoding, date and server.
ONE_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
ONE_HOP |= {"transfer-encoding", "upgrade"}
NOT_FORWARDED = ONE_HOP | {"host", "content-length", "content-encoding", "date", "server"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # uvicorn hangs up an idle connection after 5 s: let go of it well before.
    limits = httpx.Limits(keepalive_expiry=2.0)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, limits=limits) as client:
        app.state.city = client
        yield


app = FastAPI(title="gateway", lifespan=lifespan)
speak_problems(app)
answer_health(app)


@app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
async def forward(request: Request) -> Response:
    path = request.scope["raw_path"].decode("latin-1")
    segment = path.split("/")[1]
    if segment not in BEHIND:
        raise Problem(404, "Not Found", f"no service of this city answers /{segment[:64]}")
    name = BEHIND[segment]
    query = request.scope["query_string"].decode("latin-1")
    headers = [(key, value) for key, value in request.headers.items() if key not in NOT_FORWARDED]
    try:
        address = httpx.URL(os.environ.get(name, "") + path + (f"?{query}" if query else ""))
        body = await read_body(request)
        answer = await request.app.state.city.request(request.method, address, headers=headers, content=body)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        service = name.removesuffix("_URL").lower()
        why = f"{service} cannot be reached: {type(error).__name__} {error}".rstrip()
        raise Problem(502, "Bad Gateway", why, service=service) from error
    forwarded = Response(answer.content, answer.status_code)
    for key, value in answer.headers.multi_items():
        if key not in NOT_FORWARDED:
            forwarded.headers.append(key, value)
    return forwarded


async def read_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Problem(413, "Content Too Large", f"a body has at most {MOST_BYTES} bytes")
    return body
