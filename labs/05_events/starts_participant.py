"""Participant: takes the commands of one service from COMMANDS, does each once, and answers it.

The work and the note that it is answered are one transaction. A command that comes again, by its id, is answered from
the note. A refusal of hold, reserve or unlock is for good; one of start, cancel or release means "not now" and is not
noted: the same command is tried anew when it comes again.

Drills, for the notebook and the checks: PUT /drills/<ride>/<action>/<what> before the command comes; DELETE ends it.
    refuse   it is refused
    deaf     nothing happens until the drill is over; other commands overtake this one meanwhile
    mute     the work is done, and the answer comes when the drill is over
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import ValidationError
from starts_mail import REPLIES, Ride, hear, open_box, reply_to, subject

from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.database import opened, probe, transaction
from lab_services.bikeshare.health import answer_health
from lab_services.bikeshare.http_rules import follow_http
from lab_services.bikeshare.messages import Event, Unreadable, read, written
from lab_services.bikeshare.problems import Id, speak_problems
from lab_services.bikeshare.streams import keep

NOTES = "CREATE TABLE IF NOT EXISTS answered(command_id TEXT PRIMARY KEY, reason TEXT)"
NOT_NOW = ("rides.start", "stations.cancel", "wallet.release")  # what cannot be refused for good
DRILL_SECONDS = 0.1  # between two looks whether a drill is over
Action = Callable[[sqlite3.Connection, Ride], str]  # returns the reason of a refusal, "" when it is done
Furnish = Callable[[sqlite3.Connection], object]


class Participant:
    """A service that does these actions on <name>.db; `app` is what the runtime serves."""

    def __init__(self, name: str, schema: str, furnish: Furnish, actions: Mapping[str, Action]) -> None:
        self.name, self.schema, self.furnish, self.actions = name, f"{schema}; {NOTES}", furnish, actions
        self.drills: dict[tuple[str, str], str] = {}  # by ride and action
        self.app = FastAPI(title=name, lifespan=self.lifespan)
        speak_problems(self.app)
        follow_http(self.app)
        answer_health(self.app, ready=lambda: probe(name))
        answer_drills(self.app, self.drills)

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        with opened(self.name, self.schema):
            with transaction(self.name) as db:
                self.furnish(db)
            async with Line(self.prepare, self.work).opened():
                yield

    async def prepare(self, client: Client) -> None:
        await open_box(client, "COMMANDS", self.name, [f"command.{action}.*" for action in self.actions])

    async def work(self, client: Client, over: asyncio.Event) -> None:
        await hear(client, "COMMANDS", self.name, partial(self.handle, client), over)

    async def handle(self, client: Client, message: Msg) -> None:
        command, ride = read_command(message.data, self.actions)
        drill = self.drills.get((ride.ride_id, command.type))
        if drill == "deaf":
            return await message.nak(DRILL_SECONDS)
        reply = reply_to(command, await asyncio.to_thread(self.answer, command, ride, drill))
        if drill == "mute":
            return await message.nak(DRILL_SECONDS)
        # Without a Nats-Msg-Id: who dies before the next line answers twice, and after "not now" the answer changes.
        await keep(client, REPLIES, subject("reply", command.type, ride.ride_id), written(reply), {})
        await message.ack()

    def answer(self, command: Event, ride: Ride, drill: str | None) -> str:
        """Do what is commanded, unless it is done, and return why it is refused: "" when it is done."""
        with transaction(self.name) as db:
            if noted := db.execute("SELECT reason FROM answered WHERE command_id = ?", [command.id]).fetchone():
                return str(noted["reason"])
            reason = "a drill refuses it" if drill == "refuse" else self.actions[command.type](db, ride)
            if not reason or command.type not in NOT_NOW:
                db.execute("INSERT INTO answered VALUES (?, ?)", [command.id, reason])
            return reason


def read_command(content: bytes, actions: Mapping[str, Action]) -> tuple[Event, Ride]:
    """Return a command and what it is about; raises Unreadable."""
    command = read(content, dict.fromkeys(actions, 1))
    try:
        return command, Ride.model_validate(command.data)
    except ValidationError as error:
        raise Unreadable(f"data: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from None


def answer_drills(app: FastAPI, drills: dict[tuple[str, str], str]) -> None:
    @app.put("/drills/{ride_id}/{action}/{what}")
    def begin(ride_id: Id, action: Id, what: Literal["refuse", "deaf", "mute"]) -> dict[str, str]:
        drills[ride_id, action] = what
        return {"drill": what}

    @app.delete("/drills/{ride_id}/{action}")
    def end(ride_id: Id, action: Id) -> dict[str, str]:
        return {"ended": drills.pop((ride_id, action), "")}
