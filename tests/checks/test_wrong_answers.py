"""Wrong answers are read, laid over the solution, judged by the same checks, and played as a review."""

from __future__ import annotations

import pytest

from lab_services.checks import judge, load_spared, load_wrong_answers, overlay, review, run_checks
from lab_services.errors import CheckError, UnknownName
from tests.checks.toy_course import NAME, PRICE_CHECK, SOLUTION, TITLE_CHECK, Course

WRONG = """
[[wrong]]
id = "T-1"
title = "the price is too low"
file = "toy.py"
find = "PRICE = 120"
replace = "PRICE = 12"
killed_by = "test_price"
says = "12 cents"
dagger = true
[[wrong]]
id = "T-2"
title = "the name of a car <b>"
edits = [
  { file = "toy.py", find = '"bike"', replace = 'car' },
  { file = "toy.py", find = "= car", replace = '= "car"' },
]
killed_by = "test_title"
says = "TITLE"
[[spared]]
id = "S-1"
title = "another file as well"
edits = [{ file = "more/prices.py", content = "x = 1" }]
"""


@pytest.fixture
def wrong(course: Course) -> Course:
    """The toy course with two wrong answers and a spared design."""
    course.write(PRICE_CHECK + TITLE_CHECK, ["test_price"], ["test_title"])
    write(course, WRONG)
    return course


@pytest.fixture
def passed(wrong: Course) -> Course:
    """The same, where the learner has passed both tasks."""
    wrong.mine.write_text(SOLUTION)
    assert run_checks(wrong.spec).passed
    return wrong


def write(course: Course, text: str) -> None:
    """Write the list of wrong answers."""
    folder = course.root / "tests" / "course" / "wrong_answers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.toml").write_text(text)


def test_solution_starter_and_answers_are_judged_by_the_same_checks(wrong: Course) -> None:
    """The solution and a spared design pass, the starter fails, each wrong answer fails its check and says why."""
    spec = wrong.spec
    assert judge(spec, {}).passed
    assert judge(spec, wrong.lab).failing == ("test_price", "test_title")
    [spared] = load_spared(spec)
    assert judge(spec, overlay(spec, spared)).passed
    for answer in load_wrong_answers(spec):
        report = judge(spec, overlay(spec, answer))
        assert report.failing == (answer.killed_by,) and answer.says in repr(report)
    one = judge(spec, overlay(spec, load_wrong_answers(spec)[0]), checks=["test_title"])
    assert one.passed and [row.check for row in one.rows] == ["test_title"]
    assert not (wrong.root / "work" / "progress.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('find = "PRICE = 120"', 'find = "PRICE = 121"', "occurs 0 times"),
        ('find = "PRICE = 120"', 'find = "i"', "not once"),
        ('find = "PRICE = 120"', 'find = ""', "not once"),
        ('replace = "PRICE = 12"', 'replace = "PRICE = 120"', "changes nothing"),
        ('killed_by = "test_price"\n', "", "'killed_by' is missing"),
        ("dagger = true", "daggger = true", "unknown key 'daggger'"),
        ('file = "toy.py"\nfind', "find", "it needs file"),
        ('id = "T-2"', 'id = "T-1"', "two entries"),
        ("[[spared]]", "[[spard]]", "unknown table 'spard'"),
        ("[[spared]]", "[[spared", "cannot be read"),
    ],
)
def test_a_bad_entry_is_refused(wrong: Course, old: str, new: str, says: str) -> None:
    """An entry that does not fit the solution or lacks a field is an error that names it."""
    assert old in WRONG
    write(wrong, WRONG.replace(old, new, 1))
    with pytest.raises(CheckError, match=says):
        [overlay(wrong.spec, answer) for answer in load_wrong_answers(wrong.spec)]


def test_a_review_gives_no_open_task_away(wrong: Course) -> None:
    """Before a task is passed there is nothing to review, and after it only the changes to that task."""
    for shown in (review(wrong.spec), review(wrong.spec, 2), review(wrong.spec).guess(1)):
        assert 'nothing to review yet: pass a task first, for instance lab.check("7.1")' in repr(shown)
        assert "PRICE" not in shown._repr_html_() and "pass a task first" in shown._repr_html_()
    wrong.answer('TITLE = "toy"', 'TITLE = "bike"')
    assert not run_checks(wrong.spec).passed
    only = review(wrong.spec, 1)
    assert only.of == 1 and len(only.choices) == 2 and "-PRICE" not in only.diff and "car" in only.diff
    with pytest.raises(UnknownName):
        review(wrong.spec, 2)


def test_a_review_does_not_name_the_bug(passed: Course) -> None:
    """The diff goes from the solution to the wrong answer; its title is one of the choices, always in one order."""
    shown = review(passed.spec)
    assert "-PRICE = 120" in shown.diff and "+PRICE = 12" in shown.diff
    assert set(shown.choices) == {"the price is too low", "the name of a car <b>"}
    assert review(passed.spec).choices == shown.choices and "test_price" not in repr(shown)
    assert "<b>" not in shown._repr_html_() and "T-1" not in shown._repr_html_()


def test_a_guess_is_answered_and_the_next_change_follows(passed: Course) -> None:
    """A wrong guess gives nothing away, a right one moves on; a number or the words will do."""
    shown = review(passed.spec)
    right = shown.choices.index("the price is too low") + 1
    assert not shown.guess(3 - right).right and "too low" not in repr(shown.guess(3 - right))
    assert review(passed.spec).number == 1
    assert shown.guess(right).right and shown.guess("The price is too low").right
    assert review(passed.spec).number == 2
    for strange in (0, 5, "nonsense"):
        with pytest.raises(UnknownName):
            shown.guess(strange)
    with pytest.raises(UnknownName):
        review(passed.spec, 3)


def test_a_reveal_runs_the_check_that_kills(passed: Course) -> None:
    """Revealing runs the named check on the wrong answer and shows what it says."""
    told = review(passed.spec, 1).reveal()
    assert told.report.failing == ("test_price",)
    assert "the price is too low" in repr(told) and "12 cents" in repr(told) and "12 cents" in told._repr_html_()
    assert review(passed.spec).number == 2
