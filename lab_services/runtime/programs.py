"""How each kind of program is started: a Python service (HTTP, gRPC, TCP), a TypeScript service on Deno, a server."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab_services.runtime.readiness import tcp_accepts
from lab_services.runtime.readiness_grpc import grpc_health
from lab_services.runtime.replica import Program, Replica, health_ready
from lab_services.runtime.socket_files import SocketFile
from lab_services.runtime.spec_types import ServiceSpec

if TYPE_CHECKING:
    from lab_services.servers import Wishes

NODES_SECONDS = 30.0  # until the nodes of a server have found a leader: half a second mostly, an election is 4 to 9


def python_program(
    app: str, folder: Path, env: Mapping[str, str], ready_seconds: float, cold: bool, replica: Replica
) -> Program:
    """Serve `module:attribute` with `folder` as the working directory; `cold` asks for a fresh interpreter."""
    return Program({"app": app, "cold": cold}, env, folder, ready_seconds, ready=_ready_at(replica))


def grpc_program(
    function: str, folder: Path, env: Mapping[str, str], ready_seconds: float, cold: bool, replica: Replica
) -> Program:
    """Serve what `module:function` adds to a gRPC server, on the port reserved for the replica or its socket file."""
    place = replica.port.served_at
    order = {"grpc": function, "place": place, "cold": cold}
    return Program(order, env, folder, ready_seconds, ready=lambda _: grpc_health(place))


def tcp_program(function: str, folder: Path, env: Mapping[str, str], ready_seconds: float, cold: bool) -> Program:
    """Serve each connection with `module:function`; ready is when a connection is accepted."""
    return Program({"tcp": function, "cold": cold}, env, folder, ready_seconds, ready=tcp_accepts)


def typescript_program(
    script: Path, data: Path, env: Mapping[str, str], ready_seconds: float, replica: Replica, names: Sequence[str]
) -> Program:
    """Run a TypeScript service on the port reserved for the replica; it shares the port, so no race exists.

    Beside a sidecar it listens on its socket file, and calls the `names` of the mesh.

    Raises:
        MissingProgram: Deno is not installed.
    """
    from lab_services.servers.deno import find, service_command, sidecar_command

    if isinstance(replica.port, SocketFile):
        argv, extra = sidecar_command(find(), script, data, replica.port.path, names)
    else:
        argv, extra = service_command(find(), script, data, replica.port.number)
    return Program({"argv": argv}, {**env, **extra}, script.parent, ready_seconds, ready=_ready_at(replica))


def server_program(
    spec: ServiceSpec,
    folder: Path,
    env: Mapping[str, str],
    ready_seconds: float,
    replica: Replica,
    wishes: Wishes,
) -> Program:
    """Run a third-party server. It chooses its own port at first and is asked for the same one at every restart.

    The ports of a `node` are the lab's: the other nodes are told them before it runs. So is that of a server which
    cannot choose.

    Raises:
        MissingProgram: the server is not installed.
    """
    from lab_services.servers import find_server

    server, node = find_server(spec.target), wishes.node
    if node is not None:
        folder = folder / f"node_{node.number}"
        folder.mkdir(exist_ok=True)
    if spec.has_users and wishes.config is not None:
        shutil.copyfile(wishes.config, folder / "lab.conf")
    if server.given_port:
        known: int | None = replica.port.number
    else:
        known = urlsplit(replica.url).port if node or replica.url != replica.port.url else 0
    if server.fitted is not None:
        argv, extra = server.fitted(server.find(), folder, known or 0, wishes)
    else:
        argv, extra = server.command(server.find(), folder, known or 0)
    ready, node_ready = server.ready, server.node_ready
    if node is not None:
        ready_seconds = max(ready_seconds, NODES_SECONDS)
    return Program(
        {"argv": argv},
        {**env, **extra},
        folder,
        ready_seconds,
        address=lambda pid: server.address(folder, pid, known or 0),
        ready=(lambda _: node_ready(node)) if node and node_ready else ready,
    )


def _ready_at(replica: Replica) -> Callable[[str], Awaitable[bool | str]] | None:
    """Return how to ask a program at its socket file; at its own address (None) when it has one."""
    if not isinstance(replica.port, SocketFile):
        return None
    place = replica.port.served_at
    return lambda url: health_ready(url, place)
