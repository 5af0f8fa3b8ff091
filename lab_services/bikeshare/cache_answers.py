"""How the shared cache finds an answer: in its memory, or at the origin, as hishel decides (RFC 9111).

Beside hishel 2.0: a request with no-store passes by (section 5.2.1.5), an unsafe method drops every variant of its
address (4.4), and a stale answer is used when the origin is away and has allowed that (RFC 5861 section 4).
"""

from __future__ import annotations

import os

import httpx
from hishel import CacheOptions
from hishel.httpx import AsyncCacheTransport

from lab_services.bikeshare.cache_memory import Memory, directives
from lab_services.bikeshare.cache_origin import NotInMemory, Origin, Pairs, end_to_end
from lab_services.bikeshare.cache_single_flight import SingleFlight

ANSWER_SECONDS = 5.0
NOWHERE = "http://127.0.0.1:1"
SAFE = {"GET", "HEAD", "OPTIONS"}


class Cache:
    """The shared cache in front of one origin; `requests` counts what came."""

    def __init__(self, upstream: str, collapse: bool) -> None:
        self.upstream = upstream
        self.requests = 0
        self.origin = Origin()
        self._memory = Memory()
        self._hishel = AsyncCacheTransport(self.origin, self._memory, rfc=CacheOptions(shared=True))
        self._flights = SingleFlight() if collapse else None

    async def answer(self, method: str, path: str, headers: Pairs, body: bytes) -> httpx.Response:
        """Return the answer to a request; its extensions: "kept", and "status" for Cache-Status (RFC 9211)."""
        url = httpx.URL(os.environ.get(f"{self.upstream.upper()}_URL", NOWHERE) + path)
        timeout = httpx.Timeout(ANSWER_SECONDS).as_dict()
        pairs = [*end_to_end(headers), (b"via", b"1.1 bikeshare")]
        request = httpx.Request(method, url, headers=pairs, content=body, extensions={"timeout": timeout})
        if method in ("GET", "HEAD") and "no-store" not in directives(request.headers.get("cache-control", "")):
            return await self._through_memory(request)
        answer = await self.origin.handle_async_request(request)
        if method not in SAFE and answer.status_code < 400:
            self._memory.forget(str(url))
        answer.extensions.update(kept=False, status="fwd=bypass" if method in ("GET", "HEAD") else "fwd=method")
        return answer

    async def _through_memory(self, request: httpx.Request) -> httpx.Response:
        def key() -> str:  # anew each time: an answer that has come in between may name more headers in its Vary
            return self._memory.key(str(request.url), request.method, request.headers)

        async def ask(**extensions: bool) -> httpx.Response:
            request.extensions.update(caching={"key": key()}, **extensions)
            return await self._hishel.handle_async_request(request)

        async def look() -> httpx.Response | None:
            try:
                return await ask(only_memory=True)
            except NotInMemory:
                return None

        async def go() -> httpx.Response:
            return await ask(only_memory=False)

        try:
            answer = await (self._flights.answer(key(), look, go) if self._flights else go())
        except httpx.TransportError:
            if (stale := self._memory.stale_if_error(key())) is None:
                raise
            return stale
        if answer.status_code >= 500 and (stale := self._memory.stale_if_error(key())) is not None:
            return stale
        answer.extensions.update(kept=answer.extensions["caching"]["from_cache"], status=what_happened(answer))
        return answer

    async def close(self) -> None:
        """Close the connections to the origin."""
        await self.origin.aclose()


def what_happened(answer: httpx.Response) -> str:
    """Return the parameters of Cache-Status for an answer of hishel."""
    happened = answer.extensions["caching"]
    if happened["revalidated"]:
        return f"fwd=stale; fwd-status={304 if happened['from_cache'] else answer.status_code}"
    if happened["from_cache"]:
        return "fwd=miss; collapsed" if answer.extensions.get("collapsed") else "hit"
    return "fwd=miss; stored" if happened["stored"] else "fwd=miss"
