"""Chapter 01 as a learner meets it: the whole city to ready, and one task's checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import pytest

from lab_services import open_lab
from lab_services.checks import judge, run_checks
from lab_services.runtime.spec import load_spec
from tests.benchmarks.plain import make_lab, plain_uvicorns, table

LAB = "01_services"
ROUNDS = 3
# What the checks of one task may take: 10 s on a machine that needs 0.4 s to start one uvicorn.
TASK_STARTS = 25
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def one_uvicorn(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The measuring rod: seconds until one plain FastAPI service is ready on this machine, now."""
    folder = tmp_path_factory.mktemp("rod")
    make_lab(folder, ["rod"])

    def once() -> float:
        began = time.perf_counter()
        with plain_uvicorns(folder / "code", ["rod"]):
            return time.perf_counter() - began

    return median([once() for _ in range(ROUNDS + 1)][1:])


@pytest.fixture
def own_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the learner's copies that is nobody's."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    yield tmp_path / "work"


def test_the_whole_city_to_ready(own_work: Path, one_uvicorn: float, record_property: Record) -> None:
    """The city of chapter 01, gateway and all, in plain uvicorn starts: from nothing, and with a warm runtime."""
    nothing, warm = [], []
    for _ in range(ROUNDS):
        lab = open_lab(LAB)
        try:
            for seconds in (nothing, warm):
                began = time.perf_counter()
                lab.start()
                seconds.append(time.perf_counter() - began)
                assert {state.state for state in lab.states()} == {"ready"}
                lab.stop()
        finally:
            lab.close()
    table(f"the city of {LAB}", {"from nothing": nothing, "runtime warm": warm, "one uvicorn": [one_uvicorn]})
    record_property("figure", "the city of chapter 01 from nothing to ready")
    record_property("value", median(nothing) / one_uvicorn)
    record_property("unit", "uvicorn starts")
    record_property("seconds", {"nothing": nothing, "warm": warm, "one uvicorn": one_uvicorn})


@pytest.mark.parametrize("whose", ["starter", "solution"])
@pytest.mark.parametrize("task", list(load_spec(LAB).tasks))
def test_the_checks_of_one_task(
    own_work: Path, one_uvicorn: float, record_property: Record, task: str, whose: str
) -> None:
    """Judging one task takes at most 25 starts of one uvicorn, whether by the starter's files or the solution's."""
    spec = load_spec(LAB)
    began = time.perf_counter()
    if whose == "starter":
        report = run_checks(LAB, task, workspace=spec.folder)
    else:
        report = judge(LAB, {}, spec.tasks[task].checks)
    seconds = time.perf_counter() - began
    assert report.passed is (whose == "solution"), report
    table(f"checks of task {task}, {whose}", {"all of them": [seconds], "one uvicorn": [one_uvicorn]})
    record_property("figure", f"the checks of task {task}, {whose}")
    record_property("value", seconds / one_uvicorn)
    record_property("limit", TASK_STARTS)
    record_property("unit", "uvicorn starts")
    record_property("seconds", seconds)
    assert seconds / one_uvicorn <= TASK_STARTS
