"""The handlers: who wants which events. Each hands its events to a service of the city, at POST /events.

A handler is called again after a failure, and after a crash: its service knows an event by its id, and does it once.
"""

import os
from dataclasses import dataclass
from typing import Any

import httpx
from event_form import CityEvent, following

REASON_CHARACTERS = 300
# No limit of time here: whoever calls a handler sets one. And no TLS: its certificates would take 0.1 s to read.
web = httpx.AsyncClient(timeout=None, verify=False, trust_env=False, limits=httpx.Limits(keepalive_expiry=2.0))


class Refused(Exception):
    """The service of a handler has answered, and has not taken the event."""


@dataclass(frozen=True)
class Handler:
    name: str
    wants: frozenset[str]

    async def handle(self, event: CityEvent) -> list[CityEvent]:
        """Hand an event over; return the new events that the handler says on account of it.

        It lasts as long as the service takes, and that can be for ever. Called twice for one event, it returns new
        events with other ids.

        Raises:
            Refused, httpx.TransportError, ...: the event is not handled, or nobody knows whether it is.
            Problem: it says what is no event.
        """
        answer = await web.post(os.environ[f"{self.name.upper()}_URL"] + "/events", json=event.model_dump(mode="json"))
        if answer.is_error:
            raise Refused(f"{self.name} answers {answer.status_code}: {answer.text}")
        says: list[dict[str, Any]] = answer.json()["says"]
        return [following(event, each) for each in says]


HANDLERS = (
    Handler("notices", frozenset({"ride.ended", "bike.serviced"})),
    Handler("citymap", frozenset({"ride.started", "ride.ended", "bike.serviced", "bike.moved"})),
    Handler("maintenance", frozenset({"ride.ended", "bike.worn", "bike.moved"})),
)


def reason_of(error: Exception) -> str:
    """Return why a try has failed, as it stands in the column `reason`."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:REASON_CHARACTERS]
