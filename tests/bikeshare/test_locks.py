"""The locks: what each call answers, what is opened once however often and wherever it is asked, and what stops."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from lab_services.bikeshare.locks_messages import messages, services
from tests.bikeshare.locks_town import Gateway, ask, locks_gateway, outcome, stub_of, talk, wish
from tests.bikeshare.town import STOP_SECONDS, eventually

NAME = "bikeshare.locks.v1.LocksService"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Three replicas on one ledger, whose devices are slow enough for a crowd to meet on their way."""
    with locks_gateway(tmp_path_factory.mktemp("locks"), 3, DEVICE_SECONDS="0.1") as gateway:
        yield gateway
        assert "Traceback" not in gateway.logs()


def openings(gateway: Gateway, lock_id: str) -> list[tuple[Any, ...]]:
    query = "SELECT ride_id, request_id, kind FROM openings WHERE lock_id = ? ORDER BY seq"
    return gateway.rows(query, lock_id)


def code(answer: Any) -> StatusCode:
    return answer[0] if isinstance(answer, tuple) else StatusCode.OK


async def crowd(gateway: Gateway, wishes: list[dict[str, str]]) -> list[Any]:
    """Send these Unlocks at once, spread over all replicas."""
    async with AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(stub_of(target)) for target in gateway.targets]
        calls = [outcome(stubs[number % 3], "Unlock", **each) for number, each in enumerate(wishes)]
        return await asyncio.gather(*calls)


def test_a_lock_opens_for_a_ride_and_closes_after_it(gateway: Gateway) -> None:
    """Unlock and Lock move the bolt, and every replica knows of it at once."""
    opened = ask(gateway, "Unlock", **wish("l-01"))
    assert (opened.event.lock_id, opened.event.ride_id) == ("l-01", "r-1")
    assert opened.event.kind == messages.EVENT_KIND_OPENED
    assert abs(opened.event.at.ToSeconds() - time.time()) < 60 and not opened.answered_before
    lock = ask(gateway, "GetLock", replica=1, lock_id="l-01").lock
    assert (lock.state, lock.ride_id, lock.bike_id) == (messages.LOCK_STATE_OPEN, "r-1", "b-01")
    closed = ask(gateway, "Lock", replica=2, **wish("l-01"))
    assert closed.event.sequence > opened.event.sequence
    lock = ask(gateway, "GetLock", lock_id="l-01").lock
    assert (lock.state, lock.ride_id) == (messages.LOCK_STATE_CLOSED, "")
    assert openings(gateway, "l-01") == [("r-1", None, "opened"), ("r-1", None, "closed")]


def test_unlock_alone_may_not_be_repeated_and_with_a_request_id_it_may(gateway: Gateway) -> None:
    """Without a request id two calls are two openings, with the same one they are one and the same."""
    for _ in range(2):
        assert not ask(gateway, "Unlock", **wish("l-02")).answered_before
    assert len(openings(gateway, "l-02")) == 2
    first = ask(gateway, "Unlock", **wish("l-03", request_id="tap-1"))
    again = ask(gateway, "Unlock", replica=1, **wish("l-03", request_id="tap-1"))
    assert (first.event, first.answered_before, again.answered_before) == (again.event, False, True)
    assert openings(gateway, "l-03") == [("r-1", "tap-1", "opened")]


def test_a_lock_is_closed_once(gateway: Gateway) -> None:
    """A Lock that is repeated answers the same closing, with or without a request id."""
    ask(gateway, "Unlock", **wish("l-04"))
    first, again = (ask(gateway, "Lock", replica=number, **wish("l-04")) for number in (0, 1))
    assert (first.event, again.answered_before) == (again.event, True)
    assert len(openings(gateway, "l-04")) == 2


