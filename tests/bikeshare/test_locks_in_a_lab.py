"""The locks as a lab runs them: three replicas that start at once, come and go under load, and send streams away."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from lab_services.bikeshare.locks_messages import messages, services
from lab_services.lab import Lab
from tests.bikeshare.locks_town import outcome, status_of, stub_of, wish
from tests.bikeshare.town import eventually
from tests.runtime.conftest import service, town_spec
from tests.runtime.door import RETRY, channel

NAME = "bikeshare.locks.v1.LocksService"
START_SECONDS = 8.0  # about one on a machine with nothing else to do
STOP_SECONDS = 5.0  # a stream that nobody ends would be waited for as long as draining takes, and longer
CALL_SECONDS = 20.0
ROUND_ROBIN = {"loadBalancingConfig": [{"round_robin": {}}]}
Maker = Callable[..., Lab]


@pytest.fixture
def make_city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    """Make a lab with nothing but the locks; it is closed at the end, and its log shows no mistake of ours."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    with ExitStack() as stack:

        def make(replicas: int = 3, launch: str = "warm", **env: str) -> Lab:
            locks = service(
                "locks", kind="use", target="locks", speaks="grpc", replicas=replicas, launch=launch, env=env
            )
            lab = Lab(town_spec(tmp_path, locks), tmp_path, tmp_path / "runs")
            stack.callback(lab.close)
            lab.start()
            stack.callback(lambda: check_logs(tmp_path / "runs" / "logs"))
            return lab

        yield make


def check_logs(folder: Path) -> None:
    told = [file.read_text() for file in folder.glob("locks*")]
    assert told and not any("Traceback" in each for each in told), told


def rows(lab: Lab, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(lab["locks"].data / "locks.db", timeout=5)) as db:
        return db.execute(query).fetchall()


