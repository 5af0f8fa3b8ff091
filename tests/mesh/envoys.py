"""Real Envoys on loopback with the bootstrap and the registry file that the lab writes for them."""

from __future__ import annotations

import asyncio
import json
import os
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from lab_services.mesh.discovery import Build, control_plane
from lab_services.mesh.registry import READY, Workload
from lab_services.mesh.sidecars import sidecar
from lab_services.runtime.ports import Port
from lab_services.servers import envoy

READY_SECONDS = 20.0
POLL_SECONDS = 0.01
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: httpx would read all authorities for every client
FLUSH = {"tracing.opentelemetry.flush_interval_ms": 100, "tracing.opentelemetry.min_flush_spans": 1}


def until(probe: Callable[[], Any], seconds: float = READY_SECONDS, what: str = "") -> Any:
    """Return what `probe` returns as soon as it is true; what it raises counts as not yet."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if last := probe():
                return last
        except (httpx.HTTPError, OSError, AssertionError, KeyError, IndexError) as error:
            last = error
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"not within {seconds} s: {what or probe}: {last!r}")


@dataclass(frozen=True)
class Seen:
    """One call that an application got."""

    method: str
    path: str
    headers: Mapping[str, str]


class Application:
    """A small service at a Unix socket: it notes every call, and answers what `reply` says."""

    def __init__(self, path: str, name: str) -> None:
        self.name, self.path = name, path
        self.seen: list[Seen] = []
        self.reply: Callable[[Seen], tuple[int, str]] = lambda seen: (200, name)
        self.answer_headers: dict[str, str] = {}
        self._server = _UnixServer(path, self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        application = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                seen = Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
                if seen.path != "/health/ready":
                    application.seen.append(seen)
                status, text = application.reply(seen)
                self.send_response(status)
                for name, value in application.answer_headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 100

    def get_request(self) -> Any:
        request, _ = super().get_request()
        return request, ("unix", 0)

    def handle_error(self, *arguments: object) -> None:
        """A caller that went away is no news."""


@dataclass
class Replica:
    """One replica: its entry in the registry, its application, its Envoy."""

    workload: Workload
    ports: list[Port]
    application: Application | None = None
    process: subprocess.Popen[bytes] | None = None
    folder: Path = field(default_factory=Path)

    def admin(self, page: str) -> httpx.Response:
        """Return an admin page."""
        return httpx.get(f"http://127.0.0.1:{self.workload.admin}{page}", timeout=5, trust_env=False, verify=PLAIN)

    def stat(self, name: str) -> int:
        """Return one counter or gauge; what Envoy has not counted yet is 0."""
        found = self.admin(f"/stats?format=json&filter=^{name.replace('.', chr(92) + '.')}$").json()["stats"]
        return next((int(one["value"]) for one in found if one.get("name") == name), 0)

    def stats(self, part: str) -> dict[str, int]:
        """Return the counters whose names hold `part`."""
        found = self.admin(f"/stats?format=json&filter={part}").json()["stats"]
        return {one["name"]: one["value"] for one in found if "name" in one}

    def access_log(self) -> list[dict[str, Any]]:
        """Return what the Envoy has said about its calls."""
        return [json.loads(line) for line in (self.folder / "stdout").read_text().splitlines()]

    def log(self) -> str:
        """Return the warnings of the Envoy."""
        return (self.folder / "stderr").read_text()

    def seen(self) -> list[Seen]:
        """Return the calls that came to the application."""
        assert self.application is not None
        return self.application.seen


class Town:
    """A mesh: a plane in a thread, replicas with their Envoys, the file between them."""

    def __init__(self, build: Build = sidecar, *, plane: bool = True, tells: bool = False) -> None:
        self._own = tempfile.TemporaryDirectory(prefix="mesh")  # short: a Unix socket's path has 100 characters
        self.folder = Path(self._own.name)
        self.registry = self.folder / "mesh.json"
        self.build: Build = build
        self.replicas: dict[str, Replica] = {}
        self._gone: list[Replica] = []
        self.plane_port = Port(for_server=not plane)
        self.write()
        self.plane = PlaneThread(self, tells) if plane else None

    @property
    def plane_url(self) -> str:
        """The address of the plane."""
        return self.plane_port.url

    def add(self, service: str, number: int = 1, *, app: bool = True, start: bool = True, **fields: Any) -> Replica:
        """Add a replica: application, ports, registry, Envoy; wait for none of them."""
        node = f"{service}-{number}"
        grpc = fields.pop("grpc_calls", ())
        ports = [Port(for_server=True) for _ in range(3 + len(grpc))]
        folder = self.folder / node
        folder.mkdir()
        path = str(folder / "app") if app else ""
        speaks = fields.get("speaks", "http")
        workload = Workload(
            service,
            number,
            node,
            **{
                "speaks": speaks,
                "state": READY,
                "inbound": ports[0].number,
                "outbound": ports[1].number,
                "admin": ports[2].number,
                "grpc_outbound": {name: port.number for name, port in zip(grpc, ports[3:], strict=True)},
                "app": path,
                **fields,
            },
        )
        application = Application(path, node) if app and speaks == "http" else None
        self.replicas[node] = Replica(workload, ports, application, None, folder)
        self.write()
        if start:
            self.launch(node)
        return self.replicas[node]

    def launch(self, node: str) -> None:
        """Start the Envoy of a node."""
        replica = self.replicas[node]
        config = replica.folder / "envoy.json"
        config.write_text(json.dumps(bootstrap(replica.workload, self.plane_port.number)))
        command = [str(envoy.find()), "-c", str(config), "--disable-hot-restart", "--concurrency", "1"]
        command += ["--file-flush-interval-msec", "100", "-l", "warning"]
        command += ["--reject-unknown-dynamic-fields", "--drain-strategy", "immediate"]
        with (replica.folder / "stdout").open("ab") as out, (replica.folder / "stderr").open("ab") as err:
            replica.process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)

    def ready(self) -> None:
        """Wait until each Envoy has all its configuration and the plane knows it."""
        for replica in self.replicas.values():
            if replica.process is not None:
                until(lambda replica=replica: replica.admin("/ready").status_code == 200, what=replica.workload.node)
        if self.plane:
            until(self.settled, what="every subscription confirmed")

    def settled(self) -> bool:
        """Say whether each Envoy that runs has confirmed the newest version of all that it asked for."""
        self.plane_thread().rebuild()
        nodes = self.mesh()["nodes"]
        running = [node for node, replica in self.replicas.items() if replica.process is not None]
        found = [one for node in running for one in nodes[node]["subscriptions"]]
        return bool(found) and all(one["state"] == "confirmed" and one["connected"] for one in found)

    def mesh(self) -> dict[str, Any]:
        """Return the plane's page /mesh."""
        found: dict[str, Any] = httpx.get(f"{self.plane_url}/mesh", trust_env=False, verify=PLAIN).json()
        return found

    def subscription(self, node: str, kind: str, name: str = "") -> dict[str, Any]:
        """Return what the plane knows of one question of a node."""
        found = self.mesh()["nodes"][node]["subscriptions"]
        return [one for one in found if one["kind"] == kind and (not name or name in one["names"])][0]  # noqa: RUF015

    def use(self, build: Build) -> None:
        """Let the plane build otherwise from now on."""
        self.build = build
        self.plane_thread().rebuild()

    def change(self, node: str, **fields: Any) -> None:
        """Change the entry of a node in the registry."""
        replica = self.replicas[node]
        replica.workload = replace(replica.workload, **fields)
        self.write()

    def remove(self, node: str) -> None:
        """Take a node out of the registry; its processes go on."""
        self._gone.append(self.replicas.pop(node))
        self.write()

    def write(self) -> None:
        """Write the registry as the lab does: whole, by a rename."""
        staged = self.registry.with_suffix(".new")
        staged.write_text(json.dumps([asdict(replica.workload) for replica in self.replicas.values()]))
        os.replace(staged, self.registry)

    def client(self, node: str, **fields: Any) -> httpx.Client:
        """Return an HTTP client as the application of this node would have: its sidecar is its proxy."""
        proxy = f"http://127.0.0.1:{self.replicas[node].workload.outbound}"
        return httpx.Client(proxy=proxy, trust_env=False, timeout=20, verify=PLAIN, **fields)

    def call(self, node: str, url: str, method: str = "GET", **fields: Any) -> httpx.Response:
        """Make one call from a node, on a connection of its own."""
        with self.client(node) as client:
            return client.request(method, url, **fields)

    def plane_thread(self) -> PlaneThread:
        """Return the plane of this town."""
        assert self.plane is not None
        return self.plane

    def _end(self, replica: Replica) -> None:
        if replica.process is not None:
            replica.process.kill()
            replica.process.wait()
        if replica.application is not None:
            replica.application.close()
        for port in replica.ports:
            port.release()

    def close(self) -> None:
        """End everything, the Envoys first."""
        for replica in {id(replica): replica for replica in [*self.replicas.values(), *self._gone]}.values():
            self._end(replica)
        if self.plane:
            self.plane.close()
        self.plane_port.release()
        self._own.cleanup()


