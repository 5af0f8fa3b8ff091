"""How checks talk gRPC: what a call has come to is told in words, nothing hangs, and the locks' ledger can be read."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from lab_services.bikeshare.locks_messages import messages, services
from lab_services.checks.grpc_probes import End, LocksLedger, ask, begin, channel, ended
from tests.bikeshare.locks_town import Gateway, locks_gateway, wish

SECONDS = 20.0


class Echo:
    """Answers in upper case, refuses nothing at all, waits for `go` where told to; notes peers and deadlines."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.met: list[tuple[str, float | None, dict[str, Any]]] = []

    def answer(self, request: bytes, context: Any) -> bytes:
        self.met.append((context.peer(), context.time_remaining(), dict(context.invocation_metadata())))
        if not request:
            context.abort(StatusCode.INVALID_ARGUMENT, "nothing was said")
        if request == b"wait":
            self.go.wait(SECONDS)
        return request.upper()


@pytest.fixture
def echo() -> Iterator[Echo]:
    """A server whose calls take bytes and answer bytes."""
    made = Echo()
    handler = grpc.method_handlers_generic_handler(
        "toy.Echo", {"Say": grpc.unary_unary_rpc_method_handler(made.answer)}
    )
    server = grpc.server(ThreadPoolExecutor(4), [handler])
    made.url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined]
    server.start()
    yield made
    made.go.set()
    server.stop(None).wait(SECONDS)


@pytest.fixture
def say(echo: Any) -> Iterator[Any]:
    """The one method of the server."""
    with channel(echo.url) as opened:
        yield opened.unary_unary("/toy.Echo/Say")


def test_the_end_of_a_call_is_told(say: Any) -> None:
    """An answer, a refusal and a deadline are each an End with code and words; none of them is raised."""
    assert (ask(say, b"ada").code, ask(say, b"ada").message) == (StatusCode.OK, b"ADA")
    assert ask(say, b"") == End(StatusCode.INVALID_ARGUMENT, "nothing was said")
    assert str(ask(say, b"")) == "INVALID_ARGUMENT: nothing was said"
    assert ask(say, b"wait", seconds=0.2).code is StatusCode.DEADLINE_EXCEEDED


def test_a_call_ends_when_the_check_cancels_it(say: Any, echo: Any) -> None:
    """A cancelled call has ended with CANCELLED."""
    call = begin(say, b"wait")
    call.cancel()
    assert ended(call).code is StatusCode.CANCELLED


def test_no_call_is_waited_for_without_end(say: Any, echo: Any) -> None:
    """A call without a deadline that nobody answers is given up, and the server sees no deadline."""
    began = time.monotonic()
    end = ask(say, b"wait", seconds=None, within=0.3)
    assert end.code is None and end.name == "no end" and time.monotonic() - began < SECONDS / 2
    assert ask(say, b"ada", seconds=None).message == b"ADA"
    assert [remaining is None or remaining > 1e6 for _, remaining, _ in echo.met] == [True, True]


def test_metadata_and_deadline_arrive(say: Any, echo: Any) -> None:
    """What a check sends along is what the server sees."""
    ask(say, b"ada", seconds=7, metadata=[("traceparent", "00-1-2-01")])
    _, remaining, metadata = echo.met[0]
    assert 6 < remaining < 7.1, "gRPC rounds the time up that it sends: a few hundredths of a second more may arrive"
    assert metadata["traceparent"] == "00-1-2-01"


def test_two_channels_are_two_connections(echo: Any) -> None:
    """Channels to one target share nothing: the server meets two peers."""
    for _ in range(2):
        with channel(echo.url) as opened:
            assert ask(opened.unary_unary("/toy.Echo/Say"), b"ada").message == b"ADA"
    assert len({peer for peer, _, _ in echo.met}) == 2


def test_nobody_there_is_an_end_as_well() -> None:
    """A call to a port that nobody serves ends as UNAVAILABLE, and what is no call at all is said to be none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{free.getsockname()[1]}"
        with channel(target) as opened:
            assert ask(opened.unary_unary("/toy.Echo/Say"), b"ada").code is StatusCode.UNAVAILABLE
    assert ended(ValueError("what?")) == End(None, "no gRPC call: ValueError('what?')")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One replica of the locks."""
    with locks_gateway(tmp_path_factory.mktemp("locks")) as gateway:
        yield gateway


def test_the_ledger_of_the_locks_is_read(gateway: Gateway) -> None:
    """Openings and calls come in their order, of one lock or of all; a call is waited for until it is noted."""
    ledger = LocksLedger(Path(gateway.folder))
    with channel(gateway.targets[0]) as opened:
        stub = services.LocksServiceStub(opened)
        for lock_id in ("l-02", "l-01"):
            assert ask(stub.Unlock, messages.UnlockRequest(**wish(lock_id)), SECONDS).code is StatusCode.OK
        ended_calls = ledger.wait_for(2, "Unlock", over=True)
    assert [call["lock_id"] for call in ended_calls] == ["l-02", "l-01"]
    assert {call["code"] for call in ended_calls} == {"OK"}
    assert [row["lock_id"] for row in ledger.openings()] == ["l-02", "l-01"]
    assert [row["kind"] for row in ledger.openings("l-01")] == ["opened"]
    assert ledger.calls("Lock") == [] and len(ledger.calls(lock_id="l-01")) == 1


def test_trouble_is_made(gateway: Gateway) -> None:
    """A row of trouble fails the next command with its code, so many times."""
    LocksLedger(Path(gateway.folder)).trouble("l-03", "UNAVAILABLE", times=2)
    with channel(gateway.targets[0]) as opened:
        stub = services.LocksServiceStub(opened)
        ends = [ask(stub.Unlock, messages.UnlockRequest(**wish("l-03")), SECONDS) for _ in range(3)]
    assert [end.name for end in ends] == ["UNAVAILABLE", "UNAVAILABLE", "OK"]
