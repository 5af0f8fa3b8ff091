"""What becomes of a delivery that a consumer could not use: it comes again later, or it goes into the stream DEAD.

The log names a message by its place in the stream, and says nothing of its content, which may name a rider.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from lab_services.bikeshare.streams import DEAD, keep

log = logging.getLogger("deliveries")


async def later(message: Msg, seconds: float, trouble: Exception) -> None:
    """Give a message back: it rests for so long, and comes again, perhaps to another replica."""
    if message.metadata.num_delivered == 1:  # what goes on for an hour is said once
        frame = traceback.extract_tb(trouble.__traceback__)[-1]
        what = f"{type(trouble).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        log.warning("%s, tried again every %g s: %s", _place(message), seconds, what)
    await message.nak(seconds)


async def bury(client: Client, message: Msg, reason: str, seconds: float) -> None:
    """Put a message as it came into DEAD, with the reason; only when it is there does it end here.

    DEAD refuses to take the same delivery twice. When it takes nothing, the message comes again after `seconds`.
    """
    at = message.metadata
    headers = {
        "Nats-Msg-Id": f"{at.stream}-{at.sequence.stream}-{at.timestamp.timestamp()}",
        "Reason": reason,
        "From-Subject": message.subject,
        "From-Sequence": str(at.sequence.stream),
    }
    try:
        await keep(client, DEAD, f"dead.{at.consumer}", message.data, headers)
    except (Error, TimeoutError) as trouble:
        return await later(message, seconds, trouble)
    log.warning("%s is of no use: DEAD has it, with the reason", _place(message))
    await message.term()


def _place(message: Msg) -> str:
    return f"message {message.metadata.sequence.stream} of {message.metadata.stream}"
