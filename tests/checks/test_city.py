"""The `city` fixture: how it starts, what it hands over, what its trouble looks like."""

from __future__ import annotations

import pytest

from lab_services.checks import CheckReport, run_checks
from tests.checks.toy_course import Course

STAND_IN = '''
from lab_services.errors import RuntimeLost, ServiceCrashed
from lab_services.runtime.states import ServiceState
from lab_services.views import LogView

TOLD = Path(os.environ["COURSE_CHECK_RESULT"]).parents[2] / "told.txt"

def tell(*words):
    with TOLD.open("a") as file:
        print(*words, file=file)

class StandIn:
    """Tells what is asked of it."""
    crashed = False
    def __init__(self, spec, workspace, scratch):
        tell("open", spec.name, (workspace / "toy.py").is_file(), scratch.name)
    def take_shape(self, shape):
        tell("shape", shape)
    def start(self, **options):
        tell("start", sorted((key, value) for key, value in options.items() if value))
    def stop(self):
        tell("stop")
    def close(self):
        tell("close")
    def states(self):
        return (ServiceState("toy", "run", "crashed" if self.crashed else "ready"),)
    def logs(self, name, lines=20):
        return LogView(name, (b"\\xff broken bytes", "<b> asked on port 51234", "GET /health/ready 200", "x" * 5000))

@pytest.fixture(scope="session")
def lab_class():
    return StandIn
'''


def told(course: Course) -> list[str]:
    """Return what the stand-in was asked."""
    path = course.root / "work" / "told.txt"
    return path.read_text().splitlines()


def run(course: Course, checks: str, *names: str) -> CheckReport:
    """Run checks against the stand-in."""
    course.write(STAND_IN + checks, list(names))
    return run_checks(course.spec)


def test_one_lab_is_started_afresh_for_each_check(course: Course) -> None:
    """The lab is opened once on a copy of the workspace, started and stopped per check, and closed at the end."""
    checks = "def test_a(city):\n    pass\n\ndef test_b(city):\n    pass\n\ndef test_c():\n    pass\n"
    assert run(course, checks, "test_a", "test_b", "test_c").passed
    assert told(course) == [
        "open 07_toy True city", "shape None", "start []", "stop", "shape None", "start []", "stop", "close",
    ]  # fmt: skip


def test_the_mark_says_how_the_city_starts(course: Course) -> None:
    """skip, weather, shape and replace reach the lab; the name of a fixture becomes its address."""
    checks = """
@pytest.mark.city(skip=["notices"], weather="calm", shape="monolith", replace={"wallet": "fake_bank"})
def test_a(city, fake_bank):
    assert fake_bank.url in Path(TOLD).read_text()

@pytest.mark.city(started=False)
def test_b(city):
    tell("the check starts it")
"""
    assert run(course, checks, "test_a", "test_b").passed
    lines = told(course)
    assert "shape monolith" in lines and "'skip', ['notices']" in lines[2] and "'weather', 'calm'" in lines[2]
    assert lines[4:] == ["shape None", "the check starts it", "stop", "close"]


def test_a_failure_carries_the_log_of_its_service(course: Course) -> None:
    """The last log lines of the named service are the sixth part, safe to show, without ports and health probes."""
    checks = """
def test_a(city):
    expect(False, sent="s", expected="e", came="c", why="w", look="l", service="toy")
"""
    report = run(course, checks, "test_a")
    assert list(report.rows[0].parts()) == [
        "what was sent", "expected", "what came", "why it matters", "where to look", "last log lines",
    ]  # fmt: skip
    assert "asked on port <port>" in repr(report) and "51234" not in repr(report) and "/health" not in repr(report)
    assert "<b>" not in report._repr_html_() and "51234" in report.as_json()
    assert len(repr(report)) < 3000


def test_a_crash_behind_a_failure_is_named(course: Course) -> None:
    """A check that fails while a service has ended by itself is "service crashed", with that service's log."""
    checks = '''
def test_a(city):
    """It answers."""
    city.crashed = True
    raise ConnectionError("refused")
'''
    row = run(course, checks, "test_a").rows[0]
    assert row.kind == "service crashed" and row.failure is not None and row.failure.service == "toy"
    assert "asked on port" in row.failure.log


def test_a_city_that_cannot_start_is_told_in_its_own_words(course: Course) -> None:
    """An error of the start keeps its class and its evidence, the lab is closed, and the next check gets a new one."""
    checks = '''
class Crashing(StandIn):
    def start(self, **options):
        raise ServiceCrashed("toy ended", where="toy.py:3", evidence="ZeroDivisionError", next_step="mend toy.py:3")

@pytest.fixture(scope="session")
def lab_class():
    return Crashing

def test_a(city):
    """It answers."""

def test_b(city):
    """It answers again."""
'''
    report = run(course, checks, "test_a", "test_b")
    assert [row.kind for row in report.rows] == ["service crashed", "service crashed"]
    assert "ZeroDivisionError" in repr(report) and "mend toy.py:3" in repr(report)
    assert told(course).count("close") == 2


@pytest.mark.slow
def test_a_real_city_answers_the_checks(course: Course) -> None:
    """With the real lab, right and wrong answers are told apart, and a file that cannot be imported is named."""
    checks = '''
import httpx

def test_price(city):
    """A ride costs 120 cents."""
    came = httpx.get(city["toy"].url + "/price")
    expect(came.json() == {"cents": 120}, sent="GET /price", expected="120 cents", came=came, why="w",
           look="toy.py: PRICE", service="toy")
'''
    course.write(checks, ["test_price"])
    wrong = run_checks(course.spec)
    assert wrong.rows[0].kind == "assertion" and "200 OK" in repr(wrong) and "asked for the price" in repr(wrong)
    course.answer("PRICE = 100", "PRICE = 120")
    assert run_checks(course.spec).passed
    course.answer("PRICE = 120", "PRICE = no_such_name")
    broken = run_checks(course.spec)
    assert broken.rows[0].kind == "not started" and "no_such_name" in repr(broken)
