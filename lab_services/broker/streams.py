"""Ask a broker what it keeps, and for whom."""

from __future__ import annotations

from typing import Any

from lab_services.checks.broker_probes import Spy, spying
from lab_services.views import ConsumerFacts, StreamFacts, StreamsView


def streams(url: str, title: str = "The broker") -> StreamsView:
    """Return what the broker keeps now, as a table.

    Raises:
        nats.errors.Error, OSError, TimeoutError: the broker is not there, or has no JetStream or no leader.
    """
    return StreamsView(title, read_streams(url))


def read_streams(url: str) -> tuple[StreamFacts, ...]:
    """Return the streams of a broker and their consumers as plain facts, at most 256 of each."""
    with spying(url) as spy:
        return tuple(_stream(spy, info) for info in spy.jetstream("streams_info"))


def _stream(spy: Spy, info: Any) -> StreamFacts:
    config = info.config
    return StreamFacts(
        name=config.name,
        subjects=tuple(config.subjects or ()),
        storage=str(getattr(config.storage, "value", config.storage) or "file"),
        nodes=config.num_replicas or 1,
        messages=info.state.messages,
        consumers=tuple(_consumer(consumer) for consumer in spy.jetstream("consumers_info", config.name)),
    )


def _consumer(info: Any) -> ConsumerFacts:
    return ConsumerFacts(
        name=info.config.durable_name or "",
        delivered=info.delivered.consumer_seq,
        unacknowledged=info.num_ack_pending or 0,
        waiting=info.num_pending or 0,
        redelivered=info.num_redelivered or 0,
    )
