"""A town of small services on the real runtime."""

from __future__ import annotations

import os
import socket
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from lab_services.lab import Lab
from lab_services.runtime.spec_types import LabSpec, ServiceSpec

HELLO = """
import os
from fastapi import FastAPI

app = FastAPI()
WORD = "hello"

@app.get("/health/ready")
def ready(): return {}

@app.get("/")
async def hello(): return {"word": WORD, "pid": os.getpid(), "replica": os.environ["REPLICA"]}
"""

Maker = Callable[..., Lab]


def service(name: str, **fields: object) -> ServiceSpec:
    """Return a service of the learner's, served from <name>.py unless told otherwise."""
    defaults = dict(kind="run", target=f"{name}:app", needs=(), calls=(), env={}, replicas=1, launch="warm")
    return ServiceSpec(name=name, **{**defaults, **fields})  # type: ignore[arg-type]


def town_spec(folder: Path, *services: ServiceSpec, name: str = "10_town") -> LabSpec:
    """Return a lab with these services and no tasks."""
    return LabSpec(name, folder, "a town", 1, False, {s.name: s for s in services}, {}, {})


@pytest.fixture
def make_town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Maker]:
    """Make labs in a folder of their own; every one is closed at the end."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    made: list[Lab] = []

    def make(*services: ServiceSpec, name: str = "10_town", **files: str) -> Lab:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for spec in services:
            write(folder / f"{spec.name}.py", files.get(spec.name, HELLO))
        lab = Lab(town_spec(folder, *services, name=name), folder, tmp_path / "runs" / name, ready_seconds=3)
        made.append(lab)
        return lab

    yield make
    for lab in made:
        lab.close()


def write(path: Path, source: str) -> None:
    """Save a source file as an editor does."""
    path.write_text(textwrap.dedent(source))


def until(probe: Callable[[], object], seconds: float = 5.0) -> object:
    """Poll until the probe is true; fail when it never is."""
    end = time.monotonic() + seconds
    while True:
        if found := probe():
            return found
        assert time.monotonic() < end, f"never came true within {seconds} s: {probe}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Say whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def refused(url: str) -> bool:
    """Say whether nobody listens at an address."""
    with socket.socket() as endpoint:
        endpoint.settimeout(1)
        return endpoint.connect_ex((urlsplit(url).hostname, urlsplit(url).port)) != 0


def family(lab: Lab) -> list[int]:
    """Return the pids of a lab: supervisor, launcher, services and all they have started."""
    assert lab._client is not None
    supervisor = psutil.Process(lab._client.pid)
    return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]


def marked_pids(work: Path) -> list[int]:
    """Return the processes that carry the mark of a run whose work folder this is."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get("COURSE_RUN", "")
        except (psutil.Error, OSError):
            continue
        if mark.startswith(str(work)) and process.pid != os.getpid() and alive(process.pid):
            found.append(process.pid)
    return found


def word(url: str) -> str:
    """Ask a hello service for its word."""
    return str(httpx.get(url, timeout=5).json()["word"])
