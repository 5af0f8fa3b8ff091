"""How these tests start real services, each on a socket that it inherits, and how they look at them."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from lab_services.servers import nats

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one that is empty: httpx reads all certificates for each client
PYTHON_SERVICES = ("stations", "wallet", "pricing", "notices", "rides", "gateway")
MESSAGE_SERVICES = ("ride_ends", "billing", "displays", "batteries")
EVENT_SERVICES = ("starts", "holds", "reservations", "bolts", "ride_book", "relay", "citymap")
OUTBOXES = (
    "starts,wallet=../holds/wallet,stations=../reservations/stations,locks=../bolts/locks,rides=../ride_book/rides"
)


@dataclass(frozen=True)
class Town:
    """The addresses of the running services by name, a client that speaks to the gateway, and the stored data."""

    urls: dict[str, str]
    client: httpx.Client
    folder: Path


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=20, trust_env=False, verify=NO_TLS)


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=20, trust_env=False, verify=NO_TLS)


def url_of(endpoint: socket.socket) -> str:
    return f"http://127.0.0.1:{endpoint.getsockname()[1]}"


def listening() -> socket.socket:
    endpoint = socket.socket()
    endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    endpoint.bind(("127.0.0.1", 0))
    endpoint.listen(128)
    return endpoint


@contextmanager
def running(command: list[str], folder: Path, inherit: tuple[int, ...] = (), **env: str) -> Iterator[subprocess.Popen]:
    """Run a service in a folder of its own; terminate it and see it end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("wb") as log:
        settings = {**os.environ, "PYTHONPATH": str(ROOT), "DATA_DIR": str(folder), "NO_COLOR": "1", **env}
        process = subprocess.Popen(
            command, cwd=folder, env=settings, stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=inherit
        )
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.stdin.close()
            if not inherit:
                process.terminate()
            process.wait(STOP_SECONDS)


# Imports once, then forks one process for each service. Its standard input is its lease: at the end of it all stop.
# Not `uvicorn --fd`: that takes every descriptor for a Unix socket, and TCP then waits 40 ms before a small answer.
FORK_SERVICES = """
import importlib, json, os, signal, socket, sys, fastapi, httpx, uvicorn
children = []
for name, (descriptor, folder) in json.loads(sys.argv[1]).items():
    if child := os.fork():
        children.append(child)
        continue
    os.environ["DATA_DIR"] = folder
    app = importlib.import_module("lab_services.bikeshare." + name).app
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([socket.socket(fileno=descriptor)])
    os._exit(0)
sys.stdin.read()
for child in children:
    os.kill(child, signal.SIGTERM)
for child in children:
    os.waitpid(child, 0)
"""


@contextmanager
def python_services(endpoints: dict[str, socket.socket], folder: Path, **env: str) -> Iterator[None]:
    """Run services of these names, each on its own socket and with its own data below the folder."""
    for name in endpoints:
        (folder / name).mkdir()
    plan = {name: (endpoint.fileno(), str(folder / name)) for name, endpoint in endpoints.items()}
    inherit = tuple(endpoint.fileno() for endpoint in endpoints.values())
    with running([sys.executable, "-c", FORK_SERVICES, json.dumps(plan)], folder, inherit, **env):
        yield


@contextmanager
def in_this_process(app: FastAPI) -> Iterator[httpx.Client]:
    """Serve an app in a thread, so that a test can change its settings while it runs; yield a client of it."""
    with listening() as endpoint, client_of(url_of(endpoint)) as client:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=[[endpoint]])
        thread.start()
        try:
            wait_until_ready(url_of(endpoint))
            yield client
        finally:
            server.should_exit = True
            thread.join(STOP_SECONDS)


@contextmanager
def broker(folder: Path, port: int = 0) -> Iterator[str]:
    """Run a broker that is open to all; yield its address."""
    folder.mkdir(parents=True, exist_ok=True)
    command, _ = nats.SERVER.command(nats.SERVER.find(), folder, port)
    with running(command, folder) as process:
        yield eventually(lambda: nats.SERVER.address(folder, process.pid, port), within=READY_SECONDS)


@contextmanager
def deno_service(folder: Path, port: int, *flags: str) -> Iterator[subprocess.Popen]:
    program = str(Path(sys.executable).parent / "deno")
    script = ROOT / "lab_services" / "bikeshare" / "pricing_v2.ts"
    command = [program, "run", "--no-config", *flags, "--allow-net=127.0.0.1", "--allow-env", str(script)]
    with running(command, folder, PORT=str(port), DENO_DIR=str(folder / "deno")) as process:
        yield process


def wait_until_ready(url: str) -> None:
    eventually(lambda: answers(url + "/health/ready"), within=READY_SECONDS)


def answers(url: str) -> bool:
    try:
        return get(url).status_code == 200
    except httpx.TransportError:
        return False


def eventually(probe: Callable[[], Any], within: float = 5.0) -> Any:
    """Ask until the answer is truthy; the last answer is asserted."""
    end = time.monotonic() + within
    while not (last := probe()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    assert last, f"still {last!r} after {within} s"
    return last


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Run `act(0)` .. `act(count - 1)` in threads that are released at once."""
    barrier = Barrier(count)

    def one(number: int) -> Any:
        barrier.wait(10)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def rows_of(town: Town, service: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Read the rows that a service has stored."""
    with closing(sqlite3.connect(town.folder / service / f"{service}.db")) as db:
        return db.execute(query, values).fetchall()


def check_problem(answer: httpx.Response, status: int, *named: str) -> dict[str, Any]:
    """Assert that an answer is a problem document of this status whose detail names these words; return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["type"] and document["title"]
    for word in named:
        assert word in document["detail"]
    assert "Traceback" not in answer.text
    return dict(document)
