"""Progress is kept, survives a broken file, and decides which hints and solutions a learner sees."""

from __future__ import annotations

import json
import threading

import pytest

from lab_services.checks import hint, progress, run_checks, solution
from lab_services.errors import UnknownName
from tests.checks.toy_course import PRICE_CHECK, TITLE_CHECK, Course


def two_tasks(course: Course) -> None:
    """Give the lab a price task and a title task, in one file."""
    course.write(PRICE_CHECK + TITLE_CHECK, ["test_price"], ["test_title"])


def state(course: Course, task: int = 0) -> tuple[str, int]:
    """Return words and attempts of a task."""
    row = progress().rows[task]
    return row.words, row.attempts


def test_a_passed_task_stays_passed(course: Course) -> None:
    """The best result counts: a task that passed once is passed, whatever the learner tries later."""
    assert state(course) == ("not begun", 0)
    run_checks(course.spec)
    assert state(course) == ("begun: 0 of 1 checks", 0)
    course.answer("PRICE = 100", "PRICE = 120")
    run_checks(course.spec)
    course.answer("PRICE = 120", "PRICE = 1")
    run_checks(course.spec)
    assert state(course) == ("passed", 2)
    assert "1 of 1 tasks passed" in repr(progress()) and "1 of 1 tasks passed" in progress()._repr_html_()
    [(task, at)] = progress().times()
    assert task == "07_toy 7.1" and at.startswith("20") and at not in repr(progress()) + progress()._repr_html_()


def test_only_honest_attempts_count(course: Course) -> None:
    """The starter, the same text again, a comment, another task's zone and a syntax error are no attempts."""
    two_tasks(course)
    for old, new in [
        ("", ""),
        ("PRICE = 100", "PRICE = 100  # hm"),
        ("PRICE = 100  # hm", "PRICE  =  100"),
        ('TITLE = "toy"', 'TITLE = "car"'),
        ("PRICE  =  100", "PRICE = = 1"),
    ]:
        course.answer(old, new)
        run_checks(course.spec)
    assert state(course, 0)[1] == 0 and state(course, 1)[1] == 1
    for price in ("7", "8", "7"):
        course.mine.write_text((course.lab / "toy.py").read_text().replace("PRICE = 100", f"PRICE = {price}"))
        run_checks(course.spec, "7.1")
    assert state(course, 0)[1] == 2


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 99}', '{"version": 1, "labs": {"x": 3}}', "\0\0", "null"]
)
def test_a_broken_file_is_kept_beside_and_reported(course: Course, content: str) -> None:
    """A file that cannot be read is renamed, named in every later view, and progress goes on."""
    run_checks(course.spec)
    path = course.root / "work" / "progress.json"
    path.write_text(content)
    run_checks(course.spec)
    assert (path.parent / "progress.broken-1.json").read_text() == content
    assert state(course)[0].startswith("begun")
    for _ in range(2):
        assert "progress.broken-1.json" in repr(progress()) and "progress.broken-1.json" in progress()._repr_html_()
    assert json.loads(path.read_text())["version"] == 1


def test_two_writers_lose_nothing(course: Course) -> None:
    """Hints taken by many threads at once are all counted."""
    eight = '[tasks.hints_for]\ntest_price = ["1","2","3","4","5","6","7","8"]\n'
    course.write(PRICE_CHECK, ["test_price"], more=eight)
    run_checks(course.spec)
    threads = [threading.Thread(target=hint, args=(course.spec,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress().rows[0].hints == 8


def test_hints_climb_and_stay_on_the_last(course: Course) -> None:
    """Each call gives the next rung for the first failing check; after the last one it is given again."""
    assert "lab.check() first" in repr(hint(course.spec))
    run_checks(course.spec)
    assert [hint(course.spec).rung for _ in range(4)] == [1, 2, 3, 3]
    course.answer("PRICE = 100", "PRICE = 120")
    run_checks(course.spec)
    assert "every check passed" in repr(hint(course.spec))


def test_a_check_with_hints_of_its_own_gets_them(course: Course) -> None:
    """hints_for goes before the task's ladder, and each ladder is climbed on its own."""
    own = '[tasks.hints_for]\ntest_title = ["say bike"]\n'
    course.write(PRICE_CHECK + TITLE_CHECK, ["test_price", "test_title"], more=own)
    run_checks(course.spec)
    assert "look at" in hint(course.spec).text
    course.answer("PRICE = 100", "PRICE = 120")
    run_checks(course.spec)
    first = hint(course.spec)
    assert (first.text, first.rung, first.rungs) == ("say bike", 1, 1)


def test_hints_are_escaped(course: Course) -> None:
    """A hint's markup is shown as text; code and links into the course are marked, other links are not."""
    run_checks(course.spec)
    one, two, three = (hint(course.spec)._repr_html_() for _ in range(3))
    assert "<code>PRICE</code>" in one
    assert '<a href="../chapters/07.ipynb#price">the chapter</a>' in two
    assert "<b>" not in three and "&lt;b&gt;120" in three
    with pytest.raises(UnknownName):
        hint(course.spec, "9.9")


def test_a_broken_file_has_no_hint(course: Course) -> None:
    """After a syntax error the hint is to mend the line."""
    course.mine.write_text("(")
    run_checks(course.spec)
    assert "cannot be read" in repr(hint(course.spec))


def test_a_done_task_leads_to_the_next(course: Course) -> None:
    """When the latest run passed its task and another is open, the hint names the next task to check."""
    two_tasks(course)
    course.answer("PRICE = 100", "PRICE = 120")
    run_checks(course.spec, "7.1")
    assert '7.1 is done; next: lab.check("7.2")' in repr(hint(course.spec))


def test_a_crash_is_no_honest_attempt(course: Course) -> None:
    """Three different texts that only crash leave the solution closed, also when no task is named."""
    course.check("import lab_services.errors as e; raise e.ServiceCrashed('toy ended')")
    for price in "789":
        course.mine.write_text((course.lab / "toy.py").read_text().replace("PRICE = 100", f"PRICE = {price}"))
        run_checks(course.spec)
    assert state(course)[1] == 0 and not solution(course.spec).open


def test_the_solution_opens_after_three_attempts(course: Course) -> None:
    """Closed, it says kindly how many attempts are left; after three honest ones it is a diff of the zone."""
    assert "3 more honest attempts" in repr(solution(course.spec))
    for price, left in ((1, "2 more honest attempts"), (2, "one more honest attempt")):
        course.mine.write_text((course.lab / "toy.py").read_text().replace("PRICE = 100", f"PRICE = {price}"))
        run_checks(course.spec)
        shown = solution(course.spec, "7.1")
        assert not shown.open and left in repr(shown) and "120" not in repr(shown) + shown._repr_html_()
    course.mine.write_text((course.lab / "toy.py").read_text().replace("PRICE = 100", "PRICE = 3"))
    run_checks(course.spec)
    assert solution(course.spec).open and "+PRICE = 120" in repr(solution(course.spec))


def test_the_solution_shows_no_other_task(course: Course) -> None:
    """The diff of one task leaves the zones of the others as they are."""
    two_tasks(course)
    course.answer("PRICE = 100", "PRICE = 120")
    run_checks(course.spec, "7.1")
    shown = solution(course.spec, "7.1")
    assert "-PRICE = 100" in shown.diff and 'TITLE = "bike"' not in shown.diff
    assert not solution(course.spec, "7.2").open
    with pytest.raises(UnknownName):
        solution(course.spec, "9.9")