REFUSALS = [
    ("Unlock", wish("l-99"), StatusCode.NOT_FOUND, "there is no lock l-99"),
    ("Lock", wish("l-99"), StatusCode.NOT_FOUND, "l-99"),
    ("GetLock", {"lock_id": "l-99"}, StatusCode.NOT_FOUND, "l-99"),
    ("GetBattery", {"lock_id": "l-99"}, StatusCode.NOT_FOUND, "l-99"),
    ("Unlock", wish(""), StatusCode.INVALID_ARGUMENT, "lock_id:"),
    ("Unlock", wish("l-10", ""), StatusCode.INVALID_ARGUMENT, "ride_id:"),
    ("Unlock", wish("l-10", "r 1"), StatusCode.INVALID_ARGUMENT, "ride_id:"),
    ("Unlock", wish("l-10", "r-1\n"), StatusCode.INVALID_ARGUMENT, "ride_id:"),
    ("Unlock", wish("l-10", "r-1", "ü"), StatusCode.INVALID_ARGUMENT, "request_id:"),
    ("Lock", wish("l-10", "x" * 65), StatusCode.INVALID_ARGUMENT, "ride_id:"),
    ("GetLock", {"lock_id": "l\0"}, StatusCode.INVALID_ARGUMENT, "lock_id:"),
    ("GetBattery", {}, StatusCode.INVALID_ARGUMENT, "lock_id:"),
    ("ListLocks", {"lock_ids": ["l-01"] * 201}, StatusCode.INVALID_ARGUMENT, "lock_ids:"),
    ("Unlock", wish("l-05", "r-2"), StatusCode.FAILED_PRECONDITION, "open for another ride"),
    ("Lock", wish("l-05", "r-2"), StatusCode.FAILED_PRECONDITION, "not open for ride r-2"),
    ("Lock", wish("l-06"), StatusCode.FAILED_PRECONDITION, "not open for ride r-1"),
    ("Unlock", wish("l-07"), StatusCode.FAILED_PRECONDITION, "empty battery"),
    ("Unlock", wish("l-06", "r-1", "tap-5"), StatusCode.ALREADY_EXISTS, "opened lock l-05"),
    ("Unlock", wish("l-05", "r-2", "tap-5"), StatusCode.ALREADY_EXISTS, "opened lock l-05"),
    ("Lock", wish("l-05", "r-1", "tap-5"), StatusCode.ALREADY_EXISTS, "opened lock l-05"),
]


def test_every_refusal_has_its_status_and_names_what_is_wrong(gateway: Gateway) -> None:
    """The table of codes of the interface, call by call; what is refused moves nothing."""
    ask(gateway, "Unlock", **wish("l-05", request_id="tap-5"))
    gateway.run("UPDATE locks SET battery_percent = 0 WHERE lock_id = 'l-07'")
    before = gateway.rows("SELECT * FROM openings")
    for rpc, fields, status, says in REFUSALS:
        found, details = ask(gateway, rpc, **fields)
        assert found is status and says in details, (rpc, fields, found, details)
    assert gateway.rows("SELECT * FROM openings") == before


def test_of_many_rides_one_gets_the_lock(gateway: Gateway) -> None:
    """Thirty rides that want one lock at once, at three replicas: it opens for one, the others are refused."""
    wishes = [wish("l-11", f"r-{number}", f"crowd-{number}") for number in range(30)]
    answers = asyncio.run(crowd(gateway, wishes))
    assert sorted(code(each).name for each in answers) == ["FAILED_PRECONDITION"] * 29 + ["OK"]
    assert len(openings(gateway, "l-11")) == 1


def test_of_many_equal_requests_one_moves_the_bolt(gateway: Gateway) -> None:
    """Thirty copies of one request at three replicas are one opening, and all of them are told of it."""
    answers = asyncio.run(crowd(gateway, [wish("l-12", request_id="storm")] * 30))
    assert {each.event.sequence for each in answers} == {answers[0].event.sequence}
    assert sum(not each.answered_before for each in answers) == 1
    assert len(openings(gateway, "l-12")) == 1


def test_many_locks_come_in_one_answer(gateway: Gateway) -> None:
    """ListLocks answers those that were asked for and exist, or all; GetBattery asks the device."""
    some = ask(gateway, "ListLocks", lock_ids=["l-09", "l-99", "l-08"]).locks
    assert [each.lock_id for each in some] == ["l-08", "l-09"]
    assert len(ask(gateway, "ListLocks").locks) == 64
    assert ask(gateway, "GetBattery", lock_id="l-08").battery_percent == some[0].battery_percent == 92


