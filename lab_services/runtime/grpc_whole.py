"""Answer a call whose request does not come, or does not come whole.

grpc.aio (1.85) never answers a call with one request that was cut off, and keeps it until its client leaves; one that
cannot be read it answers with UNKNOWN and a traceback in the log. Here both end as INTERNAL, within REQUEST_SECONDS.
So a handler of one request is run as one of a stream of requests, of which it gets the first.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio

REQUEST_SECONDS = 10.0  # from the beginning of a call until its request has come


class WholeRequests(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Stands before every call with one request; a plain function, which gRPC runs in a thread, is left alone."""

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """Give the handler its request once it is there."""
        handler = await continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
        read, write = handler.request_deserializer, handler.response_serializer
        if inspect.isasyncgenfunction(behaviour):
            return grpc.stream_stream_rpc_method_handler(_many(behaviour, read), None, write)
        if not inspect.iscoroutinefunction(behaviour):
            return handler
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(_one(behaviour, read), None, write)
        return grpc.stream_unary_rpc_method_handler(_one(behaviour, read), None, write)


def _one(behaviour: Callable[..., Awaitable[Any]], read: Callable[[bytes], Any] | None) -> Callable[..., Any]:
    async def answer(requests: AsyncIterator[bytes], context: Any) -> Any:
        return await behaviour(await _request(requests, context, read), context)

    return answer


def _many(behaviour: Callable[..., Any], read: Callable[[bytes], Any] | None) -> Callable[..., Any]:
    async def answer(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async with aclosing(behaviour(await _request(requests, context, read), context)) as answers:
            async for each in answers:
                yield each

    return answer


async def _request(requests: AsyncIterator[bytes], context: Any, read: Callable[[bytes], Any] | None) -> Any:
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            request = await anext(requests)
    except TimeoutError:
        await context.abort(grpc.StatusCode.INTERNAL, f"no request has come for {REQUEST_SECONDS:g} seconds")
    except StopAsyncIteration:
        await context.abort(grpc.StatusCode.INTERNAL, "the request is not there, or was cut off")
    try:
        return request if read is None else read(request)
    except Exception as error:
        await context.abort(grpc.StatusCode.INTERNAL, f"the request cannot be read: {error}")
