"""The fake gRPC service: what it notes, what it answers, and the trouble that a check can order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lab_services.bikeshare.interfaces import compiled
from lab_services.checks import FakeGrpc, GrpcCall, GrpcError, eventually, together

messages, services = compiled("bikeshare/locks/v1/locks.proto")
CALL_SECONDS = 5.0
ASK = messages.GetBatteryRequest(lock_id="l-01")


def battery(call: GrpcCall) -> Any:
    """Answer what the device of a lock would."""
    return messages.GetBatteryResponse(battery_percent=80)


@pytest.fixture
def fake() -> Iterator[FakeGrpc]:
    """A fake gateway of the locks."""
    opened = FakeGrpc(battery)
    yield opened
    opened.close()


@pytest.fixture
def stub(fake: FakeGrpc) -> Iterator[Any]:
    """A stub of the locks on a connection of its own to the fake."""
    with grpc.insecure_channel(fake.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield services.LocksServiceStub(channel)


def code_of(stub: Any, seconds: float = CALL_SECONDS) -> str:
    """Ask for a battery and return the name of the code, and the details."""
    try:
        stub.GetBattery(ASK, timeout=seconds)
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}".strip()
    return "OK"


def test_it_notes_each_call(fake: FakeGrpc, stub: Any) -> None:
    """A call is noted with its method, bytes, metadata, the time that was left, its connection and its end."""
    answer = stub.GetBattery(ASK, timeout=CALL_SECONDS, metadata=[("traceparent", "00-1-2-01")])
    assert answer.battery_percent == 80
    stub.GetBattery(ASK)
    first, second = fake.calls_to("GetBattery")
    assert messages.GetBatteryRequest.FromString(first.request) == ASK and fake.calls == (first, second)
    assert first.metadata["traceparent"] == "00-1-2-01" and first.attempt == 1
    assert 0 < first.remaining_seconds <= CALL_SECONDS * 1.03 and second.remaining_seconds is None
    assert first.peer == second.peer and first.began_at <= second.began_at and str(first) == "GetBattery"
    assert first.over.wait(CALL_SECONDS) and second.over.wait(CALL_SECONDS)


def test_it_answers_any_method_with_one_message_or_many(fake: FakeGrpc) -> None:
    """Bytes in, bytes out, one or several on either side, of a service that no .proto describes."""
    fake.handler = lambda call: [b"-".join(call.messages), b"", call.request] if call.method == "Tell" else b"one"
    with grpc.insecure_channel(fake.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        assert channel.unary_unary("/any.Service/Ask")(b"x", timeout=CALL_SECONDS) == b"one"
        told = channel.stream_stream("/any.Service/Tell")(iter([b"a", b"b"]), timeout=CALL_SECONDS)
        assert list(told) == [b"a-b", b"", b"a"]


def test_it_fails_as_often_as_told(fake: FakeGrpc, stub: Any) -> None:
    """Orders hold for some calls of some method; with `after` the work is done and its answer is lost."""
    worked: list[str] = []
    fake.handler = lambda call: (worked.append(call.method), battery(call))[1]
    fake.fail("UNAVAILABLE", "no power", times=2, method="GetBattery")
    fake.fail("ABORTED", method="Unlock")
    fake.fail("INTERNAL", after=True)
    assert [code_of(stub) for _ in range(4)] == ["UNAVAILABLE no power"] * 2 + ["INTERNAL", "OK"]
    assert worked == ["GetBattery", "GetBattery"] and len(fake.calls) == 4
    fake.clear()
    stub.Unlock(messages.UnlockRequest(), timeout=CALL_SECONDS)


def test_a_handler_may_raise(fake: FakeGrpc, stub: Any) -> None:
    """GrpcError ends a call with its code, details and trailing metadata; anything else is UNKNOWN."""

    def refuse(call: GrpcCall) -> None:
        raise GrpcError("NOT_FOUND", "no such lock", [("hint", "l-02")])

    fake.handler = refuse
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetBattery(ASK, timeout=CALL_SECONDS)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND and caught.value.details() == "no such lock"
    assert dict(caught.value.trailing_metadata())["hint"] == "l-02"
    fake.handler = lambda call: {}["no such key"]
    assert code_of(stub).startswith("UNKNOWN")


def test_it_waits_and_hangs(fake: FakeGrpc, stub: Any) -> None:
    """A delay holds a call up, a hang holds it until its caller leaves; whoever comes beside is answered."""
    fake.delay(CALL_SECONDS, times=1)
    assert code_of(stub, 0.2).startswith("DEADLINE_EXCEEDED") and fake.calls[0].over.wait(CALL_SECONDS)
    fake.hang(times=1)
    hung = stub.GetBattery.future(ASK, timeout=CALL_SECONDS)
    assert eventually(lambda: len(fake.calls) == 2) and not fake.calls[1].over.is_set()
    assert set(together([lambda: code_of(stub) for _ in range(20)])) == {"OK"}
    hung.cancel()
    assert fake.calls[1].over.wait(CALL_SECONDS)


def test_to_close_it_cuts_off_what_hangs() -> None:
    """At the end no thread of it is left, whatever its callers wait for."""
    before = threading.active_count()
    fake = FakeGrpc(battery)
    fake.hang()
    with grpc.insecure_channel(fake.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = services.LocksServiceStub(channel)
        hung = stub.GetBattery.future(ASK, timeout=30)
        assert eventually(lambda: fake.calls)
        fake.close()
        assert eventually(hung.done) and hung.code() is not grpc.StatusCode.OK
    assert eventually(lambda: threading.active_count() <= before)


def test_grpc_retries_are_counted(fake: FakeGrpc) -> None:
    """A try that gRPC itself makes has the next number; what a server pushes back is heard."""
    policy = (
        '{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "0.01s",'
        ' "maxBackoff": "0.01s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}'
    )
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", policy)]
    with grpc.insecure_channel(fake.target, options=options) as channel:
        fake.fail("UNAVAILABLE", times=2)
        assert code_of(services.LocksServiceStub(channel)) == "OK"
        assert [call.attempt for call in fake.calls] == [1, 2, 3]
        fake.fail("UNAVAILABLE", metadata=[("grpc-retry-pushback-ms", "-1")])
        assert code_of(services.LocksServiceStub(channel)).startswith("UNAVAILABLE") and len(fake.calls) == 4


def test_it_answers_health_checks(fake: FakeGrpc) -> None:
    """It serves, says its health, and the ledger does not know of it."""
    with grpc.insecure_channel(fake.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=CALL_SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING and fake.calls == ()
