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
TASK_SECONDS = 10.0  # what the checks of one task may take
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
    record_property("figure", "the city of chapter 01 to ready, in starts of one uvicorn")
    record_property("value", median(nothing) / one_uvicorn)
    record_property("seconds", {"nothing": nothing, "warm": warm, "one uvicorn": one_uvicorn})


@pytest.mark.parametrize("whose", ["starter", "solution"])
@pytest.mark.parametrize("task", list(load_spec(LAB).tasks))
def test_the_checks_of_one_task(
    own_work: Path, one_uvicorn: float, record_property: Record, task: str, whose: str
) -> None:
    """Judging one task takes at most ten seconds, whether the files are the starter's or the solution's."""
    spec = load_spec(LAB)
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        report = (
            run_checks(LAB, task, workspace=spec.folder)
            if whose == "starter"
            else judge(LAB, {}, spec.tasks[task].checks)
        )
        took.append(time.perf_counter() - began)
        assert report.passed is (whose == "solution"), report
    table(
        f"checks of task {task}, {whose}", {"seconds": took, "in starts of one uvicorn": [median(took) / one_uvicorn]}
    )
    record_property("figure", f"the checks of task {task}, {whose}")
    record_property("value", median(took))
    record_property("limit", TASK_SECONDS)
    record_property("unit", "s")
    record_property("uvicorns", median(took) / one_uvicorn)
    assert median(took) <= TASK_SECONDS
