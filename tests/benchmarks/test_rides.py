"""The course costs nothing: `rides` of the city against the same endpoint in plain FastAPI, started by hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

import httpx
import pytest

from lab_services.lab import Lab
from lab_services.runtime.spec_types import LabSpec, ServiceSpec
from tests.benchmarks.closed_loop import Load, load
from tests.benchmarks.plain import plain_uvicorns, table

ROUNDS = 15
SECONDS = 1.0  # of load on each of the two, in each round
CONNECTIONS = 8
LIMIT = 1 / 0.95  # at least 0.95 of the requests a second, and at most 1 / 0.95 of the p99
RIDE = ("r-1", "ada", "b-1", "A1", "B2", "ended", 12, 340, "2026-01-01T08:00:00.000+00:00", "2026-01-01T08:12:00.000Z")
BARE = """
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException

FILE = Path(__file__).with_name("rides.db")


def connected() -> sqlite3.Connection:
    db = sqlite3.connect(FILE, 5.0, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA synchronous = NORMAL")
    return db


@asynccontextmanager
async def lifespan(app: FastAPI):
    with closing(connected()) as db:
        db.execute("PRAGMA journal_mode = WAL")
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health/ready")
def ready() -> dict[str, str]:
    return {}


@app.get("/rides/{ride_id}")
def show_ride(ride_id: str) -> dict[str, Any]:
    with closing(connected()) as db:
        db.execute("BEGIN")
        row = db.execute("SELECT * FROM rides WHERE ride_id = ?", [ride_id]).fetchone()
        db.execute("COMMIT")
    if row is None:
        raise HTTPException(404)
    return dict(row)
"""
Record = Callable[[str, object], None]
Rounds = tuple[list[Load], list[Load]]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    """Both under the same load, by turns: now this one first, now that one."""
    with both(tmp_path_factory.mktemp("rides")) as (ours, theirs):
        assert httpx.get(ours).json() == httpx.get(theirs).json() != {}
        found: Rounds = ([], [])
        for number in range(ROUNDS + 1):
            for which in (0, 1) if number % 2 else (1, 0):
                found[which].append(load((ours, theirs)[which], CONNECTIONS, SECONDS))
    return found[0][1:], found[1][1:]  # the first round is for warming up


@contextmanager
def both(folder: Path) -> Iterator[tuple[str, str]]:
    """Start `rides` as a lab does and the bare one as anybody would; give the address of the same ride in each."""
    code = folder / "code"
    code.mkdir()
    (code / "bare.py").write_text(BARE)
    rides = ServiceSpec("rides", "use", "rides", (), (), {}, 1, "warm")
    lab = Lab(LabSpec("90_bench", code, "a bench", 1, False, {"rides": rides}, {}, {}), code, folder / "run")
    try:
        lab.start()
        keep_ride(lab["rides"].data / "rides.db", code / "rides.db")
        # uvicorn's option is ours too: so nothing is won by leaving out what a bare service could leave out as well.
        with plain_uvicorns(code, ["bare"], "--no-proxy-headers") as [bare]:
            yield f"{lab['rides'].url}/rides/r-1", f"{bare.url}/rides/r-1"
    finally:
        lab.close()


def keep_ride(file: Path, copy: Path) -> None:
    """Write the one ride that is asked for; the bare service gets a copy, for each connection reads all tables' DDL."""
    with closing(sqlite3.connect(file)) as db, closing(sqlite3.connect(copy)) as other:
        with db:
            db.execute(f"INSERT INTO rides VALUES ({', '.join('?' * len(RIDE))})", RIDE)
        db.backup(other)


def test_requests_a_second(rounds: Rounds, record_property: Record) -> None:
    """`rides` answers at least 0.95 of the requests a second that the bare service answers."""
    judge(record_property, "time of a request to rides", [[1000 / each.per_second for each in who] for who in rounds])


def test_the_slowest_hundredth(rounds: Rounds, record_property: Record) -> None:
    """The p99 of `rides` is at most 1 / 0.95 of the bare service's."""
    judge(record_property, "p99 of requests to rides", [[each.p99_ms for each in who] for who in rounds])


def judge(record_property: Record, what: str, milliseconds: list[list[float]]) -> None:
    """Record the median of the rounds' ratios, each of them between neighbours in time, and hold it to the limit."""
    ours, theirs = milliseconds
    table(f"{what}, {CONNECTIONS} connections", {"the lab": ours, "bare FastAPI, plain uvicorn": theirs}, "ms")
    value = median(mine / other for mine, other in zip(ours, theirs, strict=True))
    record_property("figure", f"{what}, as a multiple of a bare FastAPI service's")
    for name, said in {"value": value, "limit": LIMIT, "unit": "ratio", "ours": ours, "theirs": theirs}.items():
        record_property(name, said)
    assert value <= LIMIT
