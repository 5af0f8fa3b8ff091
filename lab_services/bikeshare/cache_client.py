"""A client with a private cache of its own, as each rider's phone has one: hishel over httpx, after RFC 9111."""

from __future__ import annotations

import sqlite3
import ssl
import time

import httpx
from hishel import CacheOptions, SqliteStorage
from hishel.httpx import CacheTransport

from lab_services.bikeshare.cache_age import note_birth

TIMEOUT_SECONDS = 5.0
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one that is empty: the city speaks plain HTTP


class Network(httpx.HTTPTransport):
    """The way to the city; each answer says by its Date, which hishel reads, how old it is by its Age."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and note the age of its answer."""
        asked_at = time.time()
        return note_birth(super().handle_request(request), asked_at)


def caching_client(base_url: str = "", headers: dict[str, str] | None = None) -> httpx.Client:
    """Return a client that keeps answers in memory as a private cache may; close it after use.

    `answer.extensions["caching"]["from_cache"]` says of each answer whether it was kept here.
    """
    storage = SqliteStorage(connection=sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))
    transport = CacheTransport(Network(verify=NO_TLS, trust_env=False), storage, rfc=CacheOptions(shared=False))
    return httpx.Client(transport=transport, base_url=base_url, headers=headers, timeout=TIMEOUT_SECONDS)
