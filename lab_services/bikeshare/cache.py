"""Cache: a shared HTTP cache (RFC 9111) in front of the service that UPSTREAM names, a reverse proxy with a memory.

hishel decides what may be kept and used. Each answer says what happened in Cache-Status (RFC 9211), and
GET /.cache/hits counts the requests that came and those that went on to the origin. With COLLAPSE=1 requests that
miss the same answer at the same time become one (see cache_single_flight.py).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

from lab_services.bikeshare.cache_age import BORN, age_of
from lab_services.bikeshare.cache_answers import Cache
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.problems import Problem, speak_problems

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
MOST_BYTES = 1_000_000
# Written anew here. The Date is that of our server: how old an answer is stands in Age.
OURS = {"content-length", "date", "server", "age", BORN}
NOT_IN_304 = {"content-type", "content-encoding", "content-language", "content-range", "last-modified"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.cache = Cache(os.environ.get("UPSTREAM", "origin"), os.environ.get("COLLAPSE") == "1")
    yield
    await app.state.cache.close()


app = FastAPI(title="cache", lifespan=lifespan, openapi_url=None)  # /docs and /openapi.json are those of the origin
speak_problems(app)
answer_health(app)


@app.get("/.cache/hits")
async def hits(request: Request) -> dict[str, int]:
    cache: Cache = request.app.state.cache
    return {"requests": cache.requests, "origin": cache.origin.asked}


@app.api_route("/{path:path}", methods=METHODS)
async def forward(request: Request) -> Response:
    cache: Cache = request.app.state.cache
    cache.requests += 1
    path, query = request.scope["raw_path"].decode("latin-1"), request.scope["query_string"].decode("latin-1")
    headers = [(key, value) for key, value in request.headers.raw if key not in (b"host", b"content-length")]
    body = await read_body(request)
    try:
        found = await cache.answer(request.method, path + (f"?{query}" if query else ""), headers, body)
    except httpx.TimeoutException as error:
        why = f"{cache.upstream} did not answer: {type(error).__name__}"
        raise Problem(504, "Gateway Timeout", why, service=cache.upstream) from error
    except (httpx.TransportError, httpx.InvalidURL) as error:
        why = f"{cache.upstream} cannot be reached: {type(error).__name__} {error}".rstrip()
        raise Problem(502, "Bad Gateway", why, service=cache.upstream) from error
    return tell(request, found, b"".join([part async for part in found.aiter_raw()]))


def tell(request: Request, found: httpx.Response, body: bytes) -> Response:
    """Answer what was found; as a 304 when the asker has it already (RFC 9111 section 4.3.2)."""
    not_modified = has_it_already(request, found)
    answer = Response(b"" if not_modified else body, 304 if not_modified else found.status_code)
    for key, value in found.headers.multi_items():
        if key not in OURS and not (not_modified and key in NOT_IN_304):
            answer.headers.append(key, value)
    if found.extensions["kept"] or "age" in found.headers:
        answer.headers["age"] = str(int(age_of(found.headers)))
    if request.method == "HEAD" and "content-length" in found.headers:
        answer.headers["content-length"] = found.headers["content-length"]
    answer.headers["cache-status"] = f"bikeshare; {found.extensions['status']}"
    return answer


def has_it_already(request: Request, found: httpx.Response) -> bool:
    if found.status_code != 200 or request.method not in ("GET", "HEAD") or "etag" not in found.headers:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return tags == ["*"] or found.headers["etag"].removeprefix("W/") in tags


async def read_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Problem(413, "Content Too Large", f"a body has at most {MOST_BYTES} bytes")
    return body
