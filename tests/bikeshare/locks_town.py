"""How these tests run real replicas of the locks, speak to them with grpc.aio, and look at what they wrote down."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import StatusCode

from lab_services.bikeshare.locks_messages import messages, services
from tests.bikeshare.town import READY_SECONDS, eventually, running

CALL_SECONDS = 20.0  # no call of a test takes longer
COMMAND = [sys.executable, "-W", "error", "-m", "lab_services.bikeshare.locks"]


@dataclass(frozen=True)
class Gateway:
    """The targets of the replicas, their processes, and the folder of the ledger that they share."""

    targets: tuple[str, ...]
    processes: tuple[subprocess.Popen[bytes], ...]
    folder: Path

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.folder / "locks.db", timeout=5)) as db:
            return db.execute(query, values).fetchall()

    def run(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.folder / "locks.db", timeout=5)) as db, db:
            db.execute(statement, values)

    def logs(self) -> str:
        return "".join(file.read_text() for file in sorted(self.folder.glob("../replica-*/log")))


@contextmanager
def locks_gateway(folder: Path, replicas: int = 1, **env: str) -> Iterator[Gateway]:
    """Run replicas by the command of their users, each on a port of the system's choice."""
    shared = folder / "locks"
    shared.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        processes = []
        for number in range(replicas):
            own = folder / f"replica-{number}"
            processes.append(stack.enter_context(running(COMMAND, own, **{"DATA_DIR": str(shared), **env})))
        targets = [target_of(folder / f"replica-{number}" / "log") for number in range(replicas)]
        yield Gateway(tuple(targets), tuple(processes), shared)


def target_of(log: Path) -> str:
    return str(eventually(lambda: re.search(r" on (127\.0\.0\.1:\d+)", log.read_text()), within=READY_SECONDS)[1])


@asynccontextmanager
async def stub_of(target: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(target) as channel:
        yield services.LocksServiceStub(channel)


def talk(
    gateway: Gateway, talking: Callable[[Any], Awaitable[Any]], replica: int = 0, seconds: float = 3 * CALL_SECONDS
) -> Any:
    """Run a conversation with one replica, for so many seconds at most."""

    async def run() -> Any:
        async with stub_of(gateway.targets[replica]) as stub:
            return await talking(stub)

    return asyncio.run(asyncio.wait_for(run(), seconds))


def ask(gateway: Gateway, rpc: str, replica: int = 0, **fields: Any) -> Any:
    """Make one unary call; return its answer, or its status and details where it was refused."""
    return talk(gateway, lambda stub: outcome(stub, rpc, **fields), replica)


async def outcome(stub: Any, rpc: str, seconds: float = CALL_SECONDS, **fields: Any) -> Any:
    request = getattr(messages, f"{rpc}Request")(**fields)
    try:
        return await getattr(stub, rpc)(request, timeout=seconds)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details()


async def status_of(call: Any) -> tuple[StatusCode, str]:
    return await call.code(), await call.details()


def wish(lock_id: str, ride_id: str = "r-1", request_id: str = "") -> dict[str, str]:
    return {"lock_id": lock_id, "ride_id": ride_id, "request_id": request_id}
