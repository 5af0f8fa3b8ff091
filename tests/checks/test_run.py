"""Check runs end in the right class, whatever the learner's file or the check does, and never green by accident."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from lab_services.checks import CheckReport, judge, run_checks
from lab_services.errors import CheckError, UnknownName
from tests.checks.toy_course import LAB, PRICE_CHECK, SOLUTION, TITLE_CHECK, Course

PARTS = ["what was sent", "expected", "what came", "why it matters", "where to look"]


def only(report: CheckReport) -> tuple[str, str]:
    """Return verdict and class of the one row."""
    assert len(report.rows) == 1
    return report.rows[0].verdict, report.rows[0].kind


def test_a_right_answer_passes(course: Course) -> None:
    """A workspace that does what the check asks for is green, with the check's first docstring line as the row."""
    course.answer("PRICE = 100", "PRICE = 120")
    report = run_checks(course.spec, "7.1")
    assert report.passed and report.first_failing is None
    assert report.rows[0].behaviour == "A ride costs 120 cents."
    assert "all passed" in repr(report) and report.rows[0].seconds > 0


def test_a_wrong_answer_fails_with_its_parts(course: Course) -> None:
    """A failed expectation tells what was sent, expected, came, why it matters and where to look."""
    report = run_checks(course.spec)
    assert only(report) == ("failed", "assertion")
    assert report.first_failing is not None and list(report.first_failing.parts()) == PARTS
    for form in (repr(report), report._repr_html_()):
        assert "GET /price" in form and "120 cents" in form and "100 cents" in form and "toy.py: PRICE" in form
        assert "the wallet would take too little" in form and "lab.hint()" in form


def test_a_plain_assert_fails_with_its_place(course: Course) -> None:
    """An assert without expect still names the check file, its line and the learner's files."""
    course.write(TITLE_CHECK, ["test_title"])
    row = run_checks(course.spec).rows[0]
    assert row.kind == "assertion" and row.failure is not None
    assert "test_toy.py, line" in row.failure.sent and row.failure.look == "toy.py"


def test_a_syntax_error_is_told_before_anything_starts(course: Course) -> None:
    """A file that Python cannot read is one row with file, line and caret, and no check runs."""
    course.check("raise SystemExit('must not run')")
    course.mine.write_text("app = 1\nprice = = 3\n")
    report = run_checks(course.spec)
    assert only(report) == ("failed", "syntax")
    assert "toy.py:2" in repr(report) and "^" in repr(report) and "mend that line" in repr(report)


@pytest.mark.parametrize("content", [b"x = '\0'\n", b"\xff\xfe\x00", b"# coding: nonsense\nx = 1\n", b"(" * 5000])
def test_a_file_that_is_hardly_text_is_told_too(course: Course, content: bytes) -> None:
    """Null bytes, wrong encodings and absurd nesting are a syntax row, not a crash of the course."""
    course.mine.write_bytes(content)
    assert only(run_checks(course.spec)) == ("failed", "syntax")


@pytest.mark.parametrize(
    ("body", "verdict", "kind"),
    [
        ("import shop", "failed", "assertion"),
        ("{}['ride_id']", "failed", "assertion"),
        ("time.sleep(30)", "failed", "time-out"),
        ("try:\n    time.sleep(30)\nexcept Exception:\n    pass", "failed", "time-out"),
        ("raise TimeoutError('no answer')", "failed", "time-out"),
        ("import httpx; raise httpx.ReadTimeout('no answer')", "failed", "time-out"),
        ("import lab_services.errors as e; raise e.BrokenCode('toy.py has no app')", "failed", "not started"),
        ("import lab_services.errors as e; raise e.NotReady('toy is not ready')", "failed", "not started"),
        ("import lab_services.errors as e; raise e.ServiceCrashed('toy ended')", "failed", "service crashed"),
        ("import lab_services.errors as e; raise e.MissingProgram('no deno')", "not run", "environment"),
        ("raise OSError(28, 'No space left on device')", "not run", "environment"),
        ("pytest.skip('no deno here')", "not run", "environment"),
    ],
)
def test_classes_are_kept_apart(
    course: Course, monkeypatch: pytest.MonkeyPatch, body: str, verdict: str, kind: str
) -> None:
    """Each way to fail has its own class, and none of them is passed."""
    monkeypatch.setenv("COURSE_CHECK_SECONDS", "0.5")
    course.check(body)
    report = run_checks(course.spec)
    assert only(report) == (verdict, kind) and not report.passed
    assert "what came" in report.rows[0].parts()


