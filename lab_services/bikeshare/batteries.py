"""Batteries: answers who asks lock.<lock_id>.battery how full the battery of a lock is. Calls nobody.

Replicas are one queue group: one of them answers. What is wrong with a question is an answer too, in the headers of
NATS services (ADR-32): silence would leave the asker in doubt until his time is over.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from typing import Any

from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg

from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.problems import ID, speak_problems

FLEET = int(os.environ.get("FLEET", "64"))
DEVICE_SECONDS = float(os.environ.get("DEVICE_SECONDS", "0.02"))  # the way to a lock and back
AT_ONCE = 8  # questions of one replica that are on their way to a lock; further ones wait
REPLICA = os.environ.get("REPLICA", "1")
PERCENT = {f"l-{number:02}": 100 - number % 60 for number in range(1, FLEET + 1)}
asked: Counter[str] = Counter()


async def answer(message: Msg) -> None:
    """Answer one question; what it may hold besides its subject is ignored, and so is one that wants no answer."""
    lock_id = message.subject.split(".")[1]
    asked["answered" if lock_id in PERCENT else "refused"] += 1
    if not message.reply:
        return
    if not re.fullmatch(ID, lock_id):
        return await refuse(message, 400, "lock_id: 1 to 64 letters, digits, underscores and hyphens")
    if lock_id not in PERCENT:
        return await refuse(message, 404, f"there is no lock {lock_id}")
    await asyncio.sleep(DEVICE_SECONDS)
    await say(message, {"lock_id": lock_id, "battery_percent": PERCENT[lock_id]})


async def refuse(message: Msg, status: int, detail: str) -> None:
    headers = {"Nats-Service-Error-Code": str(status), "Nats-Service-Error": detail}
    await say(message, {"status": status, "detail": detail}, headers)


async def say(message: Msg, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
    """Answer; nats-py's respond() would send the asker's own headers back."""
    await line.client().publish(message.reply, json.dumps(content).encode(), headers=headers)


async def prepare(client: Client) -> None:
    for _ in range(AT_ONCE):  # a subscription handles one message after the other, and is drained when we leave
        await client.subscribe("lock.*.battery", queue="batteries", cb=answer)


line = Line(prepare)
app = FastAPI(title="batteries", lifespan=line.lifespan)
speak_problems(app)
follow_http(app, conditional=True)
answer_health(app, ready=line.client)


@app.get("/asked")
async def show_asked() -> dict[str, Any]:
    return {"replica": REPLICA, "answered": asked["answered"], "refused": asked["refused"]}
