"""Real third-party servers as services of a lab: one module each, found by name, all of the same shape.

`server = "nats"` in a lab.toml means the module `nats.py` here, with its constant `SERVER`. A server chooses a free
port of its own (port 0) and reports it; at a restart it is asked for the same port again.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab_services.errors import MissingProgram, SpecError

VERSION_SECONDS = 10


@dataclass(frozen=True)
class Node:
    """One process of a server that runs as several: its number from 1, and the ports that the lab keeps for it.

    `port` is for clients, `health_port` for the question whether it is ready; `peer_ports` are those at which the nodes
    find each other, of all nodes in the order of their numbers.
    """

    number: int
    port: int
    health_port: int
    peer_ports: tuple[int, ...]


@dataclass(frozen=True)
class Called:
    """A service that a server needs or calls: its name, whose program it is, and the URL at which to call it."""

    name: str
    target: str
    url: str


@dataclass(frozen=True)
class Wishes:
    """What a lab.toml asks of a server beyond being there.

    `env` are its settings, `node` is the place of a process among several, `config` a file in the learner's folder,
    `called` the services of HTTP that it needs or calls.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    node: Node | None = None
    config: Path | None = None
    called: tuple[Called, ...] = ()


@dataclass(frozen=True)
class Server:
    """How to find, start and probe one server program; facts and functions, no state.

    find() is the program, or raises MissingProgram with the command that installs it.
    version(program) is the version as "2.15.1", or "" when the program does not say.
    command(program, folder, port) writes what it needs into `folder` (its data too) and returns the command line
    and extra environment; port 0 lets the server choose.
    address(folder, pid, port) is the URL that callers get, or None while it is not known.
    ready(address) asks over the network, with its own time limit; a text is what it answered instead of yes.
    fitted(program, folder, port, wishes) is command(...) for a server that can do what a lab.toml may ask for.
    node_ready(node) asks whether a node, and with it the whole, can be relied on.
    given_port says that it cannot choose a port: it is given the one that the lab reserves for it.
    reloads says that POST /-/reload makes it read its configuration again, and that it answers when it has done so.
    """

    name: str
    env_name: str
    find: Callable[[], Path]
    version: Callable[[Path], str]
    command: Callable[[Path, Path, int], tuple[list[str], dict[str, str]]]
    address: Callable[[Path, int, int], str | None]
    ready: Callable[[str], Awaitable[bool | str]]
    fitted: Callable[[Path, Path, int, Wishes], tuple[list[str], dict[str, str]]] | None = None
    node_ready: Callable[[Node], Awaitable[bool]] | None = None
    given_port: bool = False
    reloads: bool = False


def server_names() -> list[str]:
    """Return the names that `server = ...` may have."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def find_server(kind: str) -> Server:
    """Return the server with that name; only its module is imported.

    Raises:
        SpecError: there is no such server.
    """
    if kind not in server_names():
        raise SpecError(
            f"there is no server {kind!r}",
            where=f'server = "{kind}"',
            evidence="servers: " + ", ".join(server_names()),
            next_step='write server = "nats", or another of these names, in the lab.toml',
        )
    server: Server = importlib.import_module(f"lab_services.servers.{kind}").SERVER
    return server


def find_program(name: str, wheel: str, install: str) -> Path:
    """Return the program `name` that the installed package `wheel` has brought, or else the one on PATH.

    Raises:
        MissingProgram: neither is there; `install` is the command to type.
    """
    found = in_wheel(name, wheel) or shutil.which(name)
    if found:
        return Path(found)
    looked = [f"the Python package {wheel} of this environment"] if wheel else []
    raise MissingProgram(
        f"the program {name} is not installed",
        where=name,
        evidence="looked in: " + ", ".join([*looked, "the folders of PATH"]),
        next_step=install,
    )


def in_wheel(name: str, wheel: str) -> Path | None:
    """Return the program that a package has installed, by its list of files: nothing of it is imported.

    Scripts are passed over: the `envoy` in bin/ is a Python script, the program lies deeper.
    """
    try:
        files = importlib.metadata.distribution(wheel).files if wheel else None
    except importlib.metadata.PackageNotFoundError:
        return None
    programs = (Path(str(file.locate())) for file in files or () if file.name in (name, f"{name}.exe"))
    return next((program.resolve() for program in programs if _is_native(program)), None)


def _is_native(program: Path) -> bool:
    if not program.is_file():
        return False
    with program.open("rb") as start:
        return start.read(2) != b"#!"


def version_of(program: Path) -> str:
    """Return the first version number in what `program --version` says, or an empty string."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    number = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return number.group() if number else ""
