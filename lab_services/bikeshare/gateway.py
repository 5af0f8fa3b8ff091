"""Gateway: one address for the whole city. It forwards by the first part of the path and keeps nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import httpx
from fastapi import FastAPI, HTTPException, Request, Response

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
    "starts": "STARTS_URL",
    "map": "CITYMAP_URL",
}
ANSWER_SECONDS = 10.0  # more than any service takes that itself waits 2 s for each of three others
MOST_BYTES = 1_000_000
HEALTH = ("/health/live", "/health/ready")
# RFC 9110 section 7.6.1: these belong to one connection. Each side writes its own length, date and server.
ONE_HOP = {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"}
ONE_HOP |= {b"trailer", b"transfer-encoding", b"upgrade", b"content-length"}
Headers = list[tuple[bytes, bytes]]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # uvicorn hangs up an idle connection after 5 s: let go of it well before.
    limits = httpx.Limits(keepalive_expiry=2.0)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=limits) as client:
        app.state.city = client
        yield


app = FastAPI(title="gateway", lifespan=lifespan)
speak_problems(app)
answer_health(app)


@app.api_route(
    "/{path:path}", methods=["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
)
async def forward(request: Request) -> Response:
    target: bytes = request.scope["raw_path"]
    path = target.decode("latin-1")
    segment = path.split("/")[1]
    if path in HEALTH:
        raise HTTPException(405, headers={"Allow": "GET, HEAD"})
    if segment not in BEHIND:
        raise Problem(404, "Not Found", f"no service of this city answers /{segment[:64]}")
    name = BEHIND[segment]
    if query := request.scope["query_string"]:
        target += b"?" + query
    try:
        body = await read_body(request)
        headers = end_to_end(request.headers.raw, but={b"host"})
        # The target is no part of the URL: httpx would resolve /wallets/../holds (RFC 9110 section 7.7).
        address, extensions = os.environ.get(name, ""), {"target": target}
        sent = httpx.Request(request.method, address, headers=headers, content=body, extensions=extensions)
        answer = await request.app.state.city.send(sent, stream=True)
        async with aclosing(answer):
            content = b"".join([part async for part in answer.aiter_raw()])
    except (httpx.TransportError, httpx.InvalidURL) as error:
        service = name.removesuffix("_URL").lower()
        why = f"{service} cannot be reached: {type(error).__name__} {error}".rstrip()
        raise Problem(502, "Bad Gateway", why, service=service) from error
    return answer_with(answer, content)


def answer_with(answer: httpx.Response, content: bytes) -> Response:
    """Answer as the service did, with its bytes as they are; HEAD has the length of the body that it does not have."""
    forwarded = Response(content, answer.status_code)
    if answer.request.method == "HEAD":
        forwarded.raw_headers = [field for field in answer.headers.raw if field[0].lower() == b"content-length"]
    forwarded.raw_headers += end_to_end(answer.headers.raw, but={b"date", b"server"})
    return forwarded


def end_to_end(headers: Headers, but: set[bytes]) -> Headers:
    """Return the fields that are for the other end: not those of one hop, nor those that Connection names."""
    fields = [(key.lower(), value) for key, value in headers]
    named = {token.strip().lower() for key, value in fields if key == b"connection" for token in value.split(b",")}
    return [(key, value) for key, value in fields if key not in ONE_HOP | named | but]


async def read_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Problem(413, "body too large", f"body: at most {MOST_BYTES} bytes", errors=[{"field": "body"}])
    return body
