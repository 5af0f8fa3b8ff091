"""A wire to a real broker: one message is held up, with all that its sender says after it, and others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab_services.checks import eventually
from lab_services.checks.broker_probes import Spy, spying
from lab_services.checks.broker_wire import BrokerWire
from tests.servers.alone import broker_alone


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[BrokerWire]:
    """Stand between whoever connects and a broker of this test."""
    with broker_alone(tmp_path) as url:
        made = BrokerWire()
        made.broker = url
        yield made
        made.close()


def say(speaker: Spy, subject: str) -> None:
    """Publish without waiting until the broker has read it."""
    speaker._wait(speaker._client.publish(subject, b"x"))


def test_a_message_is_held_up_and_let_go(wire: BrokerWire) -> None:
    """The first message on such a subject waits, and what its sender says then; another sender's does not."""
    with (
        spying(wire.broker) as listener,
        spying(wire.url, "relay-1") as first,
        spying(wire.url, "relay-2") as second,
    ):
        listener.hears("ride.>")
        wire.hold("ride.ended.")
        say(first, "ride.noted.r1")
        say(first, "ride.ended.r1")
        assert wire.caught() == "relay-1"
        say(first, "ride.noted.r2")
        second.publish("ride.ended.r3", b"x")
        assert eventually(lambda: len(listener.heard) == 2)
        assert sorted(message.subject for message in listener.heard) == ["ride.ended.r3", "ride.noted.r1"]
        wire.let_go()
        assert eventually(lambda: len(listener.heard) == 4)
        assert [message.subject for message in listener.heard[2:]] == ["ride.ended.r1", "ride.noted.r2"]


def test_what_is_not_meant_is_not_caught(wire: BrokerWire) -> None:
    """A message on another subject goes through, and nobody is caught."""
    with spying(wire.url) as speaker:
        wire.hold("ride.ended.")
        speaker.publish("ride.noted.r1", b"x")
        assert wire.caught(within=0.1) == ""
