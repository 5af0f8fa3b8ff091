"""The program that measures, at one small application: what it counts, and what it refuses to count."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from lab_services.measuring import Way, measured, times
from tests.bikeshare.town import in_this_process

ROUNDS = 2
app = FastAPI()


@app.get("/quick")
async def quick() -> str:
    return "here"


@app.get("/health/ready")
async def ready() -> str:
    return "ready"


@app.get("/waiting")
async def waiting() -> str:
    await asyncio.sleep(0.01)
    return "here"


@app.get("/pieces")
async def pieces() -> StreamingResponse:
    return StreamingResponse(iter(["here", "and there"]))


@pytest.fixture(scope="module")
def way() -> Iterator[Way]:
    """The way to an application in a thread of this process."""
    with in_this_process(app) as web:
        yield Way("direct", web.base_url.port or 0, "town", "/quick", os.getpid(), "/waiting")


def test_every_way_is_measured_as_often(way: Way) -> None:
    """One way without a target that waits has no such calls; a process beside the application is counted apart."""
    other = replace(way, name="other", waiting="", beside=(os.getppid(),))
    direct, beside = measured([way, other], ROUNDS).ways
    for found in (direct, beside):
        assert len(found.alone_ms) == ROUNDS * times.ALONE_CALLS and list(found.alone_ms) == sorted(found.alone_ms)
        assert all(one.calls >= times.CONNECTIONS and one.seconds >= times.TOGETHER_SECONDS for one in found.rounds)
        assert len(found.rounds) == ROUNDS and found.alone_ms[0] > 0 and found.app_us() > 0 and found.app_mb > 1
    assert len(direct.waiting_ms) == ROUNDS * times.WAITING_CALLS and min(direct.waiting_ms) >= 9.0
    assert beside.waiting_ms == ()
    assert (direct.beside, direct.beside_mb, direct.beside_us()) == (0, 0.0, 0.0)
    assert beside.beside == 1 and beside.beside_mb > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quick": "/nothing"}, "HTTP/1.1 404"),
        ({"waiting": "/nothing"}, "HTTP/1.1 404"),
        ({"quick": "/pieces"}, "chunked"),
        ({"port": 1}, "ConnectionRefusedError"),
        ({"app": 2**22 + 1}, "NoSuchProcess"),
    ],
)
def test_what_is_no_answer_ends_the_measurement_with_its_reason(way: Way, change: dict[str, object], said: str) -> None:
    """Errors are quick: nobody may take their speed for that of answers."""
    with pytest.raises(RuntimeError, match=f"(?s)the measurement has failed.*{said}"):
        measured([replace(way, **change)], 1)  # type: ignore[arg-type]
