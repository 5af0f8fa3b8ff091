"""The way from the shared cache to its origin."""

from __future__ import annotations

import ssl
import time

import httpx

from lab_services.bikeshare.cache_age import note_birth

# RFC 9110 section 7.6.1: these belong to one connection.
ONE_HOP = {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"}
ONE_HOP |= {b"trailer", b"transfer-encoding", b"upgrade"}
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one that is empty: the city speaks plain HTTP
Pairs = list[tuple[bytes, bytes]]


class NotInMemory(Exception):
    """Only the memory was asked, and it has no answer that may be used."""


class Origin(httpx.AsyncBaseTransport):
    """The way to the origin: counts the requests, reads each answer as a whole and notes its age."""

    def __init__(self) -> None:
        self.asked = 0
        # uvicorn hangs up an idle connection after 5 s: let go of it well before.
        limits = httpx.Limits(keepalive_expiry=2.0)
        self._network = httpx.AsyncHTTPTransport(verify=NO_TLS, trust_env=False, limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on, unless only the memory was asked."""
        if request.extensions.get("only_memory"):
            raise NotInMemory
        self.asked += 1
        asked_at = time.time()
        answer = await self._network.handle_async_request(request)
        body = b"".join([part async for part in answer.aiter_raw()])
        headers = end_to_end(answer.headers.raw)
        whole = httpx.Response(answer.status_code, headers=headers, stream=httpx.ByteStream(body))
        return note_birth(whole, asked_at)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._network.aclose()


def end_to_end(headers: Pairs) -> Pairs:
    """Return the headers without those of one connection, which are also those that its Connection names."""
    connection = b",".join(value for key, value in headers if key.lower() == b"connection")
    dropped = ONE_HOP | {name.strip() for name in connection.lower().split(b",")}
    return [pair for pair in headers if pair[0].lower() not in dropped]