def test_a_missing_file_is_one_row(course: Course) -> None:
    """A file of the starter that is gone is named in one row, with the way back, and no check runs."""
    course.write(PRICE_CHECK + TITLE_CHECK, ["test_price"], ["test_title"])
    mine = course.mine
    (mine.parent / "more.py").write_text("")  # an empty workspace would be laid anew
    mine.unlink()
    report = run_checks(course.spec)
    assert only(report) == ("failed", "not started")
    for form in (repr(report), report._repr_html_()):
        assert "toy.py is not there" in form and "lab.reset()" in form and "lab.hint()" not in form


def test_one_reason_is_told_once(course: Course) -> None:
    """Checks that fail for the same start of a service share one block; each keeps its row."""
    body = "    import lab_services.errors as e; raise e.ServiceCrashed('toy ended', evidence='NameError')\n"
    course.write("".join(f"def test_{n}():\n{body}" for n in "abc"), ["test_a", "test_b", "test_c"])
    report = run_checks(course.spec)
    assert len(report.rows) == 3
    for form in (repr(report), report._repr_html_()):
        assert form.count("NameError") == 1 and "the same for 2 more checks: test_b, test_c" in form
        assert "mend the place" in form and "lab.hint()" not in form


def test_a_passed_task_leads_to_our_solution(course: Course) -> None:
    """After all checks of a task have passed, the report says how to see ours."""
    course.answer("PRICE = 100", "PRICE = 120")
    report = run_checks(course.spec, "7.1")
    assert repr(report).endswith('next: lab.solution("7.1") shows ours')


