"""The checks judge as they say: starters red as listed, solutions green, wrong answers dead, other designs alive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from lab_services.checks import WrongAnswer
from lab_services.checks.report import ASSERTION, CRASHED, FAILED
from lab_services.checks.verdict import WHY
from lab_services.checks.wrong_answers import Spared
from tests.course.judged import (
    LABS,
    SOLUTION,
    SPARED,
    STARTER,
    WRONG,
    Variant,
    judge_early,
    killed,
    solution_report,
    spared_report,
    spec_of,
    starter_report,
    told,
    wrong_row,
)
from tests.course.score import published_table, score_table

Record = Callable[[str, object], None]
# Checks that fail on the starter because a service of the starter ends by itself; all others fail by what they expect.
CRASH_ON_THE_STARTER = {"test_rides_start_in_any_order"}

pytestmark = [
    pytest.mark.usefixtures("judged_ahead"),
    pytest.mark.timeout(1800),  # the first waits for what was begun ahead of it, beside other tests
]


def each(of: Sequence[tuple[str, Variant]]) -> pytest.MarkDecorator:
    """Run a test for each of these; as many as there is time for are judged beside the tests of other folders."""
    name = lambda value: value if isinstance(value, str) else value.id  # noqa: E731
    begin = pytest.mark.ahead.with_args
    params = [pytest.param(lab, variant, marks=begin(judge_early, lab, variant)) for lab, variant in of]
    return pytest.mark.parametrize(("lab", "variant"), params, ids=name)


@each([(lab, STARTER) for lab in LABS])
def test_the_starter_fails_exactly_what_is_listed(lab: str, variant: Variant, record_property: Record) -> None:
    """The starter runs and fails the checks listed as red, no other, each by an expectation and not by accident."""
    report = starter_report(lab)
    red = {check for task in spec_of(lab).tasks.values() for check in task.red}
    assert {row.check: told(row) for row in report.rows if row.verdict == FAILED and row.check not in red} == {}
    assert set(report.failing) == red
    for row in report.rows:
        record_property(f"seconds of {row.check}, starter", round(row.seconds, 2))
        if row.check in red:
            assert row.kind == (CRASHED if row.check in CRASH_ON_THE_STARTER else ASSERTION), told(row)
            assert row.failure is not None and row.failure.why != WHY, f"{row.check} failed by accident: {told(row)}"


@each([(lab, SOLUTION) for lab in LABS])
def test_the_solution_passes_every_check(lab: str, variant: Variant, record_property: Record) -> None:
    """The solution passes all checks of its lab; how long the checks of each task took is kept with the result."""
    report = solution_report(lab)
    for task in spec_of(lab).tasks:
        seconds = sum(row.seconds for row in report.rows if row.task == task)
        record_property(f"seconds of task {task}, solution", round(seconds, 2))
    assert report.passed, {row.check: told(row) for row in report.rows if row.check in report.failing}


@each(WRONG)
def test_a_wrong_answer_is_killed_by_its_check(lab: str, variant: WrongAnswer) -> None:
    """The named check fails a wrong answer, and its message names the mistake."""
    row = wrong_row(lab, variant)
    assert row.verdict == FAILED, f"{variant.id} survives {variant.killed_by}: {variant.title}"
    assert killed(lab, variant), f"{variant.id}: {variant.says!r} is not in what the learner reads:\n{told(row)}"


@each(SPARED)
def test_a_spared_design_passes(lab: str, variant: Spared) -> None:
    """A right design that is not ours passes every check of its tasks."""
    report = spared_report(lab, variant)
    assert report.passed, {row.check: told(row) for row in report.rows if row.check in report.failing}


def test_the_readme_shows_the_score() -> None:
    """The score in README.md is the one that the checks have today."""
    assert published_table() == score_table(), "python -m tests.course.score writes it"