@contextmanager
def riders(target: str, policy: object = None, count: int = 4) -> Iterator[list[str]]:
    """Let riders open locks without a pause, each with a request id of its own; a call that fails is an error."""
    done: list[str] = []
    failed: list[str] = []
    stop = threading.Event()

    def ride(rider: int) -> None:
        with channel(target, policy) as opened:
            stub, number = services.LocksServiceStub(opened), 0
            while not stop.is_set():
                number += 1
                tap = f"tap-{rider}-{number}"
                try:
                    stub.Unlock(messages.UnlockRequest(**wish(f"l-{rider:02}", request_id=tap)), timeout=CALL_SECONDS)
                    done.append(tap)
                except grpc.RpcError as error:
                    failed.append(f"{tap}: {error.code()} {error.details()}")

    threads = [threading.Thread(target=ride, args=(rider,)) for rider in range(1, count + 1)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join(CALL_SECONDS)
    assert failed == []


def more(done: list[str], count: int = 20) -> None:
    """Wait until the riders have opened some more locks."""
    before = len(done)
    eventually(lambda: len(done) >= before + count, within=CALL_SECONDS)


def check_ledger(lab: Lab, done: list[str]) -> None:
    """Assert that each call that was answered is one line of the ledger, and nothing else is."""
    assert sorted(done) == [tap for (tap,) in rows(lab, "SELECT request_id FROM openings ORDER BY request_id")]


@pytest.mark.parametrize("launch", ["warm", "cold"])
def test_three_replicas_start_at_once_and_say_what_they_are(make_city: Maker, launch: str) -> None:
    """start() returns with three replicas that serve, each with health and reflection, on one ledger."""
    began = time.monotonic()
    lab = make_city(launch=launch)
    assert time.monotonic() - began < START_SECONDS
    targets = lab["locks"].replica_urls
    assert len(set(targets)) == 3 and lab["locks"].url == targets[0]
    for number, target in enumerate(targets):
        with channel(target) as opened:
            check = health_pb2_grpc.HealthStub(opened).Check
            for name in ("", NAME):
                assert check(health_pb2.HealthCheckRequest(service=name), timeout=CALL_SECONDS).status == 1
            known = ProtoReflectionDescriptorDatabase(opened)
            assert NAME in known.get_services()
            assert known.FindFileContainingSymbol("bikeshare.locks.v1.UnlockRequest").name.endswith("locks.proto")
            request = messages.UnlockRequest(**wish("l-01", request_id=f"tap-{number}"))
            answer = services.LocksServiceStub(opened).Unlock(request, timeout=CALL_SECONDS)
            assert answer.event.sequence == number + 1


def test_restarts_under_load_lose_no_call(make_city: Maker) -> None:
    """Five restarts while four riders call one replica without pause: every call is answered and done once."""
    lab = make_city(replicas=1)
    with riders(lab["locks"].url) as done:
        for _ in range(5):
            more(done)
            lab.restart("locks")
        more(done)
    check_ledger(lab, done)
    assert len(rows(lab, "SELECT DISTINCT replica FROM calls")) == 6


def test_replicas_come_and_go_under_load(make_city: Maker) -> None:
    """From one replica to three and to two, with riders on all that there are: no call is lost or done twice."""
    lab = make_city(replicas=1)
    lab.scale("locks", 3)
    with riders("ipv4:" + ",".join(lab["locks"].replica_urls), ROUND_ROBIN | RETRY) as done:
        more(done)
        lab.scale("locks", 2)
        more(done)
        lab.restart("locks")
        more(done)
    check_ledger(lab, done)
    assert len(lab["locks"].replica_urls) == 2


def test_a_killed_replica_is_missed_by_nobody_who_retries(make_city: Maker) -> None:
    """kill -9 of a replica under load: riders that retry with their request id lose nothing and open nothing twice."""
    lab = make_city()
    with riders("ipv4:" + ",".join(lab["locks"].replica_urls), ROUND_ROBIN | RETRY) as done:
        more(done)
        lab.kill("locks", replica=2)
        more(done)
        lab.launch("locks")
        more(done)
    check_ledger(lab, done)


def test_streams_are_sent_to_another_replica(make_city: Maker) -> None:
    """A restart ends each stream with UNAVAILABLE at once; a watcher goes on where it was, at any replica."""
    lab = make_city(replicas=2)

    async def follow() -> None:
        here, there = lab["locks"].replica_urls
        async with stub_of(here) as leaving, stub_of(there) as staying:
            watcher, session, track = (
                leaving.WatchLocks(messages.WatchLocksRequest(after_sequence=0)),
                leaving.LockSession(),
                leaving.RecordPositions(),
            )
            await session.write(messages.LockSessionRequest(command=1, **wish("l-01")))
            assert (await session.read()).event.sequence == (await watcher.read()).event.sequence == 1
            await track.write(messages.RecordPositionsRequest(lock_id="l-01", position=messages.Position()))
            await asyncio.to_thread(eventually, lambda: len(rows(lab, "SELECT * FROM calls WHERE code IS NULL")) == 3)
            began = time.monotonic()
            await asyncio.to_thread(lab.restart, "locks")
            for call in (watcher, session, track):
                assert (await status_of(call)) == (StatusCode.UNAVAILABLE, "this replica leaves")
            assert time.monotonic() - began < STOP_SECONDS
            await outcome(staying, "Unlock", **wish("l-02"))
            again = leaving.WatchLocks(messages.WatchLocksRequest(after_sequence=1))
            assert (await again.read()).event.lock_id == "l-02"
            again.cancel()

    asyncio.run(asyncio.wait_for(follow(), 3 * CALL_SECONDS))
    assert rows(lab, "SELECT DISTINCT code FROM calls WHERE rpc LIKE '%Session' OR rpc LIKE 'Rec%'") == [
        ("UNAVAILABLE",)
    ]


def test_stop_ends_the_streams_of_all_replicas(make_city: Maker) -> None:
    """stop() does not wait for watchers: each one is told UNAVAILABLE, and the city has stopped soon."""
    lab = make_city()

    async def watch() -> None:
        async with stub_of(lab["locks"].replica_urls[0]) as one, stub_of(lab["locks"].replica_urls[2]) as three:
            calls = [stub.WatchLocks(messages.WatchLocksRequest()) for stub in (one, three) for _ in range(3)]
            for call in calls:
                await call.initial_metadata()
            began = time.monotonic()
            await asyncio.to_thread(lab.stop)
            assert time.monotonic() - began < STOP_SECONDS
            assert {await call.code() for call in calls} == {StatusCode.UNAVAILABLE}

    asyncio.run(asyncio.wait_for(watch(), 3 * CALL_SECONDS))
