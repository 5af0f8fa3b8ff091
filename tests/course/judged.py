"""Judge what the course carries, each thing once in a test run: starters, solutions, wrong answers, spared designs.

Starters and solutions are judged alone. Wrong answers and spared designs are many, and of each a core is idle half the
time: `judge_ahead` has JUDGES of them judged at once while the tests take the results in their order.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

from lab_services.checks import WrongAnswer, judge, load_spared, load_wrong_answers, overlay
from lab_services.checks.report import FAILED, PARTS, CheckReport, CheckRow
from lab_services.checks.wrong_answers import Spared
from lab_services.runtime.spec import LabSpec, lab_names, load_spec

ROOT = Path(__file__).parents[2]
LABS = lab_names(ROOT)
WRONG = [(lab, wrong) for lab in LABS for wrong in load_wrong_answers(load_spec(lab, ROOT))]
JUDGES = min(4, os.cpu_count() or 1)
SPARED = [(lab, spared) for lab in LABS for spared in load_spared(load_spec(lab, ROOT))]


def spec_of(lab: str) -> LabSpec:
    """Return the spec of a lab of this course."""
    return load_spec(lab, ROOT)


@cache
def starter_report(lab: str) -> CheckReport:
    """Judge the starter by all checks of its lab."""
    return judge(spec_of(lab), spec_of(lab).folder)


@cache
def solution_report(lab: str) -> CheckReport:
    """Judge the solution by all checks of its lab."""
    return judge(spec_of(lab), {})


def judge_ahead(variants: Iterable[tuple[str, WrongAnswer | Spared]]) -> ThreadPoolExecutor:
    """Begin to judge wrong answers and spared designs, in this order; whoever shuts the pool down stops it."""
    pool = ThreadPoolExecutor(JUDGES, thread_name_prefix="judge")
    for lab, variant in variants:
        work = _judge_wrong if isinstance(variant, WrongAnswer) else _judge_spared
        if (lab, variant) not in _judged:
            _judged[lab, variant] = pool.submit(partial(work, lab), variant)
    return pool


_judged: dict[tuple[str, WrongAnswer | Spared], Future[Any]] = {}


def _once(lab: str, variant: WrongAnswer | Spared) -> Any:
    if (lab, variant) not in _judged:
        judge_ahead([(lab, variant)]).shutdown()
    return _judged[lab, variant].result()


def wrong_row(lab: str, wrong: WrongAnswer) -> CheckRow:
    """Judge a wrong answer by the one check that must fail it."""
    row: CheckRow = _once(lab, wrong)
    return row


def _judge_wrong(lab: str, wrong: WrongAnswer) -> CheckRow:
    return judge(spec_of(lab), overlay(spec_of(lab), wrong), [wrong.killed_by]).rows[0]


def spared_report(lab: str, spared: Spared) -> CheckReport:
    """Judge a spared design by the checks of every task whose files it changes."""
    report: CheckReport = _once(lab, spared)
    return report


def _judge_spared(lab: str, spared: Spared) -> CheckReport:
    changed = {edit.file for edit in spared.edits}
    tasks = [task for task in spec_of(lab).tasks.values() if changed & set(task.files)]
    checks = [check for task in tasks for check in task.checks]
    return judge(spec_of(lab), overlay(spec_of(lab), spared), checks or None)


def told(row: CheckRow) -> str:
    """Return the six parts of a failure as one text."""
    return "\n".join(str(getattr(row.failure, part)) for part in PARTS) if row.failure else ""


def killed(lab: str, wrong: WrongAnswer) -> bool:
    """Tell whether the named check fails a wrong answer and names the mistake."""
    row = wrong_row(lab, wrong)
    return row.verdict == FAILED and wrong.says in told(row)
