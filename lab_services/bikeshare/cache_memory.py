"""What the shared cache keeps, in memory: a storage for hishel with one answer for each variant of each address.

hishel 2.0 leaves an old entry beside the one that replaces it (and may still choose the old one within the same
second), and drops other variants when one is fetched. With a key for each variant neither can happen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import httpx
from hishel import AsyncBaseStorage, Entry, Headers, Request, Response

from lab_services.bikeshare.cache_age import age_of, date_for_hishel

MOST_ANSWERS = 1000  # then what was not asked for longest goes
MOST_BYTES = 100_000  # a larger body is passed on and not kept


@dataclass
class Kept:
    """One stored answer: its entry without a stream, and the body."""

    entry: Entry
    body: bytes


class Memory(AsyncBaseStorage):
    """Answers by address, method and the headers that Vary names (RFC 9111 section 4.1). It never has to wait."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._vary: dict[str, list[str]] = {}  # by address: the headers that its answers depend on

    def key(self, url: str, method: str, headers: Mapping[str, str]) -> str:
        """Return the key of the answer to such a request."""
        return f"{url} {method} {[headers.get(name) for name in self._vary.get(url, [])]}"

    def forget(self, url: str) -> None:
        """Drop every answer of an address that an unsafe method has changed (RFC 9111 section 4.4)."""
        for key in [key for key in self._kept if key.startswith(f"{url} ")]:
            del self._kept[key]
        self._vary.pop(url, None)

    def stale_if_error(self, key: str) -> httpx.Response | None:
        """Return a stale answer that its origin has allowed for the case that it is away (RFC 5861 section 4)."""
        if (kept := self._kept.get(key)) is None:
            return None
        headers = kept.entry.response.headers
        told = directives(headers.get("cache-control") or "")
        forbidden = {"no-cache", "must-revalidate", "proxy-revalidate", "s-maxage"} & set(told)
        if forbidden or age_of(headers) > seconds(told, "max-age") + seconds(told, "stale-if-error"):
            return None
        pairs = [(name, value) for name in headers for value in headers.get_list(name) or []]
        stale = {"kept": True, "status": "fwd=stale; detail=stale-if-error"}
        body = httpx.ByteStream(kept.body)
        return httpx.Response(kept.entry.response.status_code, headers=pairs, stream=body, extensions=stale)

    async def create_entry(
        self, request: Request, response: Response, key: str, *, ttl: float | None = None, tti: float | None = None
    ) -> Entry:
        """Keep an answer in place of the one before."""
        body = b"".join([part async for part in response.stream])  # type: ignore[union-attr]
        entry = Entry(uuid4(), request, replace(response, stream=None))
        if len(body) <= MOST_BYTES:
            self._vary[request.url] = sorted(directives(response.headers.get("vary") or ""))
            self._kept[self.key(request.url, request.method, request.headers)] = Kept(entry, body)
        while len(self._kept) > MOST_ANSWERS:
            self._vary.pop(self._kept.popitem(last=False)[1].entry.request.url, None)
        return shown(Kept(entry, body))

    async def get_entries(self, key: str) -> list[Entry]:
        """Return the answer under this key as a list of one, or of none."""
        if (kept := self._kept.get(key)) is None:
            return []
        self._kept.move_to_end(key)
        return [shown(kept, await date_for_hishel(kept.entry.response.headers))]

    async def update_headers(self, id: UUID, headers: Headers) -> None:
        """Take over the headers of a 304."""
        for kept in self._kept.values():
            if kept.entry.id == id:
                kept.entry = replace(kept.entry, response=replace(kept.entry.response, headers=headers))

    async def remove_entry(self, id: UUID) -> None:
        """Drop one answer."""
        for key in [key for key, kept in self._kept.items() if kept.entry.id == id]:
            del self._kept[key]


def shown(kept: Kept, headers: Headers | None = None) -> Entry:
    """Return an entry with a stream of its own."""
    response = kept.entry.response
    return replace(kept.entry, response=replace(response, headers=headers or response.headers, stream=once(kept.body)))


async def once(body: bytes) -> AsyncIterator[bytes]:
    """Return a body as the stream that hishel reads."""
    yield body


def directives(text: str) -> dict[str, str]:
    """Return what a list header such as Cache-Control or Vary says, by names in small letters."""
    pairs = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    return {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def seconds(told: dict[str, str], name: str) -> int:
    """Return the seconds of a directive; 0 when it is missing or no number."""
    return int(told[name]) if told.get(name, "").isdecimal() else 0
