"""Let promtool evaluate rules over stories of the city, and tell which alerts were firing in which second.

promtool compares what an expression gives with what is expected; here nothing is expected, so that it tells everything
that was firing: one question a second. What it says of a file that it cannot read is passed on as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab_services.checks.alert_stories import Story
from lab_services.checks.limits import check_seconds
from lab_services.telemetry import programs

SHARE = 0.8  # of the time of a check
AT_ONCE = 2  # promtool's processes
QUICK = {"GOGC": "400"}  # it looks for garbage more rarely: a fifth of its time
IN_EXPRESSION = " (the two numbers before `parse error` are line and column within the expression)"
_ANSWER = re.compile(r'expr: "(.*?)story (\d+).*?", time: (\S+),(.*?)(?=\n    expr: |\Z)', re.S)
_FIGURES = '{__name__=~"'  # how the question for figures begins
_FIGURE = re.compile(r'\{__name__="([^"]*)"(?:, )?([^{}]*)\} ([^\s,]+)')
_RECORDED = re.compile(r"record:[\s\"']*([\w:]+)")
_GOT = re.compile(r"\{([^{}]*)\} 1E\+00")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_TIME = re.compile(r"(\d+)([hms])")
_RULE_ERROR = re.compile(r"rule: (.*?), time: (\S+?), err: (.*)")


@dataclass(frozen=True, order=True)
class Alert:
    """An alert as it fires: its name, its severity ("" without one) and the objective that it is about, if any."""

    name: str
    severity: str
    objective: str = ""

    def __str__(self) -> str:
        told = [f'severity="{self.severity}"'] if self.severity else []
        told += [f'objective="{self.objective}"'] if self.objective else []
        return f"{self.name}{{{', '.join(told)}}}"


@dataclass(frozen=True)
class Fires:
    """That an alert has to fire: it may from second `after` on, must from `by` until `until`, not from `silent` on."""

    alert: Alert
    after: int
    by: int
    until: int
    silent: int

    def is_met(self, seconds: set[int]) -> bool:
        """Tell whether an alert that was firing in these seconds did so."""
        must = set(range(self.by, self.until))
        return must <= seconds and all(self.after <= second < self.silent for second in seconds)

    def __str__(self) -> str:
        when = f"by {self.by} s at the latest, not before {self.after} s, and no more at {self.silent} s"
        return f"{self.alert} fires {when}"


@dataclass(frozen=True)
class Case:
    """A story told in a sentence, what has to fire in it, and what may; every other alert has to be silent.

    `why` says what a city suffers whose rules get it wrong.
    """

    told: str
    why: str
    story: Story
    fires: tuple[Fires, ...] = ()
    may: tuple[Alert, ...] = ()


@dataclass(frozen=True)
class Watched:
    """What came of a case; `problem` is what promtool says when it cannot evaluate the rules.

    `figures` are values of recorded series, by name and labels, in the seconds by which an alert has to fire.
    """

    case: Case
    problem: str = ""
    firing: dict[Alert, set[int]] = field(default_factory=dict)
    figures: dict[int, dict[tuple[str, str], float]] = field(default_factory=dict)
    recorded: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """True when what must fire did, in time, and nothing else."""
        return not self.problem and not self._blamed()

    @property
    def sent(self) -> str:
        """Say what Prometheus was fed."""
        return "the rules were given to promtool" if self.problem else self.case.told

    @property
    def why(self) -> str:
        """Say why it matters."""
        return "a Prometheus that cannot read or evaluate its rules wakes nobody" if self.problem else self.case.why

    @property
    def expected(self) -> str:
        """Say what has to fire."""
        if self.problem:
            return "promtool evaluates them"
        told = "; ".join(map(str, self.case.fires)) + "; nothing else does" if self.case.fires else "nothing fires"
        return told + ("\nallowed as well: " + ", ".join(map(str, self.case.may)) if self.case.may else "")

    @property
    def came(self) -> str:
        """Say what was firing and when."""
        if self.problem:
            return self.problem
        told = [f"{alert} was firing {_spans(seconds)}" for alert, seconds in sorted(self.firing.items())]
        never = [f"{one.alert} was never firing" for one in self.case.fires if not self.of(one.alert)]
        return "; ".join(never + told) or "nothing was firing"

    @property
    def wrong(self) -> str:
        """Say what was wrong in it: first what fired too much, then what did not fire as it has to."""
        if self.problem or self.right:
            return self.came
        return "\n".join(words for _, words in self._blamed())

    @property
    def culprit(self) -> str:
        """Return the name of the alert that `wrong` begins with, "" without one."""
        blamed = [] if self.problem else self._blamed()
        return blamed[0][0].name if blamed else ""

    def _blamed(self) -> list[tuple[Alert, str]]:
        known = {one.alert for one in self.case.fires} | set(self.case.may)
        stray = sorted(self.firing.keys() - known)
        unmet = [one for one in self.case.fires if not one.is_met(self.of(one.alert))]
        blamed = [(alert, f"too much: {alert}, {_spans(self.of(alert))}") for alert in stray]
        for one in unmet:
            seconds = self.of(one.alert)
            when = f"was firing {_spans(seconds)}" if seconds else "was never firing" + self._values(one)
            blamed.append((one.alert, f"{one.alert} {when}"))
        return blamed

    def _values(self, one: Fires) -> str:
        """Say what the figures of its objective were when an alert had to fire."""
        if one.by not in self.figures or not one.alert.objective:
            return ""
        labels = f'objective="{one.alert.objective}"'
        values = {name: f"{value:.4g}" for (name, of), value in self.figures[one.by].items() if of == labels}
        told = [f"{name} = {values.get(name, 'no value')}" for name in self.recorded]
        return f"; at {one.by} s, with {{{labels}}}: {', '.join(told)}" if told else ""

    def of(self, alert: Alert) -> set[int]:
        """Return the seconds in which an alert was firing."""
        return self.firing.get(alert, set())


def watch(rules: Path, cases: Sequence[Case]) -> list[Watched]:
    """Evaluate the rules once a second over the story of each case.

    Raises:
        MissingProgram: promtool is not installed.
    """
    program = str(programs.find(programs.PROMTOOL))
    parts = [cases[at::AT_ONCE] for at in range(AT_ONCE) if cases[at::AT_ONCE]]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(pool.map(lambda part: _asked(program, rules, part), parts))
    found = {id(case): one for part, text in zip(parts, said, strict=True) for case, one in _read(part, text)}
    recorded = tuple(dict.fromkeys(_RECORDED.findall(rules.read_text(encoding="utf-8", errors="replace"))))
    return [replace(found[id(case)], recorded=recorded) for case in cases]


def _asked(program: str, rules: Path, cases: Sequence[Case]) -> str:
    with tempfile.TemporaryDirectory(prefix="rules") as folder:
        shutil.copyfile(rules, Path(folder, rules.name))
        Path(folder, "stories.yml").write_text("\n".join(_test_file(rules.name, cases)), encoding="utf-8")
        limit = SHARE * check_seconds()
        try:
            done = subprocess.run(
                [program, "test", "rules", "stories.yml"],
                cwd=folder, env=os.environ | QUICK, capture_output=True, text=True, timeout=limit,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"promtool had not evaluated the rules after {limit:g} s"
    return "" if done.returncode == 0 else done.stderr + done.stdout


def _test_file(rules: str, cases: Sequence[Case]) -> Iterator[str]:
    yield f"rule_files: [{rules}]\nevaluation_interval: 1s\ntests:"
    for number, case in enumerate(cases):
        yield "  - interval: 1s\n    input_series:"
        for name, values in case.story.series().items():
            yield f"      - series: '{name}'\n        values: '{values}'"
        firing = (
            f'count by (alertname, severity, objective) (ALERTS{{alertstate="firing", alertname!="story {number}"}})'
        )
        yield "    promql_expr_test:"
        yield from (f"      - {{expr: '{firing} > bool 0', eval_time: {at}s}}" for at in range(case.story.seconds))
        figures = f'{_FIGURES}.*:.*|story {number}"}}'
        yield from (f"      - {{expr: '{figures}', eval_time: {at}s}}" for at in sorted({o.by for o in case.fires}))


def _read(cases: Sequence[Case], said: str) -> Iterator[tuple[Case, Watched]]:
    firing: list[dict[Alert, set[int]]] = [{} for _ in cases]
    figures: list[dict[int, dict[tuple[str, str], float]]] = [{} for _ in cases]
    for asked, number, time, rest in _ANSWER.findall(said):
        got = rest.partition("got:")[2]
        if asked.replace("\\", "") == _FIGURES + ".*:.*|":
            told = {(name, labels): float(value) for name, labels, value in _FIGURE.findall(got)}
            figures[int(number)][_second(time)] = told
            continue
        for labels in _GOT.findall(got):
            of = dict(_LABEL.findall(labels))
            alert = Alert(of.get("alertname", ""), of.get("severity", ""), of.get("objective", ""))
            firing[int(number)].setdefault(alert, set()).add(_second(time))
    problem = _problem(said)
    for case, found, values in zip(cases, firing, figures, strict=True):
        yield case, Watched(case, problem, found, values)


def _problem(said: str) -> str:
    if errors := _RULE_ERROR.findall(said):
        rule, time, error = errors[0]
        return f"Prometheus cannot evaluate the rule {rule} (at {time}): {error}"
    rest = _ANSWER.sub("", said).replace("Unit Testing:  stories.yml", "").replace("FAILED:", "")
    problem = "\n".join(dict.fromkeys(line.strip() for line in rest.splitlines() if line.strip()))
    return problem + IN_EXPRESSION if "parse expression" in problem else problem


def _second(time: str) -> int:
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in _TIME.findall(time))


def _spans(seconds: set[int]) -> str:
    """Return "from 61 s to 80 s" for the seconds 61 to 80, stretch by stretch."""
    ordered = sorted(seconds)
    begins = [at for at in ordered if at - 1 not in seconds]
    ends = [at for at in ordered if at + 1 not in seconds]
    return " and ".join(f"from {begin} s to {end} s" for begin, end in zip(begins, ends, strict=True))
