"""How each kind of program is started: a Python service (HTTP, gRPC, TCP), a TypeScript service on Deno, a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from lab_services.runtime.readiness import tcp_accepts
from lab_services.runtime.readiness_grpc import grpc_health
from lab_services.runtime.replica import Program, Replica


def python_program(app: str, folder: Path, env: Mapping[str, str], ready_seconds: float, cold: bool) -> Program:
    """Serve `module:attribute` with `folder` as the working directory; `cold` asks for a fresh interpreter."""
    return Program({"app": app, "cold": cold}, env, folder, ready_seconds)


def grpc_program(
    function: str, folder: Path, env: Mapping[str, str], ready_seconds: float, cold: bool, replica: Replica
) -> Program:
    """Serve what `module:function` adds to a gRPC server, on the port reserved for the replica."""
    order = {"grpc": function, "port": replica.port.number, "cold": cold}
    return Program(order, env, folder, ready_seconds, ready=grpc_health)


def tcp_program(function: str, folder: Path, env: Mapping[str, str], ready_seconds: float, cold: bool) -> Program:
    """Serve each connection with `module:function`; ready is when a connection is accepted."""
    return Program({"tcp": function, "cold": cold}, env, folder, ready_seconds, ready=tcp_accepts)


def typescript_program(
    script: Path, data: Path, env: Mapping[str, str], ready_seconds: float, replica: Replica
) -> Program:
    """Run a TypeScript service on the port reserved for the replica; it shares the port, so no race exists.

    Raises:
        MissingProgram: Deno is not installed.
    """
    from lab_services.servers.deno import find, service_command

    argv, extra = service_command(find(), script, data, replica.port.number)
    return Program({"argv": argv}, {**env, **extra}, script.parent, ready_seconds)


def server_program(kind: str, folder: Path, env: Mapping[str, str], ready_seconds: float, replica: Replica) -> Program:
    """Run a third-party server. It chooses its own port at first and is asked for the same one at every restart.

    Raises:
        MissingProgram: the server is not installed.
    """
    from lab_services.servers import find_server

    server = find_server(kind)
    known = urlsplit(replica.url).port if replica.url != replica.port.url else 0
    argv, extra = server.command(server.find(), folder, known or 0)
    return Program(
        {"argv": argv},
        {**env, **extra},
        folder,
        ready_seconds,
        address=lambda pid: server.address(folder, pid, known or 0),
        ready=server.ready,
    )
