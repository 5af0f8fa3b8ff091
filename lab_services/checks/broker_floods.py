"""Fill a stream from a check, faster than one message after the other: `flood(spy, messages)`."""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.client import Client

from lab_services.checks.broker_probes import Spy

ACKNOWLEDGED_EACH = 500  # messages: a broker that has more than 10,000 of a stream to write drops some


def flood(spy: Spy, messages: Sequence[tuple[str, bytes]]) -> int:
    """Publish (subject, content) to a stream, in order; return the position of the last, when the stream keeps all.

    Raises:
        nats.js.errors.Error, TimeoutError: no stream takes them.
    """
    return spy.work(lambda client: _flood(client, messages))


async def _flood(client: Client, messages: Sequence[tuple[str, bytes]]) -> int:
    position = 0
    for place, (subject, content) in enumerate(messages, 1):
        if place % ACKNOWLEDGED_EACH and place < len(messages):
            await client.publish(subject, content)  # one connection has one order: what is acknowledged is behind it
        else:
            position = (await client.jetstream().publish(subject, content)).seq
    return position
