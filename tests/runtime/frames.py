"""HTTP/2 written out by hand (RFC 9113, RFC 7541), for clients that no library would be: cut off, rude or silent."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
MOST_BYTES = 16_384  # of one frame
ANSWER_SECONDS = 30.0
STATUS = b"grpc-status"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def fields(path: str, *more: tuple[str, str]) -> bytes:
    """Return the header block of a gRPC request, each field as a plain literal."""
    first = ((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "city"))
    grpc = (("te", "trailers"), ("content-type", "application/grpc"))
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in (*first, *grpc, *more))


def headers(block: bytes, flags: int = 0, stream: int = 1, ended: bool = True) -> bytes:
    """Return a header block as one HEADERS frame and as many CONTINUATION frames as it takes."""
    parts = [block[at : at + MOST_BYTES] for at in range(0, len(block), MOST_BYTES)]
    frames = [frame(CONTINUATION if at else HEADERS, 0 if at else flags, stream, part) for at, part in enumerate(parts)]
    if ended:
        frames[-1] = frames[-1][:4] + bytes([frames[-1][4] | END_HEADERS]) + frames[-1][5:]
    return b"".join(frames)


def message(body: bytes, said: int | None = None, packed: bool = False) -> bytes:
    """Return a message with gRPC's prefix, which may say another length than it has."""
    return struct.pack(">BI", packed, len(body) if said is None else said) + body


@contextlib.contextmanager
def connected(target: str, agreed: bool = True) -> Iterator[socket.socket]:
    """Open a connection of which both sides have agreed on the settings; without that, nothing is sent."""
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), ANSWER_SECONDS) as opened:
        if agreed:
            opened.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK))
            received = b""
            while frame(SETTINGS, ACK) not in received:  # from here on it holds us to its limits
                received += opened.recv(65_536)
        yield opened


def answer(opened: socket.socket, sent: bytes = b"") -> bytes:
    """Send bytes; return what comes back, up to a status of gRPC or the end of the connection.

    Raises:
        TimeoutError: neither came within ANSWER_SECONDS.
    """
    received = b""
    with contextlib.suppress(ConnectionError):
        opened.sendall(sent)
        while STATUS not in received and (part := opened.recv(65_536)):
            received += part
    return received


def status(received: bytes) -> int | None:
    """Return the number of gRPC's status in an answer, None when the connection was closed without one."""
    _, found, after = received.partition(STATUS)
    return int(after[1 : 1 + after[0]]) if found else None


def _text(text: str) -> bytes:
    return _integer(len(text)) + text.encode("ascii")


def _integer(number: int) -> bytes:
    """Return a length as RFC 7541 section 5.1 writes it, with a prefix of seven bits."""
    if number < 127:
        return bytes([number])
    number -= 127
    rest = []
    while number >= 128:
        rest.append(number % 128 | 128)
        number //= 128
    return bytes([127, *rest, number])
