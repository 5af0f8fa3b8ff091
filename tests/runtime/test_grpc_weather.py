"""Weather between gRPC services: faults meet calls, many of which share one connection."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from lab_services.lab import Lab
from lab_services.runtime.edge_grpc import HEAD_BYTES, HEADERS, PREFACE_BYTES, Frames
from tests.runtime.conftest import Maker, service, until, write
from tests.runtime.door import CALLER, DOOR, PROTO, WATCH, channel, knock, make_door, opened_locks, texts

LATENCY_SECONDS = 0.2
SLACK_SECONDS = 0.6  # a busy machine


class Windy:
    """A town whose desk reaches its door through an edge; the test calls in the desk's place."""

    def __init__(self, lab: Lab) -> None:
        settings = httpx.get(lab["desk"].url + "/settings").json()
        self.lab = lab
        self.target: str = settings["DOOR_URL"]
        self.replicas: list[str] = json.loads(Path(settings["DOOR_REPLICAS_FILE"]).read_text())
        self.edge = lab.edge("desk", "door")
        self.data = lab["door"].data


@pytest.fixture
def windy(make_town: Maker) -> Iterator[Windy]:
    """Start the town with an edge on which nothing is wrong yet."""
    door = service("door", target="door:serve", speaks="grpc", replicas=2)
    lab = make_town(service("desk", calls=("door",)), door, door=DOOR, desk=CALLER)
    write(lab.folder / "door.proto", PROTO)
    lab.start(weather="calm")
    yield Windy(lab)


def code(opened: grpc.Channel, lock: str = "", seconds: float = 10.0) -> grpc.StatusCode:
    """Return how a call ends."""
    try:
        knock(opened, lock, seconds)
    except grpc.RpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return grpc.StatusCode.OK


def test_an_edge_is_all_that_its_caller_may_reach(windy: Windy) -> None:
    """In weather, the caller's target is the edge, and so is the one entry of its list of replicas."""
    assert windy.replicas == [windy.target] and windy.target != windy.lab["door"].url
    with channel(windy.target) as opened:
        assert knock(opened)[1] == "hello"
    assert "through the weather" in repr(windy.lab.topology())


def test_latency_delays_each_way_and_does_not_add_up(windy: Windy) -> None:
    """A call takes twice the latency; ten calls at once on one connection take no longer than one."""
    with channel(windy.target) as opened, ThreadPoolExecutor(10) as pool:
        knock(opened)
        windy.edge.latency(LATENCY_SECONDS)
        began = time.monotonic()
        knock(opened)
        assert 2 * LATENCY_SECONDS <= time.monotonic() - began < 2 * LATENCY_SECONDS + SLACK_SECONDS
        began = time.monotonic()
        list(pool.map(lambda _: knock(opened), range(10)))
        assert time.monotonic() - began < 2 * LATENCY_SECONDS + SLACK_SECONDS
        windy.edge.clear()


def test_latency_lets_a_stream_flow(windy: Windy) -> None:
    """Each message of a stream is late by the latency, and none waits for the one before it."""
    with channel(windy.target) as opened:
        knock(opened)
        windy.edge.latency(LATENCY_SECONDS)
        stream = opened.unary_stream(WATCH)(b"", timeout=20)
        next(stream)
        began = time.monotonic()
        assert [texts(next(stream))[1] for _ in range(10)] == ["hello"] * 10
        assert time.monotonic() - began < 10 * LATENCY_SECONDS / 2  # ten messages, 20 ms apart
        stream.cancel()


def test_a_lost_answer_comes_after_the_effect(windy: Windy) -> None:
    """drop_answer(): the door has opened, the caller sees UNAVAILABLE, gRPC does not repeat it; the next call works."""
    with channel(windy.target) as opened:
        windy.edge.drop_answer(times=1)
        assert code(opened, "first") == grpc.StatusCode.UNAVAILABLE
        assert opened_locks(windy.data) == ["first"]
        until(lambda: code(opened, "again") == grpc.StatusCode.OK)
        windy.edge.drop_answer(times=1)
        assert code(opened, "second") == grpc.StatusCode.UNAVAILABLE
        assert opened_locks(windy.data).count("second") == 1


