"""The body of an OTLP/HTTP request: read within bounds, unpacked within bounds, decoded; and OTLP's own answers.

Source: OpenTelemetry Protocol specification 1.10, section OTLP/HTTP. A request says protobuf or JSON and is answered in
the same; every refusal carries a google.rpc.Status.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from .otlp_json import NotOtlp, message_from_json, message_to_json

MOST_BYTES = 20 * 1024 * 1024  # of a body, before and after unpacking: as the OpenTelemetry Collector has it
LINGER_SECONDS = 5.0  # how long a body that is too large is read and dropped before it is refused
PROTOBUF, JSON = "application/x-protobuf", "application/json"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # zlib finds out by itself which of the two headers is there
_CODINGS = {"", "identity", "gzip", "deflate"}
# google.rpc.Code
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE = 3, 8, 14


@dataclass(eq=False)  # an exception has to be hashable
class Refused(Exception):
    """A request that is not taken: HTTP status, code of google.rpc.Code, and why."""

    http: int
    code: int
    why: str
    headers: dict[str, str] = field(default_factory=dict)


def encoding_of(headers: Mapping[str, str]) -> str:
    """Return the media type in which a request speaks.

    Raises:
        Refused: neither protobuf nor JSON (415).
    """
    kind = media_type(headers)
    if kind not in (PROTOBUF, JSON):
        why = f"Content-Type is {kind or 'missing'}: OTLP is {PROTOBUF} or {JSON}"
        raise Refused(415, INVALID_ARGUMENT, why, {"Accept": f"{PROTOBUF}, {JSON}"})
    return kind


def media_type(headers: Mapping[str, str]) -> str:
    """Return the Content-Type without its parameters."""
    return headers.get("content-type", "").split(";")[0].strip().lower()


async def read_body(parts: AsyncIterator[bytes]) -> bytes:
    """Return the whole body.

    One that is too large is read on and dropped for a while: to hang up on a client that is still sending would make
    its system throw our answer away (RFC 9112 section 9.6).

    Raises:
        Refused: more than MOST_BYTES (413).
    """
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > MOST_BYTES:
            await _drop(parts)
            raise too_large("the body has")
    return bytes(body)


async def _drop(parts: AsyncIterator[bytes]) -> None:
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            async for _ in parts:
                pass
    except TimeoutError:
        return


def too_large(what: str) -> Refused:
    """Return the refusal of a body with more than MOST_BYTES."""
    why = f"{what} more than {MOST_BYTES} bytes: send smaller batches"
    return Refused(413, RESOURCE_EXHAUSTED, why, {"Connection": "close"})


def unpacked(body: bytes, coding: str) -> bytes:
    """Return the body without its content coding: gzip, deflate or none.

    Raises:
        Refused: another coding (415), broken or cut off (400), more than MOST_BYTES once it is unpacked (413).
    """
    coding = coding.strip().lower()
    if coding not in _CODINGS:
        why = f"Content-Encoding is {coding}: this store unpacks gzip and deflate"
        raise Refused(415, INVALID_ARGUMENT, why, {"Accept-Encoding": "gzip, deflate"})
    if coding in ("", "identity"):
        return body
    unpacking = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        whole = unpacking.decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise Refused(400, INVALID_ARGUMENT, f"the body is no {coding}: {error}") from error
    if len(whole) > MOST_BYTES:
        raise too_large("unpacked, the body has")
    if not unpacking.eof:
        raise Refused(400, INVALID_ARGUMENT, f"the body is cut off: its {coding} has no end")
    if unpacking.unused_data:
        raise Refused(400, INVALID_ARGUMENT, f"the body goes on behind the end of its {coding}")
    return whole


def decoded(body: bytes, kind: str, message: Any) -> Any:
    """Fill an empty protobuf message from the body and return it.

    Raises:
        Refused: the bytes are not such a message (400).
    """
    try:
        if kind == JSON:
            return message_from_json(body, message)
        message.ParseFromString(body)
    except (DecodeError, NotOtlp) as error:
        name = type(message).__name__
        raise Refused(400, INVALID_ARGUMENT, f"the body is no {name} in {kind}: {error}") from error
    return message


def encoded(message: Any, kind: str) -> bytes:
    """Return an answer in the request's own encoding."""
    return message_to_json(message) if kind == JSON else bytes(message.SerializeToString())


def status_body(refused: Refused, kind: str) -> bytes:
    """Return the google.rpc.Status of a refusal."""
    from google.rpc.status_pb2 import Status

    return encoded(Status(code=refused.code, message=refused.why), kind)
