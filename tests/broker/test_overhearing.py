"""Somebody looks on while services talk at a real broker: the same in every run, and nothing left afterwards."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client

from lab_services.broker import leader_of, overhearing, streams
from lab_services.checks.broker_probes import spying
from lab_services.errors import UnknownName
from lab_services.lab import Lab
from tests.runtime.conftest import Maker, make_town, service, until
from tests.runtime.test_broker import TALKER, heard, make_broker, say

__all__ = ["make_town"]


def make_talkers(make_town: Maker, rides: int = 1) -> Lab:
    """Return a lab whose two services hear all rides."""
    broker = service("broker", kind="server", target="nats")
    talkers = (service("rides", needs=("broker",), replicas=rides), service("map", needs=("broker",)))
    return make_town(broker, *talkers, rides=TALKER, map=TALKER)


def test_what_is_said_is_drawn_the_same_twice(make_town: Maker) -> None:
    """Each receiver has its arrow, in the order of the broker; only what was said meanwhile, and no content."""
    lab = make_talkers(make_town)
    lab.start()
    seen = []
    for _ in range(2):
        say(lab, "rides", "ride.ended", "before")
        with overhearing(lab) as talk:
            say(lab, "map", "storm.warning", "AdaLovelace")
            say(lab, "rides", "ride.ended", "AdaLovelace")
        say(lab, "rides", "ride.ended", "after")
        seen.append(talk._repr_mimebundle_())
    assert seen[0] == seen[1]
    assert repr(talk).split("\n") == [
        "said at the broker: 3 messages",
        "  1. map -> broker: storm.warning",
        "  2. rides -> map: ride.ended",
        "  3. rides -> rides: ride.ended",
    ]
    assert "Ada" not in str(seen) and "Ada" not in str(lab.logs("broker", 200))


def test_the_broker_notes_nothing_afterwards(make_town: Maker) -> None:
    """After the look no file with notes is left, and the broker takes none; nobody has lost the connection."""
    lab = make_talkers(make_town)
    lab.start()
    with overhearing(lab) as talk:
        pass
    assert "0 messages" in repr(talk)
    say(lab, "rides", "ride.ended", "x")
    assert until(lambda: heard(lab) == ["x"])
    assert not list(lab["broker"].data.glob("*.log")) and "[TRC]" not in str(lab.logs("broker", 200))


def test_replicas_are_told_apart(make_town: Maker) -> None:
    """A service of several processes shows which of them it was."""
    lab = make_talkers(make_town, rides=2)
    lab.start()
    with overhearing(lab) as talk:
        say(lab, "map", "ride.ended", "x")
    assert [receiver for _, receiver, *_ in talk.view().messages] == ["map", "rides-1", "rides-2"]


def test_streams_are_drawn_with_their_acknowledgements_or_without(make_town: Maker) -> None:
    """JetStream's own traffic is shown when it is asked for."""
    lab = make_talkers(make_town)
    lab.start()
    with spying(lab["broker"].url) as spy:
        spy.jetstream("add_stream", name="TRIPS", subjects=["trip.>"])
        with overhearing(lab, jetstream=True) as talk:
            spy.keep("trip.ended", b"1")
            asyncio.run(work_one_off(lab["broker"].url))
    assert [(s, r, what) for s, r, what, _ in talk.view(jetstream=False).messages] == [
        ("spy", "broker", "trip.ended"),
        ("broker", "billing", "trip.ended"),
    ]
    shown = [what for *_, what, _ in talk.view().messages]
    assert shown.index("reply to trip.ended") < shown.index("$JS.API.CONSUMER.MSG.NEXT.TRIPS") < len(shown) - 1
    assert shown[-2:] == ["ack of trip.ended", "reply to ack of trip.ended"]


async def work_one_off(url: str) -> None:
    """Fetch one message of a stream and acknowledge it."""
    client = Client()
    await client.connect(url, name="billing")
    worker = await client.jetstream().pull_subscribe("trip.>", durable="billing", stream="TRIPS")
    [message] = await worker.fetch(1)
    await message.ack_sync()
    await client.close()


def test_a_broker_with_users_can_be_overheard(make_town: Maker) -> None:
    """The names are those of the services, and everybody stays connected and allowed what the file says."""
    lab = make_broker(make_town)
    lab.start()
    with overhearing(lab) as talk:
        say(lab, "rides", "ride.ended", "hello")
        assert until(lambda: heard(lab) == ["hello"])
    assert "1. rides -> map: ride.ended" in repr(talk)
    assert "disconnect" not in str(lab.logs("map")).lower()


def test_a_broker_that_dies_meanwhile_is_survived(make_town: Maker) -> None:
    """What was said before the broker was killed, and after it was launched again, is there."""
    lab = make_talkers(make_town)
    lab.start()
    with overhearing(lab) as talk:
        say(lab, "rides", "ride.ended", "before")
        lab.kill("broker")
        lab.launch("broker")
        words = map(str, range(100_000))
        assert until(lambda: say(lab, "rides", "ride.started", next(words)) or heard(lab)[-1:] != ["before"])
    assert "rides -> map: ride.ended" in repr(talk) and "rides -> map: ride.started" in repr(talk)


def test_only_a_broker_of_one_node_can_be_overheard(make_town: Maker) -> None:
    """Another service, or several nodes without a common order, is refused; a service is no server to reload."""
    cluster = service("broker", kind="server", target="nats", replicas=3)
    lab = make_town(cluster, service("rides"))
    lab.start(skip=["broker"])
    for name in ("broker", "rides", "nobody"):
        with pytest.raises(UnknownName, match="nobody can listen in"), overhearing(lab, name):
            pass
    with pytest.raises(UnknownName, match="cannot read its configuration again"):
        lab.reload("rides")


def test_streams_and_consumers_stand_in_a_table(make_town: Maker) -> None:
    """The table of a running broker tells what is kept, delivered, not acknowledged and waiting."""
    lab = make_town(service("broker", kind="server", target="nats"))
    lab.start()
    url = lab["broker"].url
    assert "no stream" in repr(streams(url))
    assert leader_of(url, "TRIPS") is None
    with spying(url) as spy:
        spy.jetstream("add_stream", name="TRIPS", subjects=["trip.>"])
        for number in range(5):
            spy.keep("trip.ended", b"%d" % number)
        worker = spy.jetstream("pull_subscribe", "trip.>", durable="billing", stream="TRIPS")
        got = spy._wait(worker.fetch(3))
        spy._wait(got[1].nak())
        spy._wait(got[0].ack_sync())  # answered behind the nak: the next fetch brings that message again
        spy._wait(worker.fetch(1))
        spy.settle()
    assert leader_of(url, "TRIPS") == 1
    assert repr(streams(url)).split("\n")[0] == "The broker: 1 stream, 1 consumer"
    last = repr(streams(url)).split("\n")[-1].split()
    assert last == ["TRIPS", "trip.>", "file", "5", "billing", "4", "2", "2", "1"]
