"""A warm judgement says what a fresh one says, and survives one that does not end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from lab_services.checks import limits
from lab_services.checks.report import CheckReport
from lab_services.errors import CheckError
from tests.ahead import Ahead
from tests.course.judged import STARTER, WRONG, alone, judge_ahead, judge_early, judge_variant, judge_warm

LAB, FIRST = WRONG[0]


@pytest.fixture
def judging() -> Iterator[ProcessPoolExecutor]:
    """A judging process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


def facts(report: CheckReport) -> list[tuple[str, str, str, str]]:
    """Return what a report says, without its times."""
    return [(row.check, row.verdict, row.kind, row.failure.why if row.failure else "") for row in report.rows]


@pytest.mark.parametrize("variant", [STARTER, FIRST], ids=[STARTER, FIRST.id])
def test_a_warm_judgement_is_like_a_fresh_one(judging: ProcessPoolExecutor, variant: object) -> None:
    """The same rows, twice in one judging process, for a starter and for a wrong answer."""
    fresh = facts(judge_variant(LAB, variant))  # type: ignore[arg-type]
    assert [facts(judging.submit(judge_warm, LAB, variant).result()) for _ in range(2)] == [fresh] * 2


def test_a_judgement_begun_early_is_like_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, from the process that judges beside other tests; it works in a folder that goes with it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    early = Ahead()
    try:
        early.begin(judge_early, LAB, FIRST)
        assert facts(early.result(judge_early, LAB, FIRST)) == facts(judge_variant(LAB, FIRST))
        assert [path.name[:6] for path in tmp_path.iterdir()] == ["judge-"]
    finally:
        early.close()
    assert not list(tmp_path.iterdir())


def test_one_that_does_not_end_costs_only_itself(judging: ProcessPoolExecutor) -> None:
    """A run that is cut off is an error and takes its city along; the next one is judged."""
    said = judging.submit(cut_off_after, 1.0).result()
    assert "could not be run" in said
    assert not judging.submit(judge_warm, LAB, FIRST).result().passed


def cut_off_after(seconds: float) -> str:
    """Judge a starter with a limit that no run keeps to; return what is said of it."""
    kept, limits.run_seconds = limits.run_seconds, lambda checks: seconds  # type: ignore[assignment]
    try:
        judge_warm("01_services", STARTER)
    except CheckError as error:
        return str(error)
    finally:
        limits.run_seconds = kept
    return "it ended"


def test_who_is_alone_has_nobody_beside_it(judging: ProcessPoolExecutor) -> None:
    """A judging process waits while something is judged alone, and goes on afterwards."""
    with judge_ahead([]) as pool:
        pool.submit(judge_warm, LAB, FIRST).result()
        with alone():
            waits = pool.submit(judge_warm, LAB, FIRST)
            judging.submit(judge_warm, LAB, FIRST).result()  # this one is of another pool: a judgement's time
            assert not waits.done()
        assert not waits.result().passed