def test_a_deadline_and_a_cancel_stop_the_device(tmp_path: Path) -> None:
    """A caller that leaves while the device works stops it within 100 ms, and no bolt moves for it ever after."""
    with locks_gateway(tmp_path, DEVICE_SECONDS="1.5") as gateway:

        async def leave(stub: Any) -> float:
            assert code(await outcome(stub, "Unlock", seconds=0.3, **wish("l-01"))) is StatusCode.DEADLINE_EXCEEDED
            call = stub.Unlock(messages.UnlockRequest(**wish("l-02")))
            while len(gateway.rows("SELECT * FROM calls WHERE lock_id = 'l-02'")) < 1:
                await asyncio.sleep(0.01)
            left = time.time()
            call.cancel()
            assert code(await outcome(stub, "Unlock", **wish("l-03"))) is StatusCode.OK  # longer than both had to go
            return left

        left = talk(gateway, leave)
        assert gateway.rows("SELECT lock_id FROM openings") == [("l-03",)]
        facts = "SELECT code, ended_at - began_at, ended_at FROM calls WHERE lock_id = ?"
        eventually(lambda: gateway.rows("SELECT * FROM calls WHERE lock_id = 'l-03' AND code = 'OK'"))
        [(first, took, _)] = gateway.rows(facts, "l-01")
        [(second, _, ended)] = gateway.rows(facts, "l-02")
        assert (first, second) == ("DEADLINE_EXCEEDED", "CANCELLED")
        assert took < 0.8 and ended - left < 0.6  # 100 ms on a machine with nothing else to do


def test_a_caller_that_left_while_others_wrote_moves_nothing(tmp_path: Path) -> None:
    """Who goes away while its opening waits for the database gets no opening when the database is free again."""
    with locks_gateway(tmp_path, DEVICE_SECONDS="0") as gateway:

        async def leave(stub: Any) -> None:
            with closing(sqlite3.connect(gateway.folder / "locks.db", isolation_level=None)) as writer:
                writer.execute("BEGIN IMMEDIATE")
                answers = await asyncio.gather(
                    *(outcome(stub, "Unlock", seconds=0.5, **wish(f"l-0{number}")) for number in range(1, 9))
                )
                assert {code(each) for each in answers} == {StatusCode.DEADLINE_EXCEEDED}
                assert code(await outcome(stub, "GetLock", lock_id="l-01")) is StatusCode.OK
                await asyncio.sleep(0.1)
            assert code(await outcome(stub, "Unlock", **wish("l-09"))) is StatusCode.OK

        talk(gateway, leave)
        assert gateway.rows("SELECT lock_id FROM openings") == [("l-09",)]


def test_what_a_bolt_did_stays_done(tmp_path: Path) -> None:
    """A caller that leaves before the device could report has an opening; the same request id finds it."""
    with locks_gateway(tmp_path, DEVICE_SECONDS="0", CONFIRM_SECONDS="0.5") as gateway:

        async def lose(stub: Any) -> Any:
            lost = await outcome(stub, "Unlock", seconds=0.3, **wish("l-01", request_id="tap"))
            assert code(lost) is StatusCode.DEADLINE_EXCEEDED
            return await outcome(stub, "Unlock", **wish("l-01", request_id="tap"))

        assert talk(gateway, lose).answered_before
        assert openings(gateway, "l-01") == [("r-1", "tap", "opened")]


def test_a_device_in_trouble_fails_as_often_as_it_is_told_to(gateway: Gateway) -> None:
    """A row of troubles fails a command before or after the bolt has moved, and is spent."""
    plan = [("l-20", "UNAVAILABLE", 0, 2), ("l-21", "INTERNAL", 1, 1)]
    for row in plan:
        gateway.run("INSERT INTO troubles VALUES (?, ?, ?, ?)", *row)
    before = [code(ask(gateway, "Unlock", **wish("l-20", request_id=f"t-{number}"))).name for number in range(3)]
    assert before == ["UNAVAILABLE", "UNAVAILABLE", "OK"]
    after = [ask(gateway, "Unlock", **wish("l-21", request_id="t-9")) for _ in range(2)]
    assert code(after[0]) is StatusCode.INTERNAL and after[1].answered_before
    assert len(openings(gateway, "l-20")) == len(openings(gateway, "l-21")) == 1


