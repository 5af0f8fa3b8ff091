"""Stories become series as Prometheus would have scraped them, and promtool's answers become what was firing when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab_services.checks.alert_judge import Alert, Case, Fires, Watched, watch
from lab_services.checks.alert_stories import Phase, Story, Taps
from lab_services.errors import MissingProgram

DOWN = Alert("TargetDown", "page")
MUST = Fires(DOWN, after=5, by=7, until=10, silent=12)
RULES = """
groups:
  - name: city
    rules:
      - {alert: TargetDown, expr: up == 0, for: 1s, labels: {severity: page}}
"""
OUTAGE = Story(Phase(5), Phase(5, down=("taps-2",)), Phase(4))
ONE = (Taps(riders=2, probes=0),)


def count(story: Story, status: str, part: str = "count", more: str = "") -> list[str]:
    """Return the values of the first replica's taps with one status."""
    series = f'request_seconds_{part}{{route="/unlock",status="{status}"{more},job="taps",instance="taps-1"}}'
    return story.series()[series].split()


def came_of(*seconds: int) -> Watched:
    """Return what is made of an alert that was firing in these seconds."""
    return Watched(Case("an outage", "why", OUTAGE, (MUST,)), firing={DOWN: set(seconds)} if seconds else {})


def test_a_counter_grows_and_a_restart_begins_at_zero() -> None:
    """Each second has one sample; a replica that is restarted has counted nothing but what came since."""
    story = Story(Phase(3, ONE), Phase(2, ONE, restarted=("taps-1",)))
    assert count(story, "200") == ["2", "4", "6", "2", "4"]


def test_a_status_is_there_from_its_first_answer_on() -> None:
    """A series of failures begins with the first failure, and after a restart it is gone."""
    story = Story(Phase(2, ONE), Phase(2, (Taps(2, failed=0.5),)), Phase(2, ONE, restarted=("taps-1",)))
    assert count(story, "503") == ["_", "_", "1", "2", "stale", "_"]


def test_a_slow_answer_is_only_in_the_buckets_above_it() -> None:
    """An answer of 0.8 s is not in the bucket of 0.5 s, and in that of 1 s."""
    story = Story(Phase(1, (Taps(4, slow=0.25, probes=0),)))
    limits = {le: count(story, "200", "bucket", f',le="{le}"') for le in ("0.5", "1.0", "+Inf")}
    assert limits == {"0.5": ["3"], "1.0": ["4"], "+Inf": ["4"]}


def test_a_replica_that_is_down_has_up_0_and_one_that_is_forgotten_has_none() -> None:
    """Prometheus marks the series of both as stale; only of the first it knows that it is down."""
    story = Story(Phase(1), Phase(2, down=("taps-2",), forgotten=("rides-1",)))
    series = story.series()
    assert series['up{job="taps",instance="taps-2"}'] == "1 0 0"
    assert series['up{job="rides",instance="rides-1"}'] == "1 stale _"
    assert series['rides_ended_total{job="rides",instance="rides-1"}'] == "2 stale _"


@pytest.mark.parametrize(
    ("seconds", "right"),
    [
        ((6, 7, 8, 9), True),
        ((5, 6, 7, 8, 9, 10, 11), True),
        ((), False),
        ((4, 5, 6, 7, 8, 9), False),
        ((8, 9), False),
        ((7, 9), False),
        ((7, 8, 9, 12), False),
    ],
    ids=["in time", "as long as it may", "never", "too early", "too late", "with a gap", "too long"],
)
def test_an_alert_fires_in_time_without_a_gap_and_not_too_long(seconds: tuple[int, ...], right: bool) -> None:
    """What must fire may begin and end a little later, and has no gap in between."""
    assert came_of(*seconds).right is right


def test_another_alert_is_wrong_unless_it_may_fire() -> None:
    """Every alert of the file counts, whatever its name."""
    stray = Alert("Mine", "page")
    firing = {DOWN: {7, 8, 9}, stray: {1}}
    assert not Watched(Case("an outage", "why", OUTAGE, (MUST,)), firing=firing).right
    assert Watched(Case("an outage", "why", OUTAGE, (MUST,), (stray,)), firing=firing).right


