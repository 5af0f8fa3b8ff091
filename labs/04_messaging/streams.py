"""Streams: what the broker keeps, and how it hands it out. The workers and rides ask for it when they start.

RIDES    keeps what is said on ride.>, from the first message on, also if no worker has ever been there, over every
         restart of the broker. Nothing stays longer than KEEP_SECONDS; until then a message stays at least until it is
         billed or given up: whether it stays after that is your choice. No other limit throws anything away. A message
         of more than MOST_KEPT_BYTES, headers and all, is refused, and its sender is told.
DEAD     keeps the dead letters, on dead.> (DEAD_PREFIX), over every restart, for KEEP_SECONDS, whatever their size: a
         letter is longer than its message, and the broker takes 1 MB at most.
billing  is the durable consumer of RIDES that all workers share, by pulling. It hands out ride.ended, and nothing else
         of ride.>, beginning with the first message that is kept. It lives as long as RIDES: set nothing that ends it
         or keeps it in memory. Each message is acknowledged by itself; one of which the broker hears nothing for
         ACK_SECONDS comes again, to whichever hand is free. MOST_UNACKED messages, and never more, are in hands or
         wait for their next try. The broker gives up no message, however often it was delivered: its limit
         (max_deliver) writes no letter.

The fields are those of nats-py's StreamConfig and ConsumerConfig (nats/js/api.py), all times in seconds. A running
broker changes neither storage nor retention: after such a change, lab.stop() and lab.start().
"""

import os
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError

ACK_SECONDS = float(os.environ.get("ACK_SECONDS", "30"))
MOST_UNACKED = int(os.environ.get("MOST_UNACKED", "500"))
KEEP_SECONDS = 7 * 24 * 3600
MOST_KEPT_BYTES = 256 * 1024
DEAD_PREFIX = "dead."
BROKER_SECONDS = 2  # for each question to the broker


# --- your turn 4.4 ---
RIDES = StreamConfig(
    name="RIDES",
    subjects=["ride.>"],
    storage=StorageType.MEMORY,
    retention=RetentionPolicy.INTEREST,
)
DEAD = StreamConfig(name="DEAD", subjects=["dead.>"], storage=StorageType.MEMORY)
BILLING = ConsumerConfig(
    durable_name="billing",
    ack_policy=AckPolicy.EXPLICIT,
    deliver_policy=DeliverPolicy.NEW,
    ack_wait=ACK_SECONDS,
    max_deliver=5,
)
# --- end 4.4 ---


async def keep(broker: JetStreamContext) -> None:
    """Have both streams at the broker, as they stand above."""
    for stream in (RIDES, DEAD):
        try:
            await broker.add_stream(stream)
        except BadRequestError:  # it is there, and was another one when it was made
            await _changed(f"stream {stream.name}", broker.update_stream(stream))


async def share(broker: JetStreamContext) -> None:
    """Have the consumer at the broker, as it stands above: whoever starts first makes it, the others find it."""
    await _changed("consumer billing", broker.add_consumer("RIDES", BILLING))


async def _changed(what: str, change: Any) -> None:
    try:
        await change
    except BadRequestError as error:
        again = "what cannot be changed at a running broker is new after lab.stop() and lab.start()"
        raise RuntimeError(f"{what}: {error.description}; {again}") from error