class PlaneThread:
    """The control plane in a thread of the tests, so that a test can say what it builds.

    With `tells` its server tells it when it has to leave, as a server of the lab may.
    """

    def __init__(self, town: Town, tells: bool) -> None:
        self.app = control_plane(lambda node, workloads: town.build(node, workloads), registry=town.registry)
        config = uvicorn.Config(
            self._told if tells else self.app,
            interface="asgi3",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=3,
        )
        self._server = uvicorn.Server(config)
        self.questions = 0
        self._leaving = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, args=(town.plane_port,), daemon=True)
        self._thread.start()
        until(lambda: httpx.get(f"{town.plane_url}/health/ready", trust_env=False, verify=PLAIN).status_code == 200)

    def _run(self, port: Port) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[port.listen()])

        asyncio.run(serve())

    async def _told(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.questions += scope["path"].startswith("/v3/")
            scope["state"] = {**scope.get("state", {}), "leaving": self._leaving}
        await self.app(scope, receive, send)

    def leave(self) -> None:
        """Tell the plane that it has to leave."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._leaving.set)

    def rebuild(self) -> None:
        """Let the plane build now, and wait until it has."""
        done = threading.Event()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(lambda: (self.app.state.plane.rebuild(), done.set()))
        assert done.wait(10)

    def close(self) -> None:
        """Stop the plane."""
        self._server.should_exit = True
        self._thread.join(20)


def bootstrap(workload: Workload, plane_port: int) -> dict[str, Any]:
    """Return the bootstrap that the lab writes for an Envoy."""
    source = {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": ["xds"],
            "refresh_delay": "0.1s",
            "request_timeout": "30s",
        },
    }
    place = {"socket_address": {"address": "127.0.0.1", "port_value": plane_port}}
    hosts = [{"lb_endpoints": [{"endpoint": {"address": place}}]}]
    plane = {
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "xds", "endpoints": hosts},
    }
    return {
        "node": {"id": workload.node, "cluster": workload.service, "metadata": dict(workload.labels)},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": workload.admin}}},
        "static_resources": {"clusters": [plane]},
        "dynamic_resources": {"lds_config": source, "cds_config": source},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": FLUSH}]},
    }
