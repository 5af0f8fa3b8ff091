"""Clients that say nothing, half of it or nonsense are answered or sent away by every gRPC service, in bounded time."""

from __future__ import annotations

import time
from contextlib import ExitStack

from lab_services.lab import Lab
from tests.runtime.conftest import Maker
from tests.runtime.door import DOOR, OPEN, WATCH, channel, knock, make_door
from tests.runtime.frames import (
    DATA,
    END_STREAM,
    PREFACE,
    SETTINGS,
    answer,
    connected,
    fields,
    frame,
    headers,
    message,
    status,
)

INTERNAL, RESOURCE_EXHAUSTED = 13, 8
BEGINNINGS = (b"", PREFACE[:10], PREFACE, PREFACE + frame(SETTINGS))
BODIES = {
    "none": b"",
    "cut off": message(b"\x0a\x04l-", said=6),
    "cut off in its prefix": b"\0\0\0",
    "no message of that type": message(b"\xff\xff\xff\xff"),
    "a text that is no UTF-8": message(b"\x0a\x01\xff"),
}


def open_door(make_town: Maker, source: str = DOOR) -> Lab:
    lab = make_door(make_town, source)
    lab.start()
    return lab


def test_who_connects_and_falls_silent_is_sent_away(make_town: Maker) -> None:
    """A connection on which nothing comes, or half a greeting, or no agreement, is closed; another is served."""
    lab = open_door(make_town)
    with ExitStack() as stack:
        began = time.monotonic()
        silent = [stack.enter_context(connected(lab["door"].url, agreed=False)) for _ in BEGINNINGS]
        for connection, beginning in zip(silent, BEGINNINGS, strict=True):
            connection.sendall(beginning)
        with channel(lab["door"].url) as opened:
            assert knock(opened)[1] == "hello"
        for connection in silent:
            answer(connection)
            assert 1 < time.monotonic() - began < 20


def test_a_request_that_is_not_whole_is_answered(make_town: Maker) -> None:
    """Nothing, a part, another type: INTERNAL and no traceback, for one answer and for many; nothing has run."""
    lab = open_door(make_town)
    for path in (OPEN, WATCH):
        for name, body in BODIES.items():
            with connected(lab["door"].url) as opened:
                answered = answer(opened, headers(fields(path)) + frame(DATA, END_STREAM, 1, body))
                assert status(answered) == INTERNAL and b"request" in answered, (path, name, answered)
    with channel(lab["door"].url) as opened:
        assert knock(opened)[1] == "hello"
    assert (lab["door"].data / "opened").read_text() == "\n"
    assert "Traceback" not in repr(lab.logs("door"))


def test_a_request_that_never_comes_is_not_waited_for(make_town: Maker) -> None:
    """A call that begins and is not carried on ends as INTERNAL."""
    lab = open_door(make_town)
    with connected(lab["door"].url) as opened:
        assert status(answer(opened, headers(fields(OPEN)))) == INTERNAL


def test_a_coroutine_may_write_its_answers(make_town: Maker) -> None:
    """A handler of many answers may be a coroutine that writes them, and gets its request like the others."""
    source = DOOR.replace(
        "        while True:\n            yield self.answer()",
        "        while True:\n            await context.write(self.answer())",
    )
    lab = open_door(make_town, source)
    with channel(lab["door"].url) as opened:
        stream = opened.unary_stream(WATCH)(b"", timeout=20)
        assert b"hello" in next(stream) and b"hello" in next(stream)
        stream.cancel()


def test_metadata_has_a_limit(make_town: Maker) -> None:
    """Seven kilobytes of metadata are taken, far more are refused without reading them all into the service."""
    lab = open_door(make_town)
    with channel(lab["door"].url) as opened:
        assert knock(opened, metadata=(("x-note", "n" * 7000),))[1] == "hello"
    for notes in ([100_000], [1000] * 1000):
        block = fields(OPEN, *((f"x-note-{at}", "n" * size) for at, size in enumerate(notes)))
        with connected(lab["door"].url) as opened:
            assert (
                status(answer(opened, headers(block) + frame(DATA, END_STREAM, 1, message(b"")))) == RESOURCE_EXHAUSTED
            )
