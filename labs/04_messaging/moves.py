"""Stations: say on the broker which bike was taken or returned, and where; subjects.py says on which subject.

POST /moves {"city", "station", "event", "bike_id"} and POST /words {"city", "text"} answer 201 and the subject, when
the broker has read the message. Core NATS does not tell whether anybody has heard it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI
from intruder import connections, let_in
from pydantic import StringConstraints
from subjects import Name, move_subject, word_subject

from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.messages import new_event, settled, written
from lab_services.bikeshare.problems import ID, Body, speak_problems


class Move(Body):
    city: Name
    station: Name
    event: Literal["taken", "returned"]
    bike_id: Annotated[str, StringConstraints(pattern=ID)]


class Word(Body):
    city: Name
    text: Annotated[str, StringConstraints(max_length=1000)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with connections(app):
        yield


app = FastAPI(title="stations", lifespan=lifespan)
speak_problems(app)
answer_health(app)
let_in(app)


@app.post("/moves", status_code=201)
async def tell_move(move: Move) -> dict[str, str]:
    return await say(move_subject(move.city, move.station, move.event), f"bike.{move.event}", bike_id=move.bike_id)


@app.post("/words", status_code=201)
async def tell_word(word: Word) -> dict[str, str]:
    return await say(word_subject(word.city), "city.told", text=word.text)


async def say(subject: str, kind: str, **fields: Any) -> dict[str, str]:
    """Say what has happened, and return the subject once the broker has it."""
    await app.state.client.publish(subject, written(new_event(kind, datetime.now(UTC), fields)))
    await settled(app.state.client)
    return {"subject": subject}
