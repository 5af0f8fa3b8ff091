"""Leave without losing a call: let the callers fall silent for a moment before the server says GOAWAY.

gRPC kills (CANCELLED) the calls that have arrived and are not yet taken by Python at the moment of `server.stop`: under
load one call or so of each restart, and a caller cannot know that its call never ran. So answers are held back first.
A caller that waits for its answer sends nothing meanwhile, the server stops in the silence, and the answers go out
behind the GOAWAY: the caller's next call opens a connection to the next process. Callers that never wait keep a small
risk.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

AGAIN_SECONDS = 0.25  # a caller that has had an answer so lately is likely to call again: it is waited for
QUIET_LOOKS = 4  # so often in a row no call has arrived
LOOK_SECONDS = 0.003
HOLD_SECONDS = 1.0  # answers are not held back longer, whatever arrives
LAST_ANSWERS = 1000  # that are remembered
SO_ATTACH_REUSEPORT_CBPF = 51
BPF_RETURN = 0x06


class HeldAnswers(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Stands between the callers and the calls that have one answer; can hold the answers back."""

    def __init__(self) -> None:
        self._may_leave = asyncio.Event()
        self._may_leave.set()
        self._arrived = 0
        self._waiting: Counter[str] = Counter()  # connection -> calls that wait for their answer
        self._answered: deque[tuple[float, str]] = deque(maxlen=LAST_ANSWERS)

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], details: Any) -> Any:
        """Note the arrival of a call, and stand between its handler and the caller."""
        self._arrived += 1
        handler = await continuation(details)
        if handler is None or handler.response_streaming:
            return handler
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary
        if not inspect.iscoroutinefunction(behaviour):
            return handler  # gRPC runs a plain function in a thread; so it shall
        held = (self._held(behaviour), handler.request_deserializer, handler.response_serializer)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(*held)
        return grpc.unary_unary_rpc_method_handler(*held)

    def _held(self, behaviour: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def held(request: Any, context: Any) -> Any:
            connection = context.peer()
            self._waiting[connection] += 1
            try:
                return await behaviour(request, context)
            finally:
                await self._may_leave.wait()
                self._waiting -= Counter((connection,))
                self._answered.append((time.monotonic(), connection))

        return held

    async def silence(self) -> None:
        """Hold back the answers and return as soon as no call is to be expected any more."""
        self._may_leave.clear()
        end, looks = time.monotonic() + HOLD_SECONDS, 0
        while looks < QUIET_LOOKS and time.monotonic() < end:
            before = self._arrived
            await asyncio.sleep(LOOK_SECONDS)
            looks = looks + 1 if self._arrived == before and not self._expected() else 0

    def _expected(self) -> set[str]:
        """Return the connections that have had an answer a moment ago and not called again yet."""
        since = time.monotonic() - AGAIN_SECONDS
        return {connection for answered, connection in self._answered if answered > since} - self._waiting.keys()

    def release(self) -> None:
        """Let the answers go."""
        self._may_leave.set()


def lead_newcomers_here(port: int) -> None:
    """Let the kernel lead every new connection to this process, though an older one still listens on the port.

    Else it would choose by chance until the older socket is closed, and a caller that comes back after the GOAWAY
    could wait in a queue that is thrown away; its channel then pauses for a second. The filter `return 1` names the
    second socket of the port's group, and counts for nothing once there is one (socket(7), SO_ATTACH_REUSEPORT_CBPF).
    Only Linux has it; elsewhere that risk stays.
    """
    if not sys.platform.startswith("linux"):
        return
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RETURN, 0, 0, 1))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    for number in map(int, os.listdir("/dev/fd")):
        try:
            endpoint = socket.socket(fileno=number)
        except OSError:
            continue  # a file, or closed meanwhile
        with suppress(OSError, IndexError):
            if endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and endpoint.getsockname()[1] == port:
                endpoint.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
        endpoint.detach()  # it is gRPC's
