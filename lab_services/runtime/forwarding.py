"""Pass one HTTP message on, as a proxy must: in parts, without the fields of this hop, with its own trace added.

Bodies are streams both ways, so that a large one never stands in memory; a small request body is kept, to be sent
again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import httpx
from starlette.types import Receive, Scope, Send

REPLAY_BYTES = 64 * 1024  # a body up to this size is kept, so that the request can be sent again
CONNECT_SECONDS = 1.0
IDLE_SECONDS = 30.0  # a replica may be silent for so long, before its answer and between two parts of it
HOP_BY_HOP = {b"connection", b"proxy-connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade"}
SET_BY_OUR_SERVER = {b"date", b"server"}
WITHOUT_BODY = {204, 304}
VIA = b"1.1 balancer"  # RFC 9110 section 7.6.3
Headers = list[tuple[bytes, bytes]]


class ClientLeft(Exception):
    """The client closed its connection before its request was complete."""


@dataclass(frozen=True)
class Body:
    """A request body: all of it when it is small (`whole`), else its beginning, and `receive` gives the rest."""

    start: bytes
    whole: bool
    receive: Receive

    @classmethod
    async def read(cls, receive: Receive) -> Body:
        """Read until the end, or until it is too large to be kept."""
        start, more = b"", True
        while more and len(start) <= REPLAY_BYTES:
            part, more = await _next_part(receive)
            start += part
        return cls(start, not more, receive)

    def content(self) -> bytes | AsyncIterator[bytes]:
        """Return it in the form that httpx sends."""
        return self.start if self.whole else self._stream()

    async def _stream(self) -> AsyncIterator[bytes]:
        yield self.start
        more = True
        while more:
            part, more = await _next_part(self.receive)
            yield part


def request_for(url: str, scope: Scope, body: Body) -> httpx.Request:
    """Return the client's request as it goes to the replica at `url`; Host stays what the client wrote."""
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    target = scope["raw_path"] + query  # not part of the URL: httpx would resolve /a/../b (RFC 9110 section 7.7)
    headers = _end_to_end(scope["headers"])
    _append(headers, b"x-forwarded-for", scope["client"][0].encode() if scope.get("client") else b"unknown")
    _append(headers, b"via", VIA)
    limits = httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS, pool=None).as_dict()
    extensions = {"timeout": limits, "target": target}
    return httpx.Request(scope["method"], url, headers=headers, content=body.content(), extensions=extensions)


async def pass_back(answer: httpx.Response, receive: Receive, send: Send) -> None:
    """Send the replica's answer to the client, part by part; stop when the client leaves.

    When the replica breaks off, the answer is left incomplete: the server then closes the connection, so that the
    client cannot take half an answer for a whole one.
    """
    await send({"type": "http.response.start", "status": answer.status_code, "headers": _headers_back(answer)})
    left = asyncio.ensure_future(_client_leaves(receive))
    try:
        async for part in answer.aiter_raw():
            await send({"type": "http.response.body", "body": part, "more_body": True})
            if left.done():
                return
    except httpx.TransportError:
        return
    finally:
        left.cancel()
        await answer.aclose()
    await send({"type": "http.response.body"})


async def answer_problem(send: Send, status: int, title: str, detail: str) -> None:
    """Answer with a problem (RFC 9457)."""
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    await answer_json(send, status, problem, b"application/problem+json")


async def answer_json(send: Send, status: int, content: object, kind: bytes = b"application/json") -> None:
    """Answer with JSON."""
    body = json.dumps(content).encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _next_part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message.get("body", b""), message.get("more_body", False)


async def _client_leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _headers_back(answer: httpx.Response) -> Headers:
    removed = SET_BY_OUR_SERVER | ({b"content-length"} if answer.status_code in WITHOUT_BODY else set())
    headers = [field for field in _end_to_end(answer.headers.raw) if field[0] not in removed]
    _append(headers, b"via", VIA)
    return headers


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the fields that are for the other end, not for the next hop (RFC 9110 section 7.6.1)."""
    fields = [(name.lower(), value) for name, value in headers]
    named = {token.strip().lower() for name, value in fields if name == b"connection" for token in value.split(b",")}
    return [field for field in fields if field[0] not in HOP_BY_HOP | named]


def _append(headers: Headers, name: bytes, value: bytes) -> None:
    before = [known for field, known in headers if field == name]
    headers[:] = [field for field in headers if field[0] != name]
    headers.append((name, b", ".join([*before, value])))