def test_a_deadline_meets_a_half_open_connection(windy: Windy) -> None:
    """half_open(): nothing comes back and nothing is refused; after clear() calls work again."""
    with channel(windy.target) as opened:
        knock(opened)
        windy.edge.half_open()
        assert code(opened, "lost", 0.3) == grpc.StatusCode.DEADLINE_EXCEEDED
        windy.edge.clear()
        until(lambda: code(opened) == grpc.StatusCode.OK)
        assert "lost" not in opened_locks(windy.data)


def test_refused_and_reset_connections_are_unavailable(windy: Windy) -> None:
    """reset() breaks the calls under way; refuse() and reset() leave new connections nothing; clear() mends it."""
    with channel(windy.target) as opened, ThreadPoolExecutor() as pool:
        slow = pool.submit(code, opened, "slow")
        until((windy.data / "begun").exists)
        windy.edge.reset()
        assert slow.result() == grpc.StatusCode.UNAVAILABLE
        (windy.data / "go").touch()
    for fault in (windy.edge.refuse, windy.edge.reset):
        fault()
        with channel(windy.target) as opened:
            assert code(opened, "refused") == grpc.StatusCode.UNAVAILABLE
            windy.edge.clear()
            until(lambda: code(opened) == grpc.StatusCode.OK)
    assert "refused" not in opened_locks(windy.data)


def test_the_same_seed_brings_the_same_weather_to_the_same_calls(make_town: Maker) -> None:
    """Two runs of 40 calls, one after the other, in a storm with the same seed fail at the same places."""
    door = service("door", target="door:serve", speaks="grpc")
    lab = make_town(service("desk", calls=("door",)), door, door=DOOR, desk=CALLER)
    write(lab.folder / "door.proto", PROTO)
    runs = []
    for _ in range(2):
        lab.start(weather="storm", seed=7)
        target = httpx.get(lab["desk"].url + "/settings").json()["DOOR_URL"]
        met = []
        for n in range(40):
            with channel(target) as opened:
                met.append((code(opened, f"n{n}"), f"n{n}" in opened_locks(lab["door"].data)))
        runs.append(met)
    assert runs[0] == runs[1]
    unavailable = grpc.StatusCode.UNAVAILABLE
    assert (unavailable, True) in runs[0] and (unavailable, False) in runs[0]  # lost answers, and calls that never came


def test_calls_follow_a_service_that_moves(windy: Windy) -> None:
    """Through an edge, too, a restart is not noticed by the next call."""
    with channel(windy.target) as opened:
        pid = knock(opened)[2]
        windy.lab.restart("door")
        until(lambda: code(opened) == grpc.StatusCode.OK)
        assert knock(opened)[2] != pid


def test_frames_are_found_however_the_bytes_are_cut() -> None:
    """The cutter finds the same frames in one piece, byte by byte, and in pieces of seven."""
    frames = [(HEADERS, 1, b"x" * 20), (4, 0, b""), (0, 1, b"y" * 300), (HEADERS, 3, b"z")]
    told = b"".join(len(c).to_bytes(3, "big") + bytes([k, 0]) + s.to_bytes(4, "big") + c for k, s, c in frames)
    told = b"P" * PREFACE_BYTES + told
    for step in (1, 7, len(told)):
        cutter = Frames(PREFACE_BYTES)
        pieces = [p for at in range(0, len(told), step) for p in cutter.split(told[at : at + step])]
        assert b"".join(piece.content for piece in pieces) == told
        begun = [piece for piece in pieces if piece.kind is not None]
        assert [(piece.kind, piece.stream) for piece in begun] == [(k, s) for k, s, _ in frames]
        assert {len(piece.content) for piece in begun} == {HEAD_BYTES}


def test_without_weather_there_is_no_edge(make_town: Maker) -> None:
    """A gRPC service alone starts in weather, too: it has no edge to be broken."""
    lab = make_door(make_town)
    lab.start(weather="calm")
    with channel(lab["door"].url) as opened:
        assert knock(opened)[1] == "hello"
