"""A rider's tap: its key, what it asks for, and the answer it gets, in a form that can be kept."""

import json
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from sqlite3 import Connection
from time import monotonic, sleep, time
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

from fastapi import Header
from fastapi.responses import JSONResponse
from pydantic import Field

from lab_services.bikeshare.problems import ID, Body, Problem

Json = dict[str, Any]
Answer = dict[str, Any]  # {"status": 201, "headers": {"Location": ...}, "body": {...}}: JSON through and through
# work(made_id, keep) makes the ride, or the alert, of that id and returns its answer. In the transaction of its last
# step it calls keep(db, answer): what that writes is kept with the ride or not at all. A Problem: all of it is undone.
Keep = Callable[[Connection, Answer], object]
Work = Callable[[str, Keep], Answer]
KEY = re.compile(r'("?)([!#-\[\]-~]{1,255})\1')  # with the quotes of an RFC 8941 String or without: it is one key
WAIT_SECONDS, LOOK_SECONDS = 2.0, 0.1  # how long a tap waits for another one, and how often it looks


class Wish(Body):
    rider_id: str = Field(pattern=ID)
    station_id: str = Field(pattern=ID)


class Tap(NamedTuple):
    """Whose tap it is, what it asks for, under which key, and the fingerprint of its body."""

    rider_id: str
    route: str
    key: str
    fingerprint: str


def read_key(idempotency_key: Annotated[list[str] | None, Header()] = None) -> str:
    """Return the one Idempotency-Key of a request (draft-ietf-httpapi-idempotency-key-header-07, sections 2.1, 2.7)."""
    found = [KEY.fullmatch(value) for value in idempotency_key or []]
    if len(found) == 1 and found[0]:
        return found[0][2]
    rule = "send it once, with 1 to 255 visible ASCII characters, such as a UUID"
    errors = [{"field": "Idempotency-Key", "message": rule}]
    raise Problem(400, "bad key" if found else "no key", f"Idempotency-Key: {rule}", errors=errors)


def fingerprint(wish: Wish) -> str:
    return sha256(wish.model_dump_json().encode()).hexdigest()


def new_id() -> str:
    return uuid4().hex[:12]


def looks() -> Iterator[None]:
    """Come round at once and then every LOOK_SECONDS, for WAIT_SECONDS: `for _ in looks(): ...`."""
    give_up = monotonic() + WAIT_SECONDS
    while monotonic() < give_up:
        yield
        sleep(LOOK_SECONDS)


def now() -> float:
    """Return the seconds since 1970: one clock for all processes of a machine, also across a restart."""
    return time()


def as_text(answer: Answer) -> str:
    return json.dumps(answer)


def as_answer(text: str) -> Answer:
    return dict(json.loads(text))


def created(location: str, body: Json) -> Answer:
    return {"status": 201, "headers": {"Location": location}, "body": body}


def spoken(answer: Answer) -> JSONResponse:
    return JSONResponse(answer["body"], answer["status"], answer["headers"])
