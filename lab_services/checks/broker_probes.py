"""Look on at a broker from a check: hear what is said, say something, ask for the state of streams and consumers.

A Spy has one connection of its own, in a thread with an event loop; its methods wait, each with a limit.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from lab_services.bikeshare.messages import settled

CALL_SECONDS = 5.0
RECONNECT_SECONDS = 0.05
T = TypeVar("T")


@dataclass(frozen=True)
class Heard:
    """One message as it came."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str = ""
    sequence: int = 0  # its number in a stream; 0 for a message that no stream keeps


class Spy:
    """Somebody who may do everything at the broker."""

    def __init__(self, url: str, name: str = "spy") -> None:
        self.heard: list[Heard] = []
        self._url = url
        self._name = name
        self._client = Client()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="spy", daemon=True)

    def open(self) -> None:
        """Connect.

        Raises:
            nats.errors.Error, OSError, TimeoutError: the broker is not there, or refuses the password.
        """
        self._thread.start()
        patient: dict[str, Any] = {"reconnect_time_wait": RECONNECT_SECONDS, "max_reconnect_attempts": -1}
        servers = self._url.split(",")
        self._wait(self._client.connect(servers, name=self._name, error_cb=_ignore, **patient))

    def close(self) -> None:
        """Leave, and end the thread."""
        try:
            self._wait(self._client.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_SECONDS)
            self._loop.close()

    def hears(self, *subjects: str) -> None:
        """Keep in `heard` what is said on these subjects (filters) from now on: the broker knows when this returns."""
        for subject in subjects:
            self._wait(self._client.subscribe(subject, cb=self._hear))
        self.settle()

    def on(self, *subjects: str) -> list[Heard]:
        """Return what was heard on these subjects, without their filters: word for word."""
        return [message for message in tuple(self.heard) if message.subject in subjects]

    def publish(self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None) -> None:
        """Say something; the broker has it when this returns."""
        self._wait(self._client.publish(subject, data, reply=reply, headers=dict(headers) if headers else None))
        self.settle()

    def settle(self) -> None:
        """Return when the broker has read all that this spy has sent."""
        self._wait(settled(self._client))

    def ask(self, subject: str, data: bytes = b"", seconds: float = 1.0) -> Heard | None:
        """Return the first answer, or None when nobody listens or answers in time."""
        try:
            return _heard(self._wait(self._client.request(subject, data, timeout=seconds)))
        except (NoRespondersError, TimeoutError):
            return None

    def keep(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> Any:
        """Publish to a stream and return its acknowledgement (stream, seq, duplicate).

        Raises:
            nats.js.errors.Error, TimeoutError: no stream takes it.
        """
        stream = self._client.jetstream()
        return self._wait(stream.publish(subject, data, headers=dict(headers) if headers else None))

    def stream(self, name: str) -> Any:
        """Return the configuration and state of a stream (nats.js.api.StreamInfo), or None."""
        return self._unless_missing(self._client.jsm().stream_info(name))

    def consumer(self, stream: str, name: str) -> Any:
        """Return the configuration and state of a consumer (nats.js.api.ConsumerInfo), or None."""
        return self._unless_missing(self._client.jsm().consumer_info(stream, name))

    def kept(self, stream: str) -> list[Heard]:
        """Return every message that a stream keeps, oldest first; none when there is no such stream."""
        info = self.stream(stream)
        if info is None or not info.state.messages:
            return []
        numbers = range(info.state.first_seq, info.state.last_seq + 1)
        found = [self._unless_missing(self._client.jsm().get_msg(stream, number)) for number in numbers]
        return [Heard(str(m.subject), m.data or b"", m.headers or {}, sequence=m.seq or 0) for m in found if m]

    def jetstream(self, work: str, *args: Any, **options: Any) -> Any:
        """Do what a method of nats-py's JetStream context does: spy.jetstream("add_stream", name="RIDES", ...)."""
        return self._wait(getattr(self._client.jetstream(), work)(*args, **options))

    def work(self, job: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Do something else with this spy's connection: spy.work(lambda client: client.flush())."""
        return self._wait(job(self._client))

    async def _hear(self, message: Msg) -> None:
        self.heard.append(_heard(message))

    def _unless_missing(self, question: Coroutine[Any, Any, T]) -> T | None:
        try:
            return self._wait(question)
        except NotFoundError:
            return None

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, CALL_SECONDS), self._loop).result()


@contextmanager
def spying(url: str, name: str = "spy") -> Iterator[Spy]:
    """Look on at the broker, and leave at the end."""
    spy = Spy(url, name)
    try:
        spy.open()
        yield spy
    finally:
        spy.close()


async def _ignore(error: Exception) -> None:
    """Say nothing of a node that is not there: a method that cannot do its work raises."""


def _heard(message: Msg) -> Heard:
    kept = message.reply.startswith("$JS.ACK.")
    number = message.metadata.sequence.stream if kept else 0
    return Heard(message.subject, message.data, dict(message.headers or {}), message.reply, number)
