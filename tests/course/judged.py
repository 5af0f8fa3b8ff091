"""Judge what the course carries, each thing once in a test run: starters, solutions, wrong answers, spared designs.

It is much. Judging begins beside the other tests as soon as it may (`judge_early`, see `tests/ahead.py`); when only
judgements are left, `judge_ahead` has JUDGES of them going on at once. The tests take the results in their order. A
solution is judged as a learner's files are, all else in processes that stay warm (`warm.py`). What comes out other than
it should is judged once more, as a learner's files are and with nothing beside it, and that verdict counts.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any

from lab_services.checks import WrongAnswer, judge, load_spared, load_wrong_answers, overlay
from lab_services.checks.report import FAILED, PARTS, CheckReport, CheckRow
from lab_services.checks.subprocess_run import run_to_end
from lab_services.checks.wrong_answers import Spared
from lab_services.errors import CheckError
from lab_services.runtime.spec import LabSpec, lab_names, load_spec
from tests.ahead import AHEAD, done_here

ROOT = Path(__file__).parents[2]
LABS = lab_names(ROOT)
WRONG = [(lab, wrong) for lab in LABS for wrong in load_wrong_answers(load_spec(lab, ROOT))]
SPARED = [(lab, spared) for lab in LABS for spared in load_spared(load_spec(lab, ROOT))]
JUDGES = min(6, (os.cpu_count() or 1) + 2)  # each waits more than it works
STARTER, SOLUTION = "starter", "solution"
Variant = WrongAnswer | Spared | str
_judged: dict[tuple[str, Variant], Future[Any]] = {}
_spawn = multiprocessing.get_context("spawn")
_turns = _spawn.Semaphore(JUDGES)  # a judgement takes one; who wants to be alone takes all


@cache
def spec_of(lab: str) -> LabSpec:
    """Return the spec of a lab of this course."""
    return load_spec(lab, ROOT)


@cache
def solution_report(lab: str) -> CheckReport:
    """Judge the solution by all checks of its lab."""
    report = _once(lab, SOLUTION)
    return report if report and report.passed else judge_alone(lab, SOLUTION)


@cache
def starter_report(lab: str) -> CheckReport:
    """Judge the starter by all checks of its lab; those that say what they should not, once more."""
    report = _once(lab, STARTER)
    if report is None:
        return judge_alone(lab, STARTER)
    red = {check for task in spec_of(lab).tasks.values() for check in task.red}
    odd = sorted(set(report.failing) ^ red)
    if not odd:
        return report
    with alone():
        again = {row.check: row for row in judge(spec_of(lab), spec_of(lab).folder, odd).rows}
    return replace(report, rows=tuple(again.get(row.check, row) for row in report.rows))


@cache
def spared_report(lab: str, spared: Spared) -> CheckReport:
    """Judge a spared design by the checks of every task whose files it changes."""
    report = _once(lab, spared)
    return report if report and report.passed else judge_alone(lab, spared)


@cache
def wrong_row(lab: str, wrong: WrongAnswer) -> CheckRow:
    """Judge a wrong answer by the one check that must fail it."""
    report = _once(lab, wrong)
    row = report.rows[0] if report else None
    return row if row and row.verdict == FAILED and wrong.says in told(row) else judge_alone(lab, wrong).rows[0]


def judge_ahead(variants: Iterable[tuple[str, Variant]]) -> ProcessPoolExecutor:
    """Begin to judge what has not been judged early, in this order; whoever shuts the pool down stops it.

    Processes and not threads: ast.parse() of Python 3.11 fails when two threads are in it (python/cpython 106905).
    """
    pool = ProcessPoolExecutor(JUDGES, _spawn, _take_turns, [_turns])
    for lab, variant in variants:
        if (lab, variant) not in _judged:
            early = AHEAD.begun(judge_early, lab, variant)
            _judged[lab, variant] = early or pool.submit(judge_warm, lab, variant)
    return pool


def judge_early(lab: str, variant: Variant) -> CheckReport:
    """Judge a variant beside other tests, in a process that does nothing else."""
    _own_work()
    return judge_warm(lab, variant)


@cache
def _own_work() -> tempfile.TemporaryDirectory[str]:
    """Give this process a work folder; both end together."""
    from tests.course.warm import WARM

    folder = tempfile.TemporaryDirectory(prefix="judge-", ignore_cleanup_errors=True)
    os.environ["COURSE_WORK"] = folder.name
    atexit.register(WARM.close)  # comes before the folder goes: the last that was registered is the first
    return folder


def judge_warm(lab: str, variant: Variant) -> CheckReport:
    """Judge a variant, all but a solution in a fork of this process; to be called in a process of its own."""
    from tests.course.warm import run_warm

    with _turns:
        return judge_variant(lab, variant, run_to_end if variant == SOLUTION else run_warm)


def judge_alone(lab: str, variant: Variant) -> CheckReport:
    """Judge a variant as a learner's files are, when no judging process is at work."""
    with alone():
        return judge_variant(lab, variant)


@contextmanager
def alone() -> Iterator[None]:
    """Wait until the judging processes have ended what they are at, and keep them from the next."""
    for _ in range(JUDGES):
        _turns.acquire()
    try:
        yield
    finally:
        for _ in range(JUDGES):
            _turns.release()


def _take_turns(turns: Semaphore) -> None:
    global _turns
    _turns = turns


def judge_variant(lab: str, variant: Variant, run: Callable[..., int] = run_to_end) -> CheckReport:
    """Judge by all checks of a lab, a wrong answer by the one that kills it, a spared design by those of its tasks."""
    spec = spec_of(lab)
    if isinstance(variant, str):
        return judge(spec, spec.folder if variant == STARTER else {}, run=run)
    if isinstance(variant, WrongAnswer):
        return judge(spec, overlay(spec, variant), [variant.killed_by], run)
    changed = {edit.file for edit in variant.edits}
    tasks = [task for task in spec.tasks.values() if changed & set(task.files)]
    checks = [check for task in tasks for check in task.checks]
    return judge(spec, overlay(spec, variant), checks or None, run)


def _once(lab: str, variant: Variant) -> CheckReport | None:
    """Return the first judgement; None where the checks could not be run, which can come from what ran beside them."""
    if (lab, variant) not in _judged:
        _judged[lab, variant] = done_here(judge_variant, lab, variant)
    try:
        report: CheckReport = _judged[lab, variant].result()
    except CheckError:
        return None
    return report


def told(row: CheckRow) -> str:
    """Return the six parts of a failure as one text."""
    return "\n".join(str(getattr(row.failure, part)) for part in PARTS) if row.failure else ""


def killed(lab: str, wrong: WrongAnswer) -> bool:
    """Tell whether the named check fails a wrong answer and names the mistake."""
    row = wrong_row(lab, wrong)
    return row.verdict == FAILED and wrong.says in told(row)