def test_what_is_wrong_begins_with_what_fired_too_much_and_leaves_out_what_may_fire() -> None:
    """The culprit is an alert that nobody expects, else the one that did not fire as it has to."""
    stray, may = Alert("Mine", "page"), Alert("Ours", "ticket")
    case = Case("an outage", "why", OUTAGE, (MUST,), (may,))
    too_much = Watched(case, firing={DOWN: {8, 9}, may: {3}, stray: {1, 2}})
    assert too_much.culprit == "Mine"
    assert too_much.wrong.splitlines() == [
        'too much: Mine{severity="page"}, from 1 s to 2 s',
        'TargetDown{severity="page"} was firing from 8 s to 9 s',
    ]
    never = Watched(case, firing={may: {3}})
    assert (never.culprit, never.wrong) == ("TargetDown", 'TargetDown{severity="page"} was never firing')
    assert too_much.expected.splitlines()[1] == 'allowed as well: Ours{severity="ticket"}'


def test_promtool_tells_what_was_firing_when(needs_program: Callable[[str], str], tmp_path: Path) -> None:
    """Each case has the answers of its own story: one has an outage, the others do not."""
    needs_program("promtool")
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES)
    cases = [
        Case("well", "", Story(Phase(3))),
        Case("an outage", "", OUTAGE, (MUST,)),
        Case("well", "", Story(Phase(3))),
    ]
    well, outage, again = watch(rules, cases)
    assert well.right and again.right and not well.firing and not again.firing
    assert outage.right and outage.firing == {DOWN: {6, 7, 8, 9}}
    assert outage.came == 'TargetDown{severity="page"} was firing from 6 s to 9 s'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [", "rules.yml: yaml: line 1: did not find expected node content"),
        (
            RULES.replace("up ==", "up ="),
            "(the two numbers before `parse error` are line and column within the expression)",
        ),
        (RULES.replace("up == 0", '"up * on(job) up"'), "Prometheus cannot evaluate the rule TargetDown (at 0s): "),
    ],
    ids=["no YAML", "no PromQL", "no evaluation"],
)
def test_rules_that_cannot_be_used_are_told_in_promtools_words(
    needs_program: Callable[[str], str], tmp_path: Path, text: str, said: str
) -> None:
    """Nothing is right then, and the words have file and line, or the rule and the time."""
    needs_program("promtool")
    rules = tmp_path / "rules.yml"
    rules.write_text(text)
    [came] = watch(rules, [Case("well", "why", Story(Phase(2)))])
    assert not came.right and said in came.came and came.sent == "the rules were given to promtool"
    assert came.why != "why" and "\n" not in came.came


def test_of_an_alert_that_never_fired_the_figures_are_told(needs_program: Callable[[str], str], tmp_path: Path) -> None:
    """Those of its objective, at the time by which it had to fire; a figure of another objective has no value."""
    needs_program("promtool")
    rules = tmp_path / "rules.yml"
    rule = "      - {{record: {}, expr: count(up == 0) / 4, labels: {{objective: {}}}}}\n"
    rules.write_text(RULES + rule.format("bad:now", "taps") + rule.format("bad:later", "billing"))
    must = Fires(Alert("Burns", "page", "taps"), after=5, by=7, until=10, silent=12)
    [came] = watch(rules, [Case("an outage", "why", OUTAGE, (must,), (DOWN,))])
    told = 'was never firing; at 7 s, with {objective="taps"}: bad:now = 0.25, bad:later = no value'
    assert not came.right and came.wrong == f"{must.alert} {told}"


def test_without_promtool_the_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without promtool is told what to type; nothing is judged."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match="promtool is not installed") as told:
        watch(tmp_path / "rules.yml", [Case("well", "", Story(Phase(1)))])
    assert "prometheus" in told.value.next_step