def test_every_call_is_noted(gateway: Gateway) -> None:
    """A row of calls tells the rpc, the lock, the time the caller had left, its status, connection and trace."""

    async def call(stub: Any) -> None:
        trace = (("traceparent", "00-ab-cd-01"),)
        await stub.GetLock(messages.GetLockRequest(lock_id="l-40"), timeout=7, metadata=trace)
        await stub.GetLock(messages.GetLockRequest(lock_id="l-41"))
        await outcome(stub, "GetLock", lock_id="l-77")

    talk(gateway, call)
    eventually(lambda: gateway.rows("SELECT * FROM calls WHERE lock_id = 'l-77' AND code = 'NOT_FOUND'"))
    query = "SELECT rpc, lock_id, traceparent, attempt, remaining_seconds, code FROM calls WHERE lock_id >= 'l-40'"
    with_deadline, without, _ = gateway.rows(f"{query} AND rpc = 'GetLock' AND lock_id < 'l-99' ORDER BY began_at")
    assert with_deadline[:4] == ("GetLock", "l-40", "00-ab-cd-01", 1) and 5 < with_deadline[4] < 7.1
    assert without == ("GetLock", "l-41", None, 1, None, "OK")
    peers = gateway.rows("SELECT count(DISTINCT peer), min(replica) FROM calls WHERE lock_id IN ('l-40', 'l-41')")
    assert peers == [(1, gateway.processes[0].pid)]


def test_retries_of_grpc_itself_are_told_apart(gateway: Gateway) -> None:
    """A retry policy of the client's channel is seen as the attempts of one call, in their order."""
    policy = {"maxAttempts": 3, "initialBackoff": "0.02s", "maxBackoff": "0.02s", "backoffMultiplier": 1}
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy | {"retryableStatusCodes": ["UNAVAILABLE"]}}]}
    gateway.run("INSERT INTO troubles VALUES ('l-22', 'UNAVAILABLE', 0, 2)")

    async def call() -> Any:
        options = [("grpc.service_config", json.dumps(config))]
        async with grpc.aio.insecure_channel(gateway.targets[0], options) as channel:
            return await outcome(services.LocksServiceStub(channel), "Unlock", **wish("l-22"))

    assert code(asyncio.run(call())) is StatusCode.OK
    query = "SELECT attempt, code FROM calls WHERE lock_id = 'l-22' ORDER BY began_at"
    told = [(1, "UNAVAILABLE"), (2, "UNAVAILABLE"), (3, "OK")]
    eventually(lambda: gateway.rows(query) == told)


def test_the_gateway_says_by_the_standard_services_what_it_is_and_whether_it_works(tmp_path: Path) -> None:
    """Reflection names the interface; health is SERVING only while the ledger can be read."""
    with locks_gateway(tmp_path) as gateway:
        with grpc.insecure_channel(gateway.targets[0]) as channel:
            asked = reflection_pb2.ServerReflectionRequest(list_services="")
            [told] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=20)
            assert NAME in {each.name for each in told.list_services_response.service}
            check = health_pb2_grpc.HealthStub(channel).Check

            def health() -> int:
                states = {check(health_pb2.HealthCheckRequest(service=name), timeout=20).status for name in ("", NAME)}
                return states.pop() if len(states) == 1 else 0

            assert health() == health_pb2.HealthCheckResponse.SERVING
            away = gateway.folder.rename(tmp_path / "away")
            eventually(lambda: health() == health_pb2.HealthCheckResponse.NOT_SERVING)
            assert code(ask(gateway, "GetLock", lock_id="l-01")) is StatusCode.UNAVAILABLE
            assert code(ask(gateway, "Unlock", **wish("l-01"))) is StatusCode.UNAVAILABLE
            away.rename(gateway.folder)
            eventually(lambda: health() == health_pb2.HealthCheckResponse.SERVING)
            assert code(ask(gateway, "Unlock", **wish("l-01"))) is StatusCode.OK


def test_a_replica_that_leaves_finishes_its_calls(tmp_path: Path) -> None:
    """On SIGTERM a call under way is answered, and its note is written; the ledger outlives the replica."""
    with locks_gateway(tmp_path, DEVICE_SECONDS="0.5") as gateway:

        async def leave(stub: Any) -> Any:
            call = stub.Unlock(messages.UnlockRequest(**wish("l-01")))
            while not gateway.rows("SELECT * FROM calls"):
                await asyncio.sleep(0.01)
            gateway.processes[0].send_signal(signal.SIGTERM)
            return await call

        assert talk(gateway, leave).event.sequence == 1
        assert gateway.processes[0].wait(STOP_SECONDS) == 0
        assert gateway.rows("SELECT code FROM calls") == [("OK",)]
        assert gateway.logs().count("\n") == 1
    with locks_gateway(tmp_path) as gateway:
        assert ask(gateway, "GetLock", lock_id="l-01").lock.ride_id == "r-1"
