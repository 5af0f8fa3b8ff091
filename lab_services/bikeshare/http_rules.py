"""What HTTP itself asks of every service (RFC 9110), so that the services need not say it: `follow_http(app)`.

It is pure ASGI: it looks at the headers on the way in and on the way out, and copies a body only where a rule needs
it. A request is judged before its handler runs, so that what is refused has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from fastapi import FastAPI
from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab_services.bikeshare.http_fields import (
    accepts_json,
    is_json,
    tag,
    vary_by_accept,
    without,
    without_content,
)
from lab_services.bikeshare.problems import Problem, answer

BODY_BYTES = 64 * 1024  # the most that a request may carry
LINGER_SECONDS = 5.0  # how long a body that is too large is read and dropped behind its refusal
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
WRITES = {"DELETE", "PATCH", "POST", "PUT"}
PRECONDITIONS = {b"if-match", b"if-none-match", b"if-unmodified-since"}
JUDGED = {b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"accept"} | PRECONDITIONS
ANYTHING = {b"accept": b"*/*"}
Fields = Mapping[bytes, bytes]


def follow_http(app: FastAPI, *, conditional: bool = False) -> None:
    """Make an app of JSON resources obey RFC 9110.

    Requests: HEAD wherever there is GET (section 9.3.2), OPTIONS and 405 with all methods of the path (9.3.7, 15.5.6),
    406 for who takes no JSON (15.5.7), 415 for a body that is none (15.5.16), 413 for one of more than BODY_BYTES
    (15.5.14). Answers: Vary (12.5.5), and no body with HEAD, 204 and 304 (6.4.1).

    With `conditional`, GET answers carry the hash of their content as a strong ETag (8.8.3), the same from every
    replica, and If-None-Match is answered with 304 (13.1.2); an ETag and a Cache-Control of the app itself are kept.
    """
    app.router.redirect_slashes = False  # /rides/ is not /rides: a resource has one address, and Host is not echoed
    app.add_middleware(HttpRules, rules_of=app, conditional=conditional)


class HttpRules:
    """The middleware behind `follow_http`."""

    def __init__(self, app: ASGIApp, rules_of: FastAPI, conditional: bool) -> None:
        self._app, self._routes, self._conditional = app, rules_of.router.routes, conditional

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge the request, then let the app answer it; a path or method it does not have is its own 404 or 405."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        asked = judged_fields(scope)
        if scope["method"] == "GET" and (not asked or asked == ANYTHING):  # most requests: nothing to judge
            return await self._app(scope, receive, self._ruled(scope, asked, send))
        size = int(asked.get(b"content-length", b"0"))
        if b"transfer-encoding" in asked:
            size, receive = await read_start(receive)
        to_app = self._as_get(scope) if scope["method"] == "HEAD" else scope
        conditions = PRECONDITIONS & asked.keys() if self._conditional and scope["method"] in WRITES else None
        problem = fault_in_request(asked, size) or (untestable(min(conditions)) if conditions else None)
        if problem and (route := self._route(to_app)) and not (problem.status == 406 and not_json(route)):
            return await refuse(problem, scope, receive, send)
        if scope["method"] == "OPTIONS" and (allowed := self._allowed(scope)) and not self._route(scope):
            return await Response(status_code=204, headers={"Allow": allowed})(scope, receive, send)
        await self._app(to_app, receive, self._ruled(scope, asked, send))

    def _route(self, scope: Scope) -> BaseRoute | None:
        """Return the route that would answer, if any."""
        return next((each for each in self._routes if each.matches({**scope})[0] is Match.FULL), None)

    def _allowed(self, scope: Scope) -> str:
        """Name all methods of a path (section 10.2.1): a framework names only those of the first route it finds."""
        found = {method for method in METHODS if self._route({**scope, "method": method})}
        found |= {"HEAD"} if "GET" in found else set()
        return ", ".join(sorted(found | {"OPTIONS"})) if found else ""

    def _as_get(self, scope: Scope) -> Scope:
        """Let HEAD be answered by the GET route, unless there is one for HEAD before it (section 9.3.2)."""
        as_get = {**scope, "method": "GET"}
        own, other = self._route(scope), self._route(as_get)
        if other is None or (own and self._routes.index(own) <= self._routes.index(other)):
            return scope
        return as_get

    def _ruled(self, scope: Scope, asked: Fields, send: Send) -> Send:
        """Return the `send` through which the app's answer goes out by the rules."""
        reads = scope["method"] in ("GET", "HEAD")
        tagged = reads and self._conditional and not scope["path"].startswith("/health/")
        bodiless = scope["method"] == "HEAD"
        held: Message | None = None  # the head of an answer that waits for its body, to be tagged with its hash

        async def ruled(message: Message) -> None:
            nonlocal bodiless, held
            if message["type"] == "http.response.start":
                message["headers"] = headers = list(message.get("headers", ()))
                if reads:
                    vary_by_accept(headers)
                if message["status"] == 200:
                    if tagged and is_json(dict(headers).get(b"content-type", b"")):
                        held = message
                        return
                elif message["status"] == 405 and (allowed := self._allowed(scope)):
                    headers[:] = [*without(headers, b"allow"), (b"allow", allowed.encode())]
                elif message["status"] in (204, 304):
                    headers[:], bodiless = without_content(headers), True
            elif message["type"] == "http.response.body":
                if held is not None:
                    start, held = held, None
                    bodiless |= tag(start, message, asked.get(b"if-none-match", b""))
                    await send(start)
                if bodiless:
                    message = {**message, "body": b""}
            await send(message)

        return ruled


