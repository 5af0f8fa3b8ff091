"""What a gRPC server is asked: a span, a measurement and a line of the log for each call.

The interceptor of opentelemetry-instrumentation-grpc (0.66b2) cannot be used here: a handler that writes its answers by
`context.write` is a coroutine function, and it would iterate over it. It also takes the last of several traceparents.
Health and reflection are not counted: the lab asks for them all the time.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from time import perf_counter
from typing import Any

import grpc
import grpc.aio
from opentelemetry import context as contexts
from opentelemetry import metrics, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, StatusCode

from lab_services.telemetry.observations import RPC_ACTIVE, RPC_DURATION

QUIET = ("grpc.health.", "grpc.reflection.")
# A server's own mistakes, by OpenTelemetry's semantic conventions; with all others the caller is wrong, or unlucky.
OUR_ERRORS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")


class _Metadata(Getter[Any]):
    def get(self, carrier: Any, key: str) -> list[str] | None:
        found = [value for name, value in carrier or () if name == key]
        return [value if isinstance(value, str) else value.decode("latin-1") for value in found] or None

    def keys(self, carrier: Any) -> list[str]:
        return [name for name, _ in carrier or ()]


_METADATA = _Metadata()


class WatchedCalls(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Watches each call from its beginning to its status, also one that its caller cancels."""

    def __init__(self) -> None:
        meter = metrics.get_meter(__name__)
        self._tracer = trace.get_tracer(__name__)
        self._seconds = meter.create_histogram(RPC_DURATION, "s")
        self._active = meter.create_up_down_counter(RPC_ACTIVE)

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """Put a watched handler in the place of a handler; a method that nobody has stays gRPC's own UNIMPLEMENTED."""
        handler = await continuation(details)
        method = details.method.lstrip("/")
        if handler is None or method.startswith(QUIET):
            return handler
        kind = f"{_kind(handler.request_streaming)}_{_kind(handler.response_streaming)}"
        behaviour = getattr(handler, kind)
        if inspect.isasyncgenfunction(behaviour):
            watched = self._many(behaviour, method)
        elif inspect.iscoroutinefunction(behaviour):
            watched = self._one(behaviour, method)
        else:  # a plain function, which gRPC runs in a thread
            return handler
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(watched, handler.request_deserializer, handler.response_serializer)

    def _one(self, behaviour: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Awaitable[Any]]:
        async def answer(request: Any, context: Any) -> Any:
            with self._watch(method, context):
                return await behaviour(request, context)

        return answer

    def _many(self, behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def answer(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._watch(method, context):
                async with aclosing(behaviour(request, context)) as answers:
                    async for each in answers:
                        yield each

        return answer

    @contextmanager
    def _watch(self, method: str, context: Any) -> Iterator[None]:
        service, _, name = method.rpartition("/")
        facts = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method.rpartition(".")[2]}
        parent = propagate.extract(context.invocation_metadata(), getter=_METADATA)
        token = contexts.attach(parent)
        began, error = perf_counter(), None
        self._active.add(1)
        try:
            with self._tracer.start_as_current_span(
                method,
                kind=SpanKind.SERVER,
                attributes={**facts, "rpc.method": name},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    yield
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    code = _code(context, error)
                    span.set_attribute("rpc.grpc.status_code", code.value[0])
                    if code.name in OUR_ERRORS:
                        span.set_status(StatusCode.ERROR, code.name)
                        span.set_attribute("error.type", code.name)
                    outcome = {**facts, "rpc.response.status_code": code.name}
                    self._seconds.record(perf_counter() - began, outcome)
        finally:
            self._active.add(-1)
            _detach(token)


def _code(context: Any, error: BaseException | None) -> grpc.StatusCode:
    """Return the status that a call ends with; one that is cut off by its caller, or by us, is CANCELLED."""
    said = context.code()
    if isinstance(said, int) and said:
        said = next((each for each in grpc.StatusCode if each.value[0] == said), grpc.StatusCode.UNKNOWN)
    if isinstance(said, grpc.StatusCode) and said is not grpc.StatusCode.OK:
        return said
    if error is None:
        return grpc.StatusCode.OK
    gone = isinstance(error, asyncio.CancelledError | GeneratorExit)
    return grpc.StatusCode.CANCELLED if gone else grpc.StatusCode.UNKNOWN


def _detach(token: Any) -> None:
    """Leave the context; a generator that is closed from elsewhere has left it already."""
    try:
        token.var.reset(token)
    except ValueError:
        return


def _kind(streaming: bool) -> str:
    return "stream" if streaming else "unary"
