"""The line of rides and of the relay to the broker: events into the stream RIDES, and a bell that wakes the relay."""

import asyncio
import os
from contextlib import AbstractAsyncContextManager, suppress
from json import JSONDecodeError

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, MaxPayloadError
from nats.js.errors import APIError, NoStreamResponseError, ServiceUnavailableError

from lab_services.bikeshare.broker_line import Line
from lab_services.bikeshare.problems import Problem
from lab_services.bikeshare.streams import RIDES, make

ACK_SECONDS = float(os.environ.get("ACK_SECONDS", "2"))
BELL = "outbox.bell"


class Refused(Exception):
    """The stream has said no to this event, for the reason in the text: it is too long, or the stream is full."""


class Silent(Exception):
    """Nobody has said anything: the stream may have the event or not. The broker is away, hangs, or is slow."""


class CityLine:
    """A connection that comes back by itself, however long the broker is away."""

    def __init__(self) -> None:
        self._bell = asyncio.Event()
        self._line = Line(self._prepare, self._stay, reconnected_cb=self._again)

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Keep the line open; it opens also while there is no broker."""
        return self._line.opened()

    async def publish(self, subject: str, content: bytes, event_id: str) -> None:
        """Return when the stream RIDES has the event. Of events with one id, within 2 minutes, it keeps the first.

        Raises:
            Refused: the stream does not take it.
            Silent: no PubAck within ACK_SECONDS.
        """
        headers = {"Nats-Msg-Id": event_id}
        try:
            broker = self._line.client().jetstream(timeout=ACK_SECONDS)
            await broker.publish(subject, content, stream=RIDES.name, headers=headers)
        except NoStreamResponseError as error:
            await self._prepare_stream()
            raise Silent("there was no stream") from error
        except MaxPayloadError as error:
            raise Refused(f"{len(content):,} bytes are too many for the broker") from error
        except (Problem, ServiceUnavailableError, TimeoutError, JSONDecodeError) as error:
            raise Silent(f"no PubAck: {error or type(error).__name__}") from error
        except APIError as error:
            raise Refused(error.description or str(error)) from error
        except Error as error:
            raise Silent(f"no PubAck: {error}") from error

    async def ring(self) -> None:
        """Ring the bell of every relay; wait for nobody, raise nothing. While there is no broker, it rings later."""
        with suppress(Problem, Error):
            await self._line.client().publish(BELL, b"")

    async def rung(self, seconds: float) -> None:
        """Return when the bell has rung since the last call of `rung`, or the broker came back, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        self._bell.clear()

    async def _prepare(self, client: Client) -> None:
        await make(client, RIDES)
        await client.subscribe(BELL, cb=self._sound)

    async def _stay(self, client: Client, over: asyncio.Event) -> None:
        await self._again()
        await over.wait()

    async def _again(self) -> None:
        """Ring when the line is there, or there again: somebody may have wanted to meanwhile."""
        await self._sound()
        await self.ring()

    async def _prepare_stream(self) -> None:
        with suppress(Problem, Error, TimeoutError):
            await make(self._line.client(), RIDES)

    async def _sound(self, message: Msg | None = None) -> None:
        self._bell.set()