def judged_fields(scope: Scope) -> dict[bytes, bytes]:
    """Return the request's fields that a rule looks at; a field in several lines is one list (section 5.3)."""
    asked: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in JUDGED:
            asked[name] = asked[name] + b", " + value if name in asked else value
    return asked


def fault_in_request(asked: Fields, size: int) -> Problem | None:
    """Return what is wrong with the headers of a request, or None.

    A body without Content-Type is refused as well: nobody has said that it is JSON. Section 8.3 allows a guess, but
    a page of any other site may send such a body without being asked, and one that says JSON it may not.
    """
    if size > BODY_BYTES:
        return Problem(413, "body too large", f"body: at most {BODY_BYTES} bytes", errors=[{"field": "body"}])
    if size and asked.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        return misfit(415, "Content-Encoding", "a body is taken as it is, without a content coding")
    if size and not is_json(asked.get(b"content-type", b"")):
        return misfit(415, "Content-Type", "a body is application/json")
    if not accepts_json(asked.get(b"accept", b"*/*")):
        return misfit(406, "Accept", "answers are application/json, and application/problem+json for errors")
    return None


def misfit(status: int, field: str, fault: str) -> Problem:
    """Return the 406 or 415 that names the header field."""
    title = "Not Acceptable" if status == 406 else "Unsupported Media Type"
    return Problem(status, title, f"{field}: {fault}", errors=[{"field": field}])


def untestable(condition: bytes) -> Problem:
    """Refuse a write under a condition: one that could be false must not be performed (section 13.1)."""
    field = condition.decode().title()
    fault = f"{field}: this service tests no condition before a write"
    return Problem(400, "no conditional writes", fault, errors=[{"field": field}])


async def refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the problem, and with what would have been taken (section 15.5.16).

    Behind a 413 the connection ends, but not at once: the client is still sending, and to hang up on it would make
    its system throw our answer away (RFC 9112 section 9.6). So the rest of the body is read and dropped for a while.
    """
    headers = {"Vary": "Accept"}
    if problem.status == 415:
        coding = problem.extra["errors"] == [{"field": "Content-Encoding"}]
        headers |= {"Accept-Encoding": "identity"} if coding else {"Accept": "application/json"}
    if problem.status != 413:
        return await answer(problem, headers)(scope, receive, send)

    async def send_all_but_the_end(message: Message) -> None:
        await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

    await answer(problem, {**headers, "Connection": "close"})(scope, receive, send_all_but_the_end)
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body"})


async def read_start(receive: Receive) -> tuple[int, Receive]:
    """Read a body of unknown length as far as it may go; return the bytes seen, and a `receive` that begins anew."""
    parts: list[Message] = []
    size, more = 0, True
    while more and size <= BODY_BYTES:
        parts.append(await receive())
        size += len(parts[-1].get("body", b""))
        more = parts[-1].get("more_body", False)
    parts.reverse()

    async def again() -> Message:
        return parts.pop() if parts else await receive()

    return size, again


def not_json(route: BaseRoute) -> bool:
    """Say whether a route answers with something else than JSON, such as the page of the documentation."""
    if not isinstance(route, APIRoute):
        return isinstance(route, Route | Mount)
    made = route.response_class
    kind = getattr(made.value if isinstance(made, DefaultPlaceholder) else made, "media_type", None)
    return isinstance(kind, str) and not is_json(kind.encode())
