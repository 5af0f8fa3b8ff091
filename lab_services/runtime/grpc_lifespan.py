"""The forms in which a gRPC service may say what it serves, and the names of the services that it has added."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import grpc


def lifespan(serve: Callable[..., Any], server: Any, health: Any) -> AbstractAsyncContextManager[Any]:
    """Take `serve(server)` or `serve(server, health)`, with one `yield` (decorated or not) or without any.

    Raises:
        TypeError: it cannot be called in this way.
    """
    begun = serve(*(server, health)[: len(inspect.signature(serve).parameters)])
    if inspect.isasyncgen(begun):
        return asynccontextmanager(lambda: begun)()
    if hasattr(begun, "__aenter__"):
        return begun  # type: ignore[no-any-return]
    return _started(begun) if inspect.isawaitable(begun) else nullcontext()


@asynccontextmanager
async def _started(begun: Any) -> AsyncIterator[None]:
    await begun
    yield


def note_services(server: Any) -> list[str]:
    """Return a list that fills with the full names of the services that are added to the server."""
    names: list[str] = []
    add = server.add_generic_rpc_handlers

    def noting(handlers: Sequence[Any]) -> None:
        names.extend(handler.service_name() for handler in handlers if isinstance(handler, grpc.ServiceRpcHandler))
        add(handlers)

    server.add_generic_rpc_handlers = noting
    return names
