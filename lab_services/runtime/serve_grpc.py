"""One gRPC service in a process of its own: the runtime makes the server, the service adds its servicers to it.

    async def serve(server: grpc.aio.Server) -> AsyncIterator[None]:
        door_pb2_grpc.add_DoorServicer_to_server(Door(), server)
        yield                                  # calls are served from here on, until the service is stopped
        ...                                    # close what was opened

A second parameter is the standard health servicer (`await health.set("", NOT_SERVING)`). Without `yield` the function
has nothing to close. `interceptors` of the module, a list, are given to the server.

Handing over: gRPC opens its own listening socket, so the newer process has bound the same port (SO_REUSEPORT) when this
one stops. It closes its socket, tells every connection to go away (HTTP/2 GOAWAY, RFC 9113 section 6.8), and finishes
the calls that it has begun; the callers' channels connect anew and find the newer process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import grpc.aio
import grpc_tools.protoc  # noqa: F401  (what grpc.protos_and_services imports at its first call)
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from lab_services.errors import BrokenCode
from lab_services.runtime.broken import explain_start_failure
from lab_services.runtime.control import Control, report_broken
from lab_services.runtime.grpc_drain import HeldAnswers, lead_newcomers_here
from lab_services.runtime.grpc_lifespan import lifespan, note_services
from lab_services.runtime.grpc_whole import WholeRequests
from lab_services.runtime.instrumenting import grpc_interceptors, instrumented
from lab_services.runtime.loading import load

FORM = "async def serve(server): ..."
GOAWAY_SECONDS = 0.01  # from `server.stop` until its GOAWAY is on its way on every connection
LAST_WORDS_SECONDS = 0.1  # for what gRPC has still to do after the last answer
SERVING = health_pb2.HealthCheckResponse.SERVING
SILENCE_MILLISECONDS = 5_000  # whoever connects and does not begin to speak HTTP/2, or never answers, is sent away
OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.server_handshake_timeout_ms", SILENCE_MILLISECONDS),
    (
        "grpc.http2.settings_timeout",
        SILENCE_MILLISECONDS,
    ),  # until it has agreed, metadata may be 16 MB instead of 16 kB
)


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """The standard health service; it remembers what the service itself has said."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    async def set(self, service: str, status: int) -> None:
        """Set the status of one service; "" is the whole process, which is what the lab waits for."""
        self.said.add(service)
        await super().set(service, status)


class GrpcProcess:
    """Serves until SIGTERM, or until the supervisor says that a newer process has taken over."""

    def __init__(self, target: str, place: str, control: socket.socket) -> None:
        self._target = target
        self._place = place
        self._control = Control(control)
        self._health = Health()
        self._answers = HeldAnswers()

    async def run(self, serve: Callable[..., Any], interceptors: Sequence[Any]) -> None:
        """Serve from start to drain; BrokenCode says in the learner's words why it could not start."""
        ours = [*grpc_interceptors(), WholeRequests(), self._answers]
        server = grpc.aio.server(interceptors=[*ours, *interceptors], options=OPTIONS)
        names = note_services(server)
        try:
            living = lifespan(serve, server, self._health)
            await living.__aenter__()
        except Exception as error:
            raise explain_start_failure(error, os.getcwd(), self._target) from error
        await self._start(server, names)
        await self._drain(server, await self._control.leave)
        await living.__aexit__(None, None, None)

    async def _start(self, server: Any, names: list[str]) -> None:
        if not names:
            raise _nothing_added(self._target)
        for name in names:
            if name not in self._health.said:
                await self._health.set(name, SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
        await self._listen(server)
        self._control.serving()

    async def _listen(self, server: Any) -> None:
        """Listen beside the older process, and get every new connection from then on.

        gRPC removes its socket file when it stops, so the newer process makes one of its own and moves it over the
        older one's: a socket is found by its file and keeps no name.
        """
        file = self._place.removeprefix("unix:")
        if file == self._place:
            server.add_insecure_port(self._place)
            await server.start()
            lead_newcomers_here(int(self._place.rpartition(":")[2]))
        else:
            own = f"{file}.{os.getpid()}"
            server.add_insecure_port(f"unix:{own}")
            await server.start()
            os.replace(own, file)

    async def _drain(self, server: Any, grace: float) -> None:
        await self._health.enter_graceful_shutdown()
        await self._answers.silence()
        stopping = asyncio.ensure_future(server.stop(grace))
        await asyncio.sleep(GOAWAY_SECONDS)
        self._control.closed()
        self._answers.release()
        await stopping
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others, timeout=LAST_WORDS_SECONDS)


def _nothing_added(target: str) -> BrokenCode:
    file = target.partition(":")[0] + ".py"
    return BrokenCode(
        f"{file} has added no servicer to its server",
        where=file,
        evidence=f"the lab has called {target} with a grpc.aio.Server, and found no service on it afterwards",
        next_step="call add_...Servicer_to_server(..., server) of the generated code before the `yield`",
    )


def serve(target: str, place: str, control: socket.socket) -> int:
    """Serve `module:function` at `place` (host:port or unix:/path) until told to stop; return the exit status.

    Broken code is reported on the control channel as the four parts of a LabError, and ends with status 3.
    """

    async def run(function: Callable[..., Any], interceptors: Sequence[Any]) -> None:
        await GrpcProcess(target, place, control).run(function, interceptors)

    def load_and_run() -> None:
        function = load(target, FORM)
        asyncio.run(run(function, getattr(sys.modules[target.partition(":")[0]], "interceptors", ())))

    with instrumented(target):
        return report_broken(control, load_and_run)


def main() -> None:
    """Entry of the cold way: `python -m lab_services.runtime.serve_grpc ORDER`, the control channel as descriptor 3."""
    order = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(serve(order["grpc"], order["place"], socket.socket(fileno=3)))


if __name__ == "__main__":
    main()
