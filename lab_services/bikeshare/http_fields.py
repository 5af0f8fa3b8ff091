"""Header fields as RFC 9110 reads them: media types, weights, lists, entity tags. All of it is functions of bytes."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

Headers = list[tuple[bytes, bytes]]
JSON_TYPE = re.compile(rb"application/(json|[!#$&^_.0-9a-z-]+\+json)")  # RFC 6839 section 3.1
NO_WEIGHT = re.compile(rb"0(\.0*)?")
ENTITY_TAG = re.compile(rb'(?:W/)?("[^"]*")')  # section 8.8.3
ETAG_DIGITS = 32  # half of a SHA-256
OF_CONTENT = (b"content-type", b"content-length", b"content-encoding", b"content-language", b"content-range")


def is_json(content_type: bytes) -> bool:
    """Say whether a media type is JSON, whatever its parameters are (section 8.3.1)."""
    if content_type == b"application/json":
        return True
    return JSON_TYPE.fullmatch(content_type.split(b";")[0].strip().lower()) is not None


@lru_cache(maxsize=64)
def accepts_json(accept: bytes) -> bool:
    """Say whether a client takes application/json or a problem document; q=0 is a no (sections 12.4.2 and 12.5.1)."""
    if not accept.strip(b" \t,"):
        return True
    taken: dict[bytes, bool] = {}
    for each in accept.lower().split(b","):
        kind, *parameters = [part.strip() for part in each.split(b";")]
        weight = next((part[2:] for part in parameters if part.startswith(b"q=")), b"1")
        taken[kind] = not NO_WEIGHT.fullmatch(weight)
    others = taken.get(b"application/*", taken.get(b"*/*", False))  # the most specific range decides
    return any(taken.get(kind, others) for kind in (b"application/json", b"application/problem+json"))


def vary_by_accept(headers: Headers) -> None:
    """Say that another Accept could have had another answer, the 406 (section 12.5.5)."""
    if b"vary" not in dict(headers):
        headers.append((b"vary", b"Accept"))
        return
    known = [value for name, value in headers if name == b"vary"]
    if not any(token.strip().lower() in (b"accept", b"*") for value in known for token in value.split(b",")):
        headers[:] = [*without(headers, b"vary"), (b"vary", b", ".join([*known, b"Accept"]))]


def tag(start: MutableMapping[str, Any], body: MutableMapping[str, Any], if_none_match: bytes) -> bool:
    """Give an answer its ETag; when the client has that one, turn the answer into a 304 and return True.

    A body that comes in parts is left as it is: its hash is known only when its head is long gone.
    """
    headers: Headers = start["headers"]
    said = dict(headers)
    etag = said.get(b"etag")
    if etag is None and body.get("more_body", False):
        return False
    if etag is None:
        etag = f'"{sha256(body.get("body", b"")).hexdigest()[:ETAG_DIGITS]}"'.encode()
        headers.append((b"etag", etag))
    if b"cache-control" not in said:
        headers.append((b"cache-control", b"no-cache"))  # keep it, and ask before each use (RFC 9111 section 5.2.2.4)
    if not if_none_match or not matches(if_none_match, etag):
        return False
    start["status"], headers[:] = 304, without_content(headers)
    return True


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """Compare weakly: W/"1" and "1" are the same here, and * is any (sections 8.8.3.2 and 13.1.2)."""
    return if_none_match.strip() == b"*" or etag.removeprefix(b"W/") in ENTITY_TAG.findall(if_none_match)


def without_content(headers: Headers) -> Headers:
    """Return the fields of an answer without a body: a 304 repeats none that describe one (section 15.4.5)."""
    return [each for each in headers if each[0] not in OF_CONTENT]


def without(headers: Headers, name: bytes) -> Headers:
    """Return the fields but those of this name."""
    return [each for each in headers if each[0] != name]
