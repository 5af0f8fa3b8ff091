"""A stand-in for a gRPC service, with a ledger of every call it got and trouble that a check can order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc import StatusCode

MOST_CALLS = 128  # at once, those that hang among them
LONGEST_DELAY_SECONDS, HANG_SECONDS, CLOSE_SECONDS = 8.0, 60.0, 2.0
FOR_EVER_SECONDS = 10**9  # grpc's sync server tells of no deadline as of one in some hundred billion years
HEALTH = "/grpc.health.v1.Health/"
SERVING = b"\x08\x01"
Metadata = Sequence[tuple[str, str | bytes]]


@dataclass(frozen=True, eq=False)
class GrpcCall:
    """One call that arrived: `request` is the bytes of its first message, b"" where none came.

    `remaining_seconds` is what its deadline left, None where it has none. `attempt` counts gRPC's own retries from 1;
    `began_at` is of time.monotonic(). `over` is set once it has ended, by an answer or because its caller has left.
    """

    method: str
    request: bytes = b""
    messages: tuple[bytes, ...] = ()
    metadata: dict[str, str | bytes] = field(default_factory=dict)
    remaining_seconds: float | None = None
    attempt: int = 1
    peer: str = ""
    began_at: float = 0.0
    over: threading.Event = field(default_factory=threading.Event, repr=False)

    def __str__(self) -> str:
        return self.method


class GrpcError(Exception):
    """A handler raises it to end a call: `raise GrpcError("NOT_FOUND", "there is no lock l-99")`."""

    def __init__(self, code: str, details: str = "", metadata: Metadata = ()) -> None:
        self.code, self.details, self.metadata = StatusCode[code], details, tuple(metadata)
        super().__init__(f"{code}: {details}")


Handler = Callable[[GrpcCall], Any]
_GONE = GrpcError("CANCELLED", "the caller has left")


class FakeGrpc:
    """Answer gRPC on 127.0.0.1 through one handler, whatever the service and its methods are called.

    The handler gets a GrpcCall and returns the answer: bytes, a protobuf message, or a list of these for a stream. It
    may sleep, raise GrpcError, or raise anything else, which the caller gets as UNKNOWN. A stream that a client sends
    is read to its end before. Health checks are answered with SERVING and are not in the ledger.

        locks = FakeGrpc(lambda call: messages.GetBatteryResponse(battery_percent=80))
        city.start(replace={"locks": locks.target})
        locks.fail("UNAVAILABLE", times=2)
        locks.calls         # (GrpcCall(method="GetBattery", request=b"...", remaining_seconds=0.7, ...),)
    """

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self._calls: list[GrpcCall] = []
        self._orders: list[_Order] = []
        self._guard = threading.Lock()
        self._threads = ThreadPoolExecutor(MOST_CALLS)
        self._server = grpc.server(self._threads, handlers=[_AnyMethod(self)], options=[("grpc.so_reuseport", 0)])
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @property
    def url(self) -> str:
        """The target once more, under the name that the `city` mark looks for in a fixture."""
        return f"grpc://{self.target}"

    @property
    def calls(self) -> tuple[GrpcCall, ...]:
        """Every call so far, in the order of arrival."""
        with self._guard:
            return tuple(self._calls)

    def calls_to(self, method: str) -> tuple[GrpcCall, ...]:
        """Return the calls of one method."""
        return tuple(call for call in self.calls if call.method == method)

    def fail(self, code: str, details: str = "", *, times: int = 1, method: str = "", metadata: Metadata = (),
             after: bool = False) -> None:  # fmt: skip
        """End the next calls with this status and do nothing, or, with `after`, do their work and lose the answer."""
        error = GrpcError(code, details, metadata)
        self._order(_Order("lose" if after else "fail", times, method, error=error))

    def delay(self, seconds: float, *, times: int = 1_000_000, method: str = "") -> None:
        """Go on with the next calls only after a wait, of at most LONGEST_DELAY_SECONDS, if somebody still waits."""
        self._order(_Order("delay", times, method, seconds=min(seconds, LONGEST_DELAY_SECONDS)))

    def hang(self, *, times: int = 1_000_000, method: str = "") -> None:
        """Never answer the next calls; each is held until its caller leaves, HANG_SECONDS at most."""
        self._order(_Order("hang", times, method))

    def clear(self) -> None:
        """Forget the orders; the ledger stays, and what hangs goes on hanging."""
        with self._guard:
            self._orders.clear()

    def close(self) -> None:
        """Stop listening and cut every call off."""
        self._server.stop(0).wait(CLOSE_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def answer(self, call: GrpcCall) -> Any:
        """Note the call, obey the orders that apply to it, and return what the handler says."""
        with self._guard:
            self._calls.append(call)
        for order in self._take("delay", call):
            if call.over.wait(order.seconds):
                raise _GONE
        for _ in self._take("hang", call):
            call.over.wait(HANG_SECONDS)
            raise _GONE
        for order in self._take("fail", call):
            raise order.error
        result = self.handler(call)
        for order in self._take("lose", call):
            raise order.error
        return result

    def _order(self, order: _Order) -> None:
        with self._guard:
            self._orders.append(order)

    def _take(self, kind: str, call: GrpcCall) -> list[_Order]:
        with self._guard:
            for order in self._orders:
                if order.kind == kind and order.times > 0 and order.method in ("", call.method):
                    order.times -= 1
                    return [order]
        return []


@dataclass
class _Order:
    kind: str
    times: int
    method: str
    seconds: float = 0.0
    error: GrpcError = field(default_factory=lambda: GrpcError("UNAVAILABLE"))


class _AnyMethod(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Take every method as one of streams of bytes: on the wire a single message is a stream of one."""

    def __init__(self, fake: FakeGrpc) -> None:
        self._fake = fake

    def service(self, details: Any) -> Any:
        """Return the handler of a method."""
        if details.method.startswith(HEALTH):
            return grpc.stream_stream_rpc_method_handler(_healthy)
        name = details.method.rpartition("/")[2]
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._serve(name, requests, context))

    def _serve(self, method: str, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        call = _read_call(method, requests, context)
        if not context.add_callback(call.over.set):
            call.over.set()  # it has ended already
        try:
            answers = self._fake.answer(call)
        except GrpcError as error:
            context.set_trailing_metadata(error.metadata)
            context.abort(error.code, error.details)
        for answer in answers if isinstance(answers, list | tuple) else [answers]:
            yield answer if isinstance(answer, bytes) else answer.SerializeToString()


def _read_call(method: str, requests: Iterator[bytes], context: Any) -> GrpcCall:
    began_at, remaining_seconds = time.monotonic(), context.time_remaining()
    messages = tuple(requests)
    metadata = dict(context.invocation_metadata())
    retries = str(metadata.get("grpc-previous-rpc-attempts", ""))
    return GrpcCall(
        method,
        request=b"".join(messages[:1]),
        messages=messages,
        metadata=metadata,
        remaining_seconds=remaining_seconds if remaining_seconds < FOR_EVER_SECONDS else None,
        attempt=int(retries) + 1 if retries.isdecimal() else 1,
        peer=context.peer(),
        began_at=began_at,
    )


def _healthy(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield SERVING
