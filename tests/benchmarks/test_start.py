"""Six FastAPI services: from nothing to ready, and what they take of the memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
import pytest

from tests.benchmarks.plain import make_lab, plain_uvicorns, table

NAMES = ("one", "two", "three", "four", "five", "six")
ROUNDS = 5
MEBIBYTE = 1024 * 1024
Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Start:
    """One round: seconds until six services were ready, and private bytes then."""

    plain: float
    nothing: float
    warm: float
    plain_bytes: int
    services_bytes: int
    all_bytes: int


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> list[Start]:
    """Both ways in turn, five times; a first round fills the caches and does not count."""
    return [one_round(tmp_path_factory.mktemp("start")) for _ in range(ROUNDS + 1)][1:]


def one_round(folder: Path) -> Start:
    """Start six services in both ways; ours from nothing, and once more when the runtime is warm."""
    lab = make_lab(folder, NAMES)
    began = time.perf_counter()
    with plain_uvicorns(folder / "code", NAMES) as started:
        plain = time.perf_counter() - began
        plain_bytes = private_bytes(*(one.process.pid for one in started))
    try:
        began = time.perf_counter()
        lab.start()
        nothing = time.perf_counter() - began
        services = [pid for name in NAMES for pid in lab[name].pids]
        own = [child.pid for child in psutil.Process().children(recursive=True)]
        assert set(services) < set(own)
        services_bytes, all_bytes = private_bytes(*services), private_bytes(*own)
        lab.stop()
        began = time.perf_counter()
        lab.start()
        warm = time.perf_counter() - began
    finally:
        lab.close()
    return Start(plain, nothing, warm, plain_bytes, services_bytes, all_bytes)


def private_bytes(*pids: int) -> int:
    """Return the memory that would be free again if these processes ended (unique set size)."""
    return sum(psutil.Process(pid).memory_full_info().uss for pid in pids)


def test_six_services_from_nothing(starts: list[Start], record_property: Record) -> None:
    """Supervisor, launcher and six services take a quarter of the time of six plain uvicorns started at once."""
    keep(starts, record_property, "six services from nothing to ready", [s.nothing for s in starts], 0.25)


def test_six_services_once_the_runtime_is_warm(starts: list[Start], record_property: Record) -> None:
    """With supervisor and launcher running, the six services take a tenth."""
    keep(starts, record_property, "six services to ready, runtime warm", [s.warm for s in starts], 0.10)


def keep(starts: list[Start], record: Record, figure: str, ours: list[float], limit: float) -> None:
    """Record the median of the ratios of the rounds, print the seconds, hold the limit."""
    plain = [start.plain for start in starts]
    value = median(own / other for own, other in zip(ours, plain, strict=True))
    table(figure, {"the lab": ours, "six times python -m uvicorn": plain})
    for name, said in {"figure": figure, "value": value, "limit": limit, "seconds": ours, "plain": plain}.items():
        record(name, said)
    assert value <= limit


def test_private_memory_of_six_services(starts: list[Start], record_property: Record) -> None:
    """The six services hold at most half of the private memory of six plain uvicorns."""
    ours = [start.services_bytes for start in starts]
    keep_memory(starts, record_property, "private memory of six services", ours, limit=0.5)


def test_private_memory_with_the_runtime(starts: list[Start], record_property: Record) -> None:
    """The same with supervisor and launcher counted in: what the lab takes as a whole; less than six uvicorns take."""
    ours = [start.all_bytes for start in starts]
    keep_memory(starts, record_property, "private memory of six services and the runtime", ours, limit=1.0)


def keep_memory(starts: list[Start], record: Record, figure: str, ours: list[int], limit: float) -> None:
    """Record the median of the ratios, print the megabytes, hold the limit."""
    plain = [start.plain_bytes for start in starts]
    value = median(own / other for own, other in zip(ours, plain, strict=True))
    rows = {"the lab": [n / MEBIBYTE for n in ours], "six uvicorns": [n / MEBIBYTE for n in plain]}
    table(figure, rows, "MB")
    for name, said in {"figure": figure, "value": value, "limit": limit, "megabytes": rows}.items():
        record(name, said)
    assert value <= limit
