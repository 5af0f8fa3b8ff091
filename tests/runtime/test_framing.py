"""Where HTTP/1.1 messages end, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_services.runtime.framing import Answers, Framing, Requests

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\nab\r\n\r\n1\r\nz\r\n0\r\nTrailer: 1\r\n\r\n"
ANSWERS = [  # method of the request, the answer to it
    (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    (b"POST", b"HTTP/1.1 201 Created\r\ncontent-length:0\r\n\r\n"),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"),
    (b"GET", CHUNKED),
    (b"DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"),
    (
        b"PUT",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    ),
    (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx"),
]
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /rides HTTP/1.1\r\nContent-Length: 7\r\n\r\nGET / H",
    b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"DELETE /x HTTP/1.0\r\n\r\n",
]
cuts = st.lists(st.integers(1, 60), min_size=1, max_size=40)


def messages(framing: Framing, stream: bytes, sizes: list[int]) -> list[bytes]:
    """Feed `stream` in parts of these sizes, again and again; return the messages that ended, and the rest."""
    found, current, at, turn = [], b"", 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        for piece, ends in framing.split(stream[at : at + size]):
            current += piece
            if ends:
                found.append(current)
                current = b""
        at, turn = at + size, turn + 1
    return [*found, current] if current else found


@given(cuts)
def test_answers_end_where_they_end_however_they_are_cut(sizes: list[int]) -> None:
    """Length, chunks with extension and trailer, HEAD, 204, 304 and interim answers: one message each."""
    requests = Requests()
    requests.methods.extend(method for method, _ in ANSWERS)
    stream = b"".join(answer for _, answer in ANSWERS)
    assert messages(Answers(requests), stream, sizes) == [answer for _, answer in ANSWERS]


@given(cuts)
def test_requests_end_where_they_end_however_they_are_cut(sizes: list[int]) -> None:
    """Requests with a length, with chunks and without a body are one message each, and their methods are known."""
    framing = Requests()
    assert messages(framing, b"".join(REQUESTS), sizes) == REQUESTS
    assert list(framing.methods) == [b"GET", b"POST", b"PUT", b"DELETE"]


@given(cuts)
def test_an_answer_without_a_length_lasts_until_the_end(sizes: list[int]) -> None:
    """Neither length nor chunks: the answer ends with the connection, and is HTTP all the same."""
    answers = Answers(Requests())
    stream = b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100
    assert messages(answers, stream, sizes) == [stream]
    assert not answers.raw


@pytest.mark.parametrize(
    "stream",
    [
        b'INFO {"server_id":"N"}\r\n' * 3,
        b"\x00\x01\x02\x03" * 10,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05hello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n" + b"x" * 10,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
    ],
)
def test_what_is_no_http_is_one_message_without_end(stream: bytes) -> None:
    """Another protocol, a WebSocket, a broken body, an endless head: both ways pass on as they come."""
    requests = Requests()
    answers = Answers(requests)
    assert messages(answers, stream, [4096]) == [stream]
    assert answers.raw and requests.raw


@pytest.mark.parametrize(
    "stream", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b'CONNECT {"verbose":false}\r\nPING\r\n', b"\x16\x03\x01"]
)
def test_a_client_of_another_protocol_is_recognised(stream: bytes) -> None:
    """HTTP/2 with prior knowledge, NATS and TLS are no HTTP/1."""
    requests = Requests()
    assert messages(requests, stream, [4096]) == [stream]
    assert requests.raw


def test_methods_are_forgotten_when_answered() -> None:
    """The ledger of methods does not grow on a long keep-alive connection."""
    requests = Requests()
    answers = Answers(requests)
    for _ in range(100):
        messages(requests, REQUESTS[0], [7])
        messages(answers, ANSWERS[0][1], [7])
    assert not requests.methods
