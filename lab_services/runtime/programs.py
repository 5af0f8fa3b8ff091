"""How each kind of program is started: a Python service, a TypeScript service on Deno, a third-party server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from lab_services.runtime.replica import Program, Replica


def python_program(app: str, folder: Path, env: Mapping[str, str], ready_seconds: float, cold: bool) -> Program:
    """Serve `module:attribute` with `folder` as the working directory; `cold` asks for a fresh interpreter."""
    return Program({"app": app, "cold": cold}, env, folder, ready_seconds)


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