def test_a_check_that_blocks_in_c_is_stopped(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that no exception reaches is ended with its process; the next one is "not run"."""
    monkeypatch.setenv("COURSE_CHECK_SECONDS", "0.3")
    blocked = """
def test_blocked():
    '''It never returns.'''
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    time.sleep(60)
"""
    course.write(blocked + PRICE_CHECK, ["test_blocked", "test_price"])
    report = run_checks(course.spec)
    assert [(row.verdict, row.kind) for row in report.rows] == [("failed", "time-out"), ("not run", "time-out")]
    assert report.rows[0].behaviour == "It never returns."


@pytest.mark.parametrize(
    "body",
    ["os._exit(0)", "os._exit(1)", "os.kill(os.getpid(), 9)", "pytest.exit('enough')", "raise KeyboardInterrupt"],
)
def test_a_run_that_dies_is_an_error(course: Course, body: str) -> None:
    """A check process that ends early, even with status 0, is an error of the checks and never a result."""
    course.check(body)
    with pytest.raises(CheckError, match="could not be run"):
        run_checks(course.spec)


def test_a_check_file_that_cannot_be_imported_is_an_error(course: Course) -> None:
    """A check file with a wrong import is the course's fault and says so."""
    course.write("import no_such_module\n" + PRICE_CHECK, ["test_price"])
    with pytest.raises(CheckError) as caught:
        run_checks(course.spec)
    assert "no_such_module" in caught.value.evidence


def test_no_check_is_an_error(course: Course) -> None:
    """A lab without checks, and a check that pytest does not find, are errors and not green."""
    course.write("", ["test_price"])
    (course.lab / "lab.toml").write_text(LAB)
    with pytest.raises(CheckError, match="nothing to check"):
        run_checks(course.spec)
    course.write(PRICE_CHECK + "\ndel test_price\n", ["test_price"])
    with pytest.raises(CheckError, match="status 5"):
        run_checks(course.spec)


def test_a_broken_plugin_is_an_error(course: Course) -> None:
    """A conftest.py that breaks pytest is an error with pytest's own words as evidence."""
    (course.lab / "conftest.py").write_text("raise RuntimeError('broken plugin')\n")
    with pytest.raises(CheckError) as caught:
        run_checks(course.spec)
    assert "broken plugin" in caught.value.evidence


def test_unknown_tasks_are_refused_by_name(course: Course) -> None:
    """A task that is not there is named together with those that are."""
    with pytest.raises(UnknownName, match=r"9\.9"):
        run_checks(course.spec, "9.9")


def test_huge_and_binary_output_do_no_harm(course: Course) -> None:
    """Megabytes and raw bytes on the check's output leave the result as it is."""
    course.check(
        r"""
        os.write(1, b"\xff\x00\x1b[2J" * 1_000_000)
        print("x" * 5_000_000)
        expect(False, sent="x" * 100_000, expected="\x1b[31m<b>", came=b"\x00\xff" * 100_000, why="w", look="l")
        """
    )
    report = run_checks(course.spec)
    assert only(report) == ("failed", "assertion")
    assert len(repr(report)) < 5000 and "\x1b" not in repr(report) and "characters more" in repr(report)
    assert "<b>" not in report._repr_html_() and "&lt;b&gt;" in report._repr_html_()


def test_the_order_and_the_selection_are_those_of_the_lab(course: Course) -> None:
    """Rows come in the order of lab.toml, and a task runs no other task's checks."""
    course.write(PRICE_CHECK + TITLE_CHECK, ["test_title"], ["test_price"])
    assert [row.check for row in run_checks(course.spec).rows] == ["test_title", "test_price"]
    assert [row.check for row in run_checks(course.spec, "7.2").rows] == ["test_price"]


def test_cases_of_one_check_are_one_row(course: Course) -> None:
    """A parametrized check is one row that fails when one case fails."""
    cases = '@pytest.mark.parametrize("n", [1, 2, 3])\ndef test_case(n):\n    assert n != 2, f"case {n}"\n'
    course.write(cases, ["test_case"])
    report = run_checks(course.spec)
    assert only(report) == ("failed", "assertion") and "case 2" in repr(report)


def test_the_settings_of_the_learner_do_not_reach_the_checks(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTEST_ADDOPTS, a pytest.ini above and an installed plugin change nothing."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    (course.root / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    assert only(run_checks(course.spec)) == ("failed", "assertion")


def test_nothing_is_written_into_the_lab(course: Course) -> None:
    """A run leaves neither bytecode nor caches in the lab folder and the learner's folder."""
    before = sorted(path.name for path in course.lab.rglob("*")), sorted(p.name for p in course.mine.parent.rglob("*"))
    run_checks(course.spec)
    after = sorted(path.name for path in course.lab.rglob("*")), sorted(p.name for p in course.mine.parent.rglob("*"))
    assert before == after


def test_two_runs_at_once_do_not_disturb_each_other(course: Course) -> None:
    """Two runs on different answers, side by side, each get their own result."""
    course.check("open('mark', 'x').close(); time.sleep(0.3); expect(setting('PRICE') == '120', "
                 "sent='', expected='', came=setting('PRICE'), why='', look='')")  # fmt: skip
    found: dict[str, CheckReport] = {}

    def run(name: str, text: str) -> None:
        found[name] = judge(course.spec, {"toy.py": text})

    texts = {"right": SOLUTION, "wrong": SOLUTION.replace("120", "1")}
    threads = [threading.Thread(target=run, args=item) for item in texts.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found["right"].passed and not found["wrong"].passed


def test_the_result_can_be_read_by_a_machine(course: Course) -> None:
    """as_json() is JSON with rows, parts and seconds; the compared forms hold no seconds."""
    report = run_checks(course.spec)
    content = json.loads(report.as_json())
    assert content["passed"] is False and content["rows"][0]["failure"]["came"] == "100 cents"
    assert content["rows"][0]["seconds"] > 0 and "A ride costs" in repr(report.times())
    again = run_checks(course.spec)
    assert repr(again) == repr(report) and again._repr_html_() == report._repr_html_()


def test_a_folder_is_judged_where_it_is_named(course: Course, tmp_path: Path) -> None:
    """run_checks(workspace=...) judges that folder, leaves it alone, and counts no progress."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "toy.py").write_text(SOLUTION)
    assert run_checks(course.spec, workspace=other).passed
    assert not (course.root / "work" / "progress.json").exists()
    assert [path.name for path in other.iterdir()] == ["toy.py"]
