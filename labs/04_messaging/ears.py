"""Ears: collect what the broker has sent to a service, without a wait for what does not come."""

from collections.abc import Iterable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from lab_services.bikeshare.messages import settled


async def collected(client: Client, subscriptions: Iterable[Subscription]) -> list[Msg]:
    """Return every message that was said before now and not collected yet, subscription by subscription."""
    await settled(client)  # the broker answers behind all that it has sent: the rest lies here already
    return [await each.next_msg() for each in subscriptions for _ in range(each.pending_msgs)]
