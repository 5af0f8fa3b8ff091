"""A broker of three nodes: ready when a stream can be made, and there as long as two of the three are."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import psutil
import pytest
from nats.errors import Error

from lab_services.broker import leader_of, seconds_until_kept
from lab_services.checks.broker_probes import spying
from lab_services.errors import UnknownName
from lab_services.lab import Lab
from tests.runtime.conftest import Maker, refused, service, until
from tests.runtime.test_broker import TALKER, heard, say

ELECTION_SECONDS = 30.0  # measured: 4 to 10


def make_cluster(make_town: Maker) -> Lab:
    """Return a lab with a broker of three nodes and two services that talk; it is not started yet."""
    broker = service("broker", kind="server", target="nats", replicas=3)
    talkers = (service(name, needs=("broker",)) for name in ("rides", "map"))
    return make_town(broker, *talkers, rides=TALKER, map=TALKER)


def listens_on(pid: int) -> set[tuple[str, int]]:
    """Return where a process accepts connections."""
    found = psutil.Process(pid).net_connections("inet")
    return {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}


def free(url: str) -> bool:
    """Say whether a stranger could take the port of an address."""
    with socket.socket() as stranger:
        try:
            stranger.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        except OSError:
            return False
    return True


def publishes(lab: Lab, content: bytes) -> None:
    """Publish one ride until the broker has it."""
    assert seconds_until_kept(lab["broker"].url, "trip.ended", content) < ELECTION_SECONDS


def test_three_nodes_keep_a_stream_from_the_first_moment(make_town: Maker) -> None:
    """Right after the start a stream of three can be made; each node has a folder and listens on loopback only."""
    lab = make_cluster(make_town)
    lab.start()
    broker = lab["broker"]
    assert broker.url == ",".join(broker.replica_urls) and len(set(broker.replica_urls)) == 3
    with spying(broker.url) as spy:
        spy.jetstream("add_stream", name="TRIPS", subjects=["trip.>"], num_replicas=3)
        spy.keep("trip.ended", b"1")
        assert len(spy.stream("TRIPS").cluster.replicas) == 2
    assert leader_of(broker.url, "TRIPS") in (1, 2, 3)
    assert {path.name for path in broker.data.iterdir()} == {"node_1", "node_2", "node_3"}
    assert all((path / "jetstream").is_dir() for path in broker.data.iterdir())
    assert {host for pid in broker.pids for host, _ in listens_on(pid)} == {"127.0.0.1"}
    assert "ready, 3 replicas" in str(lab.status())


def test_the_loss_of_any_node_loses_nothing(make_town: Maker) -> None:
    """The leader is killed: publishing goes on, what was acknowledged is there, and services hear each other again."""
    lab = make_cluster(make_town)
    lab.start()
    with spying(lab["broker"].url) as spy:
        spy.jetstream("add_stream", name="TRIPS", subjects=["trip.>"], num_replicas=3)
    publishes(lab, b"before")
    leader = leader_of(lab["broker"].url, "TRIPS")
    assert leader
    ports = {pid: listens_on(pid) for pid in lab["broker"].pids}
    dead = lab["broker"].pids[leader - 1]
    lab.kill("broker", replica=leader)
    assert "terminated" not in str(lab.logs("broker", 200)), "a crash is no goodbye"
    assert refused(lab["broker"].replica_urls[leader - 1])
    assert not free(lab["broker"].replica_urls[leader - 1]), "the lab keeps the port for the node"
    publishes(lab, b"meanwhile")
    assert leader_of(lab["broker"].url, "TRIPS") not in (leader, None)
    words = map(str, range(100_000))
    assert until(lambda: say(lab, "rides", "ride.ended", next(words)) or heard(lab)), "until both are at a node again"
    lab.launch("broker")
    back = lab["broker"].pids[leader - 1]
    assert back != dead and listens_on(back) == ports[dead], "the node is back at its ports"
    with spying(lab["broker"].replica_urls[leader - 1]) as spy:
        assert until(lambda: all(node.current for node in spy.stream("TRIPS").cluster.replicas), ELECTION_SECONDS)
        assert [message.data for message in spy.kept("TRIPS")] == [b"before", b"meanwhile"]


def test_one_of_three_accepts_nothing(make_town: Maker) -> None:
    """With two nodes dead no publish is acknowledged and nobody leads; launched again, both come back together."""
    lab = make_cluster(make_town)
    lab.start()
    with spying(lab["broker"].url) as spy:
        spy.jetstream("add_stream", name="TRIPS", subjects=["trip.>"], num_replicas=3)
    publishes(lab, b"1")
    for number in (1, 3):
        lab.kill("broker", replica=number)
    with spying(lab["broker"].url) as spy, pytest.raises((Error, TimeoutError)):
        spy.keep("trip.ended", b"2")
    assert until(lambda: leader_of(lab["broker"].url, "TRIPS") is None, ELECTION_SECONDS), "a leader notices it late"
    lab.launch("broker")
    publishes(lab, b"3")


def test_a_restart_of_all_nodes_keeps_the_stream(make_town: Maker) -> None:
    """restart() replaces one node after the other; those that were dead come up with it."""
    lab = make_cluster(make_town)
    lab.start()
    with spying(lab["broker"].url) as spy:
        spy.jetstream("add_stream", name="TRIPS", subjects=["trip.>"], num_replicas=3)
    publishes(lab, b"1")
    before = lab["broker"].pids
    lab.kill("broker", replica=1)
    lab.kill("broker", replica=2)
    lab.restart("broker")
    assert len({*before, *lab["broker"].pids}) == 6
    publishes(lab, b"2")
    lab.stop()
    assert not any(psutil.pid_exists(pid) for pid in before)


def test_nobody_scales_a_server(make_town: Maker) -> None:
    """The number of nodes stands in lab.toml: scale() says so, and an HTTP balancer before a broker would be none."""
    lab = make_cluster(make_town)
    lab.start(skip=["rides", "map"])
    for count in (1, 2, 4):
        with pytest.raises(UnknownName, match="cannot be scaled"):
            lab.scale("broker", count)
    lab.scale("broker", 3)
    assert lab["broker"].state == "ready" and len(lab["broker"].pids) == 3


def test_in_weather_a_cluster_is_reached_directly(make_town: Maker) -> None:
    """One proxied address would take the other nodes away from its clients: they get all, and no edge is promised."""
    lab = make_cluster(make_town)
    lab.start(weather="calm")
    say(lab, "rides", "ride.ended", "hello")
    assert until(lambda: heard(lab) == ["hello"])
    with pytest.raises(UnknownName, match="no fault proxy between rides and broker"):
        lab.edge("rides", "broker")


def test_what_is_acknowledged_can_be_on_the_disk_first(make_town: Maker) -> None:
    """SYNC_INTERVAL = "always" reaches JetStream; without it the disk is written within two minutes."""
    for env, seconds, always in (({}, 120, None), ({"SYNC_INTERVAL": "always"}, 120, True)):
        lab = make_town(service("broker", kind="server", target="nats", env=env), name="10_town")
        lab.start()
        config = json.loads(jetstream_page(lab["broker"].data, lab["broker"].pids[0]))["config"]
        assert (config["sync_interval"], config.get("sync_always")) == (seconds * 10**9, always)
        lab.stop()


def jetstream_page(folder: Path, pid: int) -> str:
    """Return what a broker tells of its JetStream."""
    import httpx

    from lab_services.servers.nats import monitoring

    return httpx.get(f"{monitoring(folder, pid)}/jsz", timeout=5).text
