"""Deno: services written in TypeScript. It comes with the package deno.

A service may talk to this machine only, read its own folder and write its data; it loads no module from elsewhere.
It listens on 127.0.0.1 at the port in the variable PORT with `reusePort: true`, because the lab keeps that port
reserved with a socket of its own (socket(7), SO_REUSEPORT).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab_services.runtime.readiness import http_ready
from lab_services.servers import Server, find_program, version_of

FLAGS = [
    "run",
    "--quiet",
    "--no-prompt",  # a permission that is missing is an error, not a question nobody reads
    "--no-remote",
    "--no-npm",
    "--no-config",
    "--no-lock",
    "--unstable-net",  # without it Deno refuses `reusePort: true`
    "--allow-env",
    "--allow-net=127.0.0.1",
]


def find() -> Path:
    """Return the deno of this environment, or the one on PATH."""
    return find_program("deno", "deno", "pip install deno")


def sidecar_command(
    program: Path, script: Path, data: Path, socket: Path, names: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Return how to run a service beside a sidecar: Deno.serve listens on `socket`, whatever the program asks for.

    It may speak to the `names` of the mesh as well: Deno asks for the permission before the proxy is asked.
    """
    argv, env = service_command(program, script, data, 0)
    allowed = {
        "--allow-net=127.0.0.1": ",".join(["--allow-net=127.0.0.1", f"unix:{_listed(socket)}", *names]),
        f"--allow-read={_listed(script.parent, data)}": f"--allow-read={_listed(script.parent, data, socket)}",
        f"--allow-write={_listed(data)}": f"--allow-write={_listed(data, socket)}",
    }
    return [allowed.get(word, word) for word in argv], {**env, "DENO_SERVE_ADDRESS": f"unix:{socket}"}


def service_command(program: Path, script: Path, data: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return how to run one TypeScript service: it may read the script's folder and `data`, and write `data`."""
    allowed = [f"--allow-read={_listed(script.parent, data)}", f"--allow-write={_listed(data)}"]
    env = {
        "PORT": str(port),
        "DATA_DIR": str(data),
        "DENO_DIR": str(data / ".deno"),  # what it compiles; not in the home folder of the learner
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
    }
    return [str(program), *FLAGS, *allowed, str(script)], env


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Return how to run the program main.ts of a folder that holds its data, too."""
    return service_command(program, folder / "main.ts", folder, port)


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return the URL: the port is always given to Deno, so it is known at once."""
    return f"http://127.0.0.1:{port}" if port else None


async def ready(address: str) -> bool:
    """Ask the health page that every service of the city has."""
    return await http_ready(address + "/health/ready")


def _listed(*folders: Path) -> str:
    return ",".join(str(folder).replace(",", ",,") for folder in folders)  # Deno's way to write a comma in a path


SERVER = Server("deno", "DENO_URL", find, version_of, command, address, ready)
