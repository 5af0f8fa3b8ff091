"""A spy at a real broker: hears all, says, asks, and tells what streams and consumers keep."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.js.api import ConsumerConfig
from nats.js.errors import NoStreamResponseError

from lab_services.checks import eventually
from lab_services.checks.broker_probes import Heard, Spy, spying
from tests.servers.alone import broker_alone

SECONDS = 10.0


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Run a broker of this test and return its address."""
    with broker_alone(tmp_path) as found:
        yield found


@pytest.fixture
def spy(url: str) -> Iterator[Spy]:
    """Look on at the broker of this test."""
    with spying(url) as found:
        yield found


def test_nothing_said_after_hears_is_missed(spy: Spy, url: str) -> None:
    """What another says once hears() has returned is heard, with its headers, in its order; other subjects are not."""
    spy.hears("ride.*", "wallet.>")
    with spying(url) as other:
        for number in range(100):
            other.publish("ride.ended", b"%d" % number, headers={"Trace": "t"})
        other.publish("storm", b"x")
        other.publish("wallet.a.b", b"y")
    assert eventually(lambda: len(spy.heard) >= 101)
    assert [message.data for message in spy.on("ride.ended")] == [b"%d" % number for number in range(100)]
    assert spy.on("ride.ended")[0] == Heard("ride.ended", b"0", {"Trace": "t"})
    assert not spy.on("storm")


def test_who_is_asked_answers_or_not(spy: Spy, url: str) -> None:
    """Nobody there is None at once, silence is None in time."""
    began = time.monotonic()
    assert spy.ask("lock.battery", seconds=SECONDS) is None
    assert time.monotonic() - began < SECONDS / 2
    with spying(url) as other:
        other.hears("lock.battery")
        assert spy.ask("lock.battery", seconds=0.1) is None
        assert eventually(lambda: other.on("lock.battery"))


def test_streams_and_consumers_tell_what_they_keep(spy: Spy) -> None:
    """What a stream keeps comes back whole, also after a deletion; what is not there is None or empty."""
    assert (spy.stream("RIDES"), spy.consumer("RIDES", "billing"), spy.kept("RIDES")) == (None, None, [])
    with pytest.raises(NoStreamResponseError):
        spy.keep("ride.ended", b"1")
    spy.jetstream("add_stream", name="RIDES", subjects=["ride.>"])
    assert (spy.kept("RIDES"), spy.consumer("RIDES", "billing")) == ([], None)
    for data in (b"1", b"2", b"3", b""):
        spy.keep("ride.ended", data, headers={"Nats-Msg-Id": f"id-{data.decode()}"})
    assert spy.keep("ride.ended", b"3", headers={"Nats-Msg-Id": "id-3"}).duplicate
    spy.jetstream("delete_msg", "RIDES", 2)
    assert [(message.sequence, message.data) for message in spy.kept("RIDES")] == [(1, b"1"), (3, b"3"), (4, b"")]
    assert spy.kept("RIDES")[0].headers["Nats-Msg-Id"] == "id-1"
    spy.jetstream("add_consumer", "RIDES", ConsumerConfig(durable_name="billing"))
    assert spy.consumer("RIDES", "billing").num_pending == 3
    assert spy.stream("RIDES").state.messages == 3


def test_no_broker_is_an_error_and_no_thread_stays() -> None:
    """Where no broker is, opening fails in time, and leaves nothing behind."""
    with pytest.raises(TimeoutError), spying("nats://127.0.0.1:1"):
        pass
    assert "spy" not in {thread.name for thread in threading.enumerate()}
