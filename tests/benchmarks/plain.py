"""What every figure is compared with: the same services started by hand, with nothing of the course."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab_services.lab import Lab
from lab_services.runtime.readiness import http_ready, wait_until
from lab_services.runtime.spec_types import LabSpec, ServiceSpec

READY_SECONDS = 60.0
BANNER = re.compile(r"running on (http://127\.0\.0\.1:\d+)")  # says the port only; ready is asked over the network
# A service as the city has them: it keeps its data in SQLite and calls others by httpx.
SERVICE = """
import os
import sqlite3

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
WORD = "first"

class Ride(BaseModel):
    rider_id: str
    cents: int

@app.get("/health/ready")
def ready() -> dict[str, str]:
    return {}

@app.get("/")
async def word() -> dict[str, str | int]:
    return {"word": WORD, "pid": os.getpid()}

@app.post("/")
async def take(ride: Ride) -> Ride:
    return ride
"""


@dataclass(frozen=True)
class Plain:
    """One `python -m uvicorn`: its process and its address."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """The address, or an empty string as long as it is not known."""
        found = BANNER.search(self.log.read_text())
        return found.group(1) if found else ""


@contextmanager
def plain_uvicorns(folder: Path, names: Sequence[str], *options: str) -> Iterator[list[Plain]]:
    """Start `python -m uvicorn NAME:app` for every name at once, and wait until all are ready."""
    started = [_start(folder, name, options) for name in names]
    try:
        asyncio.run(_all_ready(started))
        yield started
    finally:
        for plain in started:
            plain.process.terminate()
        for plain in started:
            plain.process.wait(10)


def _start(folder: Path, name: str, options: Sequence[str]) -> Plain:
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", "uvicorn", f"{name}:app", "--port", "0", "--no-access-log", *options]
    with log.open("wb") as file:
        return Plain(subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, start_new_session=True), log)


async def _all_ready(started: Sequence[Plain]) -> None:
    async def ready(plain: Plain) -> None:
        async def probe() -> bool:
            return bool(plain.url) and await http_ready(plain.url + "/health/ready")

        failed = await wait_until(
            probe, READY_SECONDS, lambda: "it ended" if plain.process.poll() is not None else None
        )
        assert failed is None, f"{failed}: {plain.log.read_text()}"

    await asyncio.gather(*map(ready, started))


def make_lab(folder: Path, names: Sequence[str]) -> Lab:
    """Write the same service under each name, and return a lab of them all."""
    code, services = folder / "code", {}
    code.mkdir()
    for name in names:
        (code / f"{name}.py").write_text(SERVICE)
        services[name] = ServiceSpec(name, "run", f"{name}:app", (), (), {}, 1, "warm")
    return Lab(LabSpec("90_bench", code, "a bench", 1, False, services, {}, {}), code, folder / "run")


def table(title: str, rows: dict[str, Sequence[float]], unit: str = "s") -> None:
    """Print what was measured: one row each, the median first."""
    print(f"\n{title}")
    for name, values in rows.items():
        print(f"  {name:34} {median(values):8.3f} {unit}   of {' '.join(f'{value:.3f}' for value in values)}")
