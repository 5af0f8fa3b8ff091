"""What promtool finds, as facts: in metrics, in rules, in rules under trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab_services.errors import PrometheusRefuses
from lab_services.telemetry import promtool

RULES = """\
groups:
- name: city
  rules:
  - alert: Down
    expr: up == 0
    for: 2s
    labels: {severity: page}
"""
FIXTURE = """\
rule_files: [alert_rules.yml]
evaluation_interval: 1s
tests:
- interval: 1s
  input_series: [{series: 'up{service="rides"}', values: '1 1 0 0 0 0 0'}]
  alert_rule_test:
  - {eval_time: 3s, alertname: Down, exp_alerts: []}
  - {eval_time: 5s, alertname: Down, exp_alerts: [{exp_labels: {severity: page, service: rides}}]}
"""


@pytest.fixture(autouse=True)
def program(needs_program: Callable[[str], str]) -> None:
    """Every test here asks promtool."""
    needs_program("promtool")


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file and return it."""
    path = folder / name
    path.write_text(text)
    return path


def test_good_metrics_have_no_finding() -> None:
    """A counter with help, type and the right name is good; so is nothing at all."""
    good = "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total 1\n"
    assert promtool.check_metrics(good) == promtool.check_metrics("") == ()


def test_each_finding_names_its_metric() -> None:
    """A counter without _total and without help gives two findings, in promtool's words."""
    found = promtool.check_metrics("# TYPE calls counter\ncalls 1\n")
    assert found == (
        promtool.MetricFinding("calls", 'counter metrics should have "_total" suffix'),
        promtool.MetricFinding("calls", "no help text"),
    )


def test_what_is_no_text_of_metrics_is_refused_with_its_line() -> None:
    """A label without its closing quote is no finding but a refusal."""
    with pytest.raises(PrometheusRefuses, match="cannot be read") as caught:
        promtool.check_metrics('calls_total{status="200} 1\n')
    assert caught.value.evidence.startswith("text format parsing error in line 1")


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (("up == 0", "sum(up"), ", line 5", "unclosed left parenthesis"),
        (("alert: Down", "alrt: Down"), ", line 4", "field alrt not found"),
        (("for: 2s", "for: soon"), "", "not a valid duration string"),
        (("groups:", "groups: ["), ", line 1", "did not find expected"),
    ],
)
def test_rules_are_refused_in_promtools_words(change: tuple[str, str], line: str, words: str, tmp_path: Path) -> None:
    """The refusal names the file, and the line where promtool does."""
    rules = write(tmp_path, "alert_rules.yml", RULES.replace(*change))
    with pytest.raises(PrometheusRefuses) as caught:
        promtool.check_rules(rules)
    assert caught.value.where == f"alert_rules.yml{line}", caught.value
    assert words in caught.value.evidence


def test_good_rules_are_taken(tmp_path: Path) -> None:
    """Rules that promtool takes give no word; a rule that stands twice is a remark of it, and no refusal."""
    promtool.check_rules(write(tmp_path, "a.yml", RULES))
    promtool.check_rules(write(tmp_path, "b.yml", RULES + RULES.partition("rules:\n")[2]))


def test_a_file_that_is_not_there_or_endless_is_refused(tmp_path: Path) -> None:
    """Neither is given to promtool."""
    with pytest.raises(PrometheusRefuses, match="is not there"):
        promtool.check_rules(tmp_path / "none.yml")
    with pytest.raises(PrometheusRefuses, match="larger than 4 MB"):
        promtool.check_rules(write(tmp_path, "long.yml", "#" * (promtool.LARGEST_BYTES + 1)))


def test_a_trial_says_what_does_not_hold(tmp_path: Path) -> None:
    """Each expectation that fails is a fact with the alert, the time, and what was expected and found."""
    fixture = write(tmp_path, "trial.yml", FIXTURE)
    assert promtool.run_rule_tests(write(tmp_path, "mine.yml", RULES), fixture) == ()
    [late, other] = promtool.run_rule_tests(
        write(tmp_path, "mine.yml", RULES.replace("for: 2s", "for: 1s").replace("page", "ticket")), fixture
    )
    assert (late.name, late.time) == ("Down", "3s") and "exp:[]" in late.says and "ticket" in late.says
    assert other.time == "5s" and 'severity="page"' in other.says and 'severity="ticket"' in other.says


@pytest.mark.parametrize(
    "fixture", ["rule_files: [../a.yml]\n", "rule_files: [a.yml, b.yml]\n", "tests: []\n", "- 1\n", "a: [\n", "\0"]
)
def test_a_fixture_that_names_no_rules_file_is_refused(fixture: str, tmp_path: Path) -> None:
    """Nothing outside the folder of the trial is read or written."""
    with pytest.raises(PrometheusRefuses, match=r"cannot try rules by trial\.yml"):
        promtool.run_rule_tests(write(tmp_path, "a.yml", RULES), write(tmp_path, "trial.yml", fixture))


def test_a_fixture_that_promtool_cannot_read_is_refused(tmp_path: Path) -> None:
    """A misspelt field is no failed expectation: the refusal has promtool's words."""
    fixture = write(tmp_path, "trial.yml", FIXTURE.replace("input_series", "inputs"))
    with pytest.raises(PrometheusRefuses) as caught:
        promtool.run_rule_tests(write(tmp_path, "a.yml", RULES), fixture)
    assert "field inputs not found" in caught.value.evidence
