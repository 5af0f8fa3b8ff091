"""Ask a gRPC server for its health (grpc.health.v1 Check) with one HTTP/2 request, written out by hand.

The supervisor asks while processes come and go. A real channel would bring threads, and it remembers a refused
connection for a second before it tries again; one short connection a question tells what is there now.
RFC 9113 (frames), RFC 7541 (a field as a plain literal), gRPC over HTTP/2: a flag, 4 bytes of length, the message.
"""

from __future__ import annotations

import asyncio
import struct

from lab_services.runtime.readiness import PROBE_SECONDS, connect

STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 0x1, 0x4
STREAM = 1
EMPTY_MESSAGE = bytes(5)  # HealthCheckRequest(service=""): the whole process


async def grpc_health(target: str, timeout: float = PROBE_SECONDS) -> bool | str:
    """Return True when the server at host:port or unix:/path says SERVING, else what it says; False if nothing."""
    try:
        state = await asyncio.wait_for(_check(target), timeout)
    except (TimeoutError, OSError, EOFError, ValueError):
        return False
    return state == "SERVING" or f"grpc.health.v1 answered {state}"


async def _check(target: str) -> str:
    reader, writer = await connect(target)
    try:
        authority = "localhost" if target.startswith("unix:") else target  # as gRPC's own clients say it
        writer.write(PREFACE + _frame(SETTINGS, 0, 0, b"") + _request(authority))
        return await _answer(reader)
    finally:
        writer.transport.abort()


def _request(authority: str) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    head = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)
    return _frame(HEADERS, END_HEADERS, STREAM, head) + _frame(DATA, END_STREAM, STREAM, EMPTY_MESSAGE)


async def _answer(reader: asyncio.StreamReader) -> str:
    while True:
        head = await reader.readexactly(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind == DATA and stream == STREAM:
            number = payload[6] if len(payload) > 6 else 0  # field 1, one byte; not there: 0
            return STATES[number] if number < len(STATES) else str(number)
        if kind == GOAWAY or (stream == STREAM and (kind == RST_STREAM or flags & END_STREAM)):
            return "no status: the call was refused"


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("ascii")
