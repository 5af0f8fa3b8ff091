"""What a user of a broker may say and hear, tried out: the broker tells each violation to whoever has made it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from nats.aio.client import Client

from lab_services.bikeshare.messages import settled


def may_say(url: str, subjects: Iterable[str]) -> set[str]:
    """Return those of the subjects on which this user may publish; on these it has."""

    async def try_each() -> set[str]:
        async with _User(url) as user:
            return {subject for subject in subjects if await user.publishes(subject)}

    return asyncio.run(try_each())


def may_hear(url: str, subscriptions: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of the pairs of subject and queue group to which this user may subscribe."""

    async def try_each() -> set[tuple[str, str]]:
        async with _User(url) as user:
            return {pair for pair in subscriptions if await user.subscribes(*pair)}

    return asyncio.run(try_each())


def request(url: str, subject: str, seconds: float) -> bytes:
    """Return the answer to a question.

    Raises:
        NoRespondersError: nobody listens there.
        TimeoutError: somebody does, and has not answered.
    """

    async def ask() -> bytes:
        async with _User(url) as user:
            return (await user.client.request(subject, timeout=seconds)).data

    return asyncio.run(ask())


class _User:
    """One connection, and what the broker has told it of violations."""

    def __init__(self, url: str) -> None:
        self.client, self._url, self._told = Client(), url, list[str]()

    async def __aenter__(self) -> _User:
        await self.client.connect(self._url, error_cb=self._note, allow_reconnect=False, connect_timeout=5)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.client.close()

    async def publishes(self, subject: str) -> bool:
        before = len(self._told)
        await self.client.publish(subject, b"")
        await settled(self.client, 10)
        return len(self._told) == before

    async def subscribes(self, subject: str, queue: str) -> bool:
        before = len(self._told)
        subscription = await self.client.subscribe(subject, queue)
        await settled(self.client, 10)
        await subscription.unsubscribe()
        return len(self._told) == before

    async def _note(self, error: Exception) -> None:
        assert "permissions violation" in str(error).lower(), error
        self._told.append(str(error))
