"""An intruder: what somebody can do at the broker who has got into a service, with its name and password.

The programs of task 4.1 let one in, for the checks and for you; no service elsewhere has such routes.
POST /intruder/says {"subjects", "text"}: try to say it on each. POST /intruder/hears {"filters"}: try to listen.
GET /intruder/heard: the subjects of what was heard since the last time. The log of the service tells what was refused.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ears import collected
from fastapi import FastAPI
from nats.aio.subscription import Subscription

from lab_services.bikeshare.messages import connected, settled
from lab_services.bikeshare.problems import Body


class Saying(Body):
    subjects: list[str]
    text: str


class Listening(Body):
    filters: list[str]


@asynccontextmanager
async def connections(app: FastAPI, **options: Any) -> AsyncIterator[None]:
    """Connect a service (`app.state.client`) and, with the same name and password, the intruder in it.

    The intruder listens on a connection of its own: a question that two subscriptions of one connection hear counts as
    answered before it is, and the broker refuses the answer (allow_responses).
    """
    async with connected(**options) as app.state.client, connected() as app.state.intruder:
        yield


def let_in(app: FastAPI) -> None:
    """Add the routes of the intruder to a service."""
    ears: list[Subscription] = []

    @app.post("/intruder/says", status_code=204)
    async def say(saying: Saying) -> None:
        for client in (app.state.client, app.state.intruder):
            for subject in saying.subjects:
                await client.publish(subject, saying.text.encode())
            await settled(client)

    @app.post("/intruder/hears", status_code=204)
    async def listen(listening: Listening) -> None:
        for subject in listening.filters:
            ears.append(await app.state.intruder.subscribe(subject))
        await settled(app.state.intruder)

    @app.get("/intruder/heard")
    async def heard() -> list[str]:
        return [message.subject for message in await collected(app.state.intruder, ears)]
