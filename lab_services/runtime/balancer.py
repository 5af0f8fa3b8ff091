"""The balancer in front of a scaled service: one address, the replicas in turn (round robin), as an ASGI app.

It knows the replicas from the file REPLICAS_FILE (a JSON list of URLs, replaced while it runs) or the variable
REPLICA_URLS. What it may do when a replica fails is the lesson: nothing sent, so the next replica gets the request;
sent, so only an idempotent request may be sent again (RFC 9110 section 9.2.2). A POST is answered with 502 instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from lab_services.runtime.forwarding import Body, ClientLeft, answer_json, answer_problem, pass_back, request_for
from lab_services.runtime.readiness import http_ready

EJECT_SECONDS = 0.5  # a replica that failed is left alone for so long
KEEP_SECONDS = 4.0  # less than uvicorn's 5 s, so that it is this side that closes an idle connection
KEPT = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=KEEP_SECONDS)
NONE_KEPT = httpx.Limits(max_connections=None, max_keepalive_connections=0)
IDEMPOTENT = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}  # RFC 9110 section 9.2.2


class Balancer:
    """An ASGI app that passes every request on to one of `replicas()`."""

    def __init__(self, replicas: Callable[[], Sequence[str]]) -> None:
        self._replicas = replicas
        self._turn = 0
        self._resting: dict[str, float] = {}  # url of a replica that failed -> when it gets requests again

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["path"] == "/health/live":
            await answer_json(send, 200, {"status": "live"})
        elif scope["path"] == "/health/ready":
            await self._say_ready(send)
        else:
            try:
                await self._forward(scope, receive, send)
            except ClientLeft:
                return

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._pool = httpx.AsyncHTTPTransport(limits=KEPT, trust_env=False)
        # An idle connection may be closed at the moment it is used; for a POST that would be an error without need.
        self._fresh = httpx.AsyncHTTPTransport(limits=NONE_KEPT, trust_env=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.aclose()
        await self._fresh.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _say_ready(self, send: Send) -> None:
        urls = self._replicas()
        if await _any_ready(urls):
            await answer_json(send, 200, {"status": "ready", "replicas": len(urls)})
        else:
            await answer_problem(send, 503, "No replica is ready", ", ".join(urls) or "there are no replicas")

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Body.read(receive)
        idempotent = scope["method"] in IDEMPOTENT
        failures: list[str] = []
        for url in self._in_turn():
            request = request_for(url, scope, body)
            try:
                answer = await (self._pool if idempotent else self._fresh).handle_async_request(request)
            except httpx.TransportError as error:
                self._resting[url] = time.monotonic() + EJECT_SECONDS
                failures.append(f"{url}: {type(error).__name__}")
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if not unsent and not (idempotent and body.whole):
                    return await _answer_unknown(send, error, failures)
            else:
                return await pass_back(answer, receive, send)
        await answer_problem(send, 503, "No replica answers", "; ".join(failures) or "there are no replicas")

    def _in_turn(self) -> list[str]:
        """Return every replica once: the one whose turn it is first, those that have just failed last."""
        urls, now = self._replicas(), time.monotonic()
        healthy = [url for url in urls if self._resting.get(url, 0.0) <= now]
        first = self._turn % max(len(healthy), 1)
        self._turn += 1
        return healthy[first:] + healthy[:first] + [url for url in urls if url not in healthy]


class ReplicasFile:
    """The URLs in a JSON file, read again whenever the file has been replaced."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._urls: list[str] = []

    def __call__(self) -> Sequence[str]:
        """Return the URLs; those known before, as long as there is no file."""
        try:
            found = os.stat(self._path)
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                with open(self._path, encoding="utf-8") as file:
                    self._urls = json.load(file)
                self._seen = seen
        except FileNotFoundError:
            pass
        return self._urls


def make_app(replicas: Callable[[], Sequence[str]]) -> ASGIApp:
    """Return a balancer for the URLs that `replicas()` returns at each request."""
    return Balancer(replicas)


def replicas_from_environment() -> Callable[[], Sequence[str]]:
    """Return the source that REPLICAS_FILE names, or the fixed list in REPLICA_URLS."""
    if path := os.environ.get("REPLICAS_FILE"):
        return ReplicasFile(path)
    urls: list[str] = json.loads(os.environ.get("REPLICA_URLS", "[]"))
    return lambda: urls


async def _any_ready(urls: Sequence[str]) -> bool:
    """Ask all at once and return with the first yes: a replica that hangs must not make the others look bad."""
    asked = [asyncio.ensure_future(http_ready(url + "/health/ready")) for url in urls]
    try:
        for answer in asyncio.as_completed(asked):
            if await answer:
                return True
        return False
    finally:
        for question in asked:
            question.cancel()


async def _answer_unknown(send: Send, error: httpx.TransportError, failures: list[str]) -> None:
    status = 504 if isinstance(error, httpx.TimeoutException) else 502
    detail = "The request may have taken effect, so it is not sent again unasked. " + "; ".join(failures)
    await answer_problem(send, status, "The replica did not answer", detail)


app = make_app(replicas_from_environment())
