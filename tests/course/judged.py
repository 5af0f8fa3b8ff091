"""Judge what the course carries, each thing once in a test run: starters, solutions, wrong answers, spared designs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from lab_services.checks import WrongAnswer, judge, load_spared, load_wrong_answers, overlay
from lab_services.checks.report import FAILED, PARTS, CheckReport, CheckRow
from lab_services.checks.wrong_answers import Spared
from lab_services.runtime.spec import LabSpec, lab_names, load_spec

ROOT = Path(__file__).parents[2]
LABS = lab_names(ROOT)
WRONG = [(lab, wrong) for lab in LABS for wrong in load_wrong_answers(load_spec(lab, ROOT))]
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


@cache
def wrong_row(lab: str, wrong: WrongAnswer) -> CheckRow:
    """Judge a wrong answer by the one check that must fail it."""
    return judge(spec_of(lab), overlay(spec_of(lab), wrong), [wrong.killed_by]).rows[0]


@cache
def spared_report(lab: str, spared: Spared) -> CheckReport:
    """Judge a spared design by the checks of every task whose files it changes."""
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
