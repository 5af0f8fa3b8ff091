"""Tracks: takes in what the bikes of a night have recorded. Keeps it in the broker's stream TRACKS (publish.py).

POST /nights/2026-03-29 has an event on each line, as messages.py reads it: type bike.tracked, version 1. At most
MOST_LINES of them, MOST_BODY_BYTES together (else 413). The same line twice is one event. The answer:

    {"kept": 4996, "refused": [{"line": 7, "reason": "..."}], "unknown": [8, 9]}

Every line is in one of the three. Kept: the stream has the event. Refused: it has not, and will not have it if the line
comes again. Unknown: nobody has said so in time, it may be there or not; whoever sends the line again does no harm.
The status is 200 when all is kept, 207 when some lines are refused, 503 when some are unknown.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from nats.js import JetStreamContext
from nats.js.errors import BadRequestError
from publish import Publication, Report, publish_all
from tracks_stream import STREAM

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import Unreadable, connected, read
from lab_services.bikeshare.problems import Problem, speak_problems

MOST_LINES = 5000
MOST_BODY_BYTES = 16 * 1024 * 1024
VERSIONS = {"bike.tracked": 1}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connected() as client:
        app.state.stream = client.jetstream()
        await prepare(app.state.stream)
        yield


async def prepare(stream: JetStreamContext) -> None:
    """Make the stream, or give the one that is there its new configuration."""
    try:
        await stream.add_stream(STREAM)
    except BadRequestError:
        await stream.update_stream(STREAM)


app = FastAPI(title="tracks", lifespan=lifespan)
speak_problems(app)
answer_health(app)


@app.post("/nights/{night}")
async def take_in(night: date, request: Request) -> JSONResponse:
    lines = {
        number: line for number, part in enumerate((await body_of(request)).split(b"\n"), 1) if (line := part.strip())
    }
    if len(lines) > MOST_LINES:
        raise Problem(413, "too long", f"the night has {len(lines):,} lines, {MOST_LINES:,} at most")
    found, refused = sorted_out(f"track.{night}", lines)
    report = await publish_all(request.app.state.stream, list({each.id: each for each in found.values()}.values()))
    return answer(found, refused, report)


async def body_of(request: Request) -> bytes:
    """Return the body, of which no more is kept in memory than may be there."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise Problem(413, "too long", f"a night has at most {MOST_BODY_BYTES:,} bytes")
    return bytes(body)


def sorted_out(subject: str, lines: Mapping[int, bytes]) -> tuple[dict[int, Publication], dict[int, str]]:
    """Return by line number what can be published, and why the rest cannot."""
    found: dict[int, Publication] = {}
    refused: dict[int, str] = {}
    first: dict[str, int] = {}
    for number, line in lines.items():
        try:
            event = read(line, VERSIONS)
        except Unreadable as reason:
            refused[number] = str(reason)
            continue
        known = first.setdefault(event.id, number)
        if known != number and lines[known] != line:
            refused[number] = f"id: line {known} has the same, and says something else"
        else:
            found[number] = Publication(event.id, subject, line)
    return found, refused


def answer(found: Mapping[int, Publication], refused: dict[int, str], report: Report) -> JSONResponse:
    """Tell what has become of each line; of what the report does not speak of, nothing is known."""
    refused |= {number: report.refused[each.id] for number, each in found.items() if each.id in report.refused}
    kept = [number for number, each in found.items() if each.id in report.kept and number not in refused]
    content: dict[str, Any] = {
        "kept": len(kept),
        "refused": [{"line": number, "reason": reason} for number, reason in sorted(refused.items())],
        "unknown": sorted(found.keys() - refused.keys() - set(kept)),
    }
    return JSONResponse(content, 503 if content["unknown"] else 207 if refused else 200)
