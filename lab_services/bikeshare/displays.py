"""Displays: the boards at the stations. Each replica is a board of its own, and all of them hear storm.warning.

A warning is for whoever listens now: nobody keeps it, and a board that was away has missed it. Says nothing.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg

from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import Unreadable, read
from lab_services.bikeshare.problems import speak_problems

KNOWN = {"storm.warning": 1}
MOST_WARNINGS = 1000  # the oldest leave first
MOST_LETTERS = 200  # of a warning, as wide as a board is
REPLICA = os.environ.get("REPLICA", "1")
heard: deque[dict[str, Any]] = deque(maxlen=MOST_WARNINGS)
refused: deque[str] = deque(maxlen=MOST_WARNINGS)


async def hear(message: Msg) -> None:
    """Show a warning, or the reason why it cannot be shown: no board can have it sent again."""
    try:
        event = read(message.data, KNOWN)
        heard.append({"id": event.id, "time": event.time.isoformat(), "text": text_of(event.data)})
    except Unreadable as reason:
        refused.append(str(reason))


def text_of(data: dict[str, Any]) -> str:
    text = data.get("text")
    if not isinstance(text, str) or not 0 < len(text) <= MOST_LETTERS:
        raise Unreadable(f"data.text: a text of 1 to {MOST_LETTERS} letters")
    return text


async def prepare(client: Client) -> None:
    await client.subscribe("storm.warning", cb=hear)  # without a queue group: each replica gets its own copy


line = Line(prepare)
app = FastAPI(title="displays", lifespan=line.lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=line.client)


@app.get("/heard")
async def show_heard() -> dict[str, Any]:
    return {"replica": REPLICA, "heard": list(heard), "refused": list(refused)}
