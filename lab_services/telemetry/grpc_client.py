"""Calls of gRPC with asyncio, each a span from its beginning until it is done, however it ends.

The interceptors are those of opentelemetry-instrumentation-grpc, but for the end: there (0.66b2) the span of a call
that is cancelled, or of a stream that is left before its end, never ends, and what the callee did is an orphan. They
also wait for a call before they hand it out, and hand out a stream that can no longer be read by `read()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import _aio_client as official
from opentelemetry.trace import Span, StatusCode
from wrapt import wrap_function_wrapper

HEALTH = "/grpc.health."
_ending: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive


def instrument_channels() -> None:
    """Trace the calls of every channel of grpc.aio that is opened from now on."""

    def opened(open_channel: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return open_channel(*args, **{**kwargs, "interceptors": [*interceptors(), *(kwargs.get("interceptors") or ())]})

    for name in ("insecure_channel", "secure_channel"):
        wrap_function_wrapper(grpc.aio, name, opened)


def interceptors() -> list[Any]:
    """Return what traces the calls of one channel, one for each of the four sorts."""
    tracer = trace.get_tracer(__name__)
    return [each(tracer, filter_=_is_traced) for each in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]


def _is_traced(details: Any) -> bool:
    method = details.method
    return not (method.decode() if isinstance(method, bytes) else method).startswith(HEALTH)


class _Watching:
    """What the four have in common."""

    async def _watch(self: Any, continuation: Callable[..., Awaitable[Any]], details: Any, request: Any) -> Any:
        if self.tracing_skipped(details):
            return await continuation(details, request)
        with self._start_interceptor_span(details.method) as span:
            try:
                call = await continuation(self.propagate_trace_in_details(details), request)
                call.add_done_callback(lambda _: _end_soon(call, span))
            except NotImplementedError:  # an interceptor behind us has waited for the call: it is done
                await _end(call, span)
            except BaseException as error:
                _end_with(span, StatusCode.ERROR, type(error).__name__)
                raise
            return call


def _end_soon(call: Any, span: Span) -> None:
    task = asyncio.ensure_future(_end(call, span))
    _ending.add(task)
    task.add_done_callback(_ending.discard)


async def _end(call: Any, span: Span) -> None:
    """End the span of a call that is done; its status is there, and still has to be awaited."""
    code = grpc.StatusCode.UNKNOWN
    try:
        code = await call.code()
    finally:
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        _end_with(span, StatusCode.UNSET if code is grpc.StatusCode.OK else StatusCode.ERROR, code.name)


def _end_with(span: Span, status: StatusCode, name: str) -> None:
    if status is StatusCode.ERROR:
        span.set_status(status, name)
        span.set_attribute("error.type", name)
    span.end()


class _UnaryUnary(_Watching, official.UnaryUnaryAioClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._watch(continuation, client_call_details, request)


class _UnaryStream(_Watching, official.UnaryStreamAioClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._watch(continuation, client_call_details, request)


class _StreamUnary(_Watching, official.StreamUnaryAioClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._watch(continuation, client_call_details, request_iterator)


class _StreamStream(_Watching, official.StreamStreamAioClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._watch(continuation, client_call_details, request_iterator)
