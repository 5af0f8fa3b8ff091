"""Prometheus's own examiner, promtool: of metrics that a service shows, of rules, and of rules under trial.

It examines the classic text format of metrics (version 0.0.4), not OpenMetrics.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lab_services.errors import PrometheusRefuses
from lab_services.telemetry import programs

SECONDS = 20.0
LARGEST_BYTES = 4_000_000
LINT_FOUND = 3  # the exit status of promtool when it can read the metrics, and has something to say of them
_UNREADABLE = "error while linting: "
_PLACE = re.compile(r"^[^:\n]*: (\d+):\d+: ", re.MULTILINE)  # alert_rules.yml: 5:11: ...
_YAML_PLACE = re.compile(r"\bline (\d+)\b")
_FAILURE = re.compile(r"^ {4}(?P<kind>alertname|expr): (?P<name>.*), time: (?P<time>[^,]+),", re.MULTILINE)


@dataclass(frozen=True)
class MetricFinding:
    """One remark on a metric, in promtool's own words."""

    metric: str
    says: str


@dataclass(frozen=True)
class RuleFailure:
    """One expectation on rules that did not hold: which alert or expression, when, and what was expected and found."""

    name: str
    time: str
    says: str


def check_metrics(text: str) -> tuple[MetricFinding, ...]:
    """Return what promtool remarks on the metrics that a service shows; nothing is good.

    Raises:
        PrometheusRefuses: this is no text format of metrics.
        MissingProgram: promtool is not installed.
    """
    done = _run("check", "metrics", given=text)
    said = done.stderr.strip()
    if done.returncode not in (0, LINT_FOUND):
        raise PrometheusRefuses(
            "these metrics cannot be read",
            where="the text of the metrics",
            evidence=said.removeprefix(_UNREADABLE),
            next_step='mend that line: name{label="value"} number, each on a line of its own',
        )
    return tuple(MetricFinding(*line.partition(" ")[::2]) for line in said.splitlines() if line)


def check_rules(file: Path) -> None:
    """Return when Prometheus would take this rules file.

    Raises:
        PrometheusRefuses: it would not: promtool's own words, the file and, where it is named, the line.
        MissingProgram: promtool is not installed.
    """
    _refuse_odd_file(file)
    done = _run("check", "rules", file.name, folder=file.parent)  # duplicate rules are a remark, and no refusal
    if done.returncode != 0:
        said = done.stderr.strip().removeprefix("FAILED:").strip()
        raise PrometheusRefuses(
            f"Prometheus does not take the rules of {file.name}",
            where=_place(file, said),
            evidence="\n".join(dict.fromkeys(line.strip() for line in said.splitlines())),
            next_step=f"mend {file.name} and save it",
        )


def run_rule_tests(file: Path, fixture: Path) -> tuple[RuleFailure, ...]:
    """Return what does not hold when the rules of `file` meet the series of `fixture` (promtool test rules).

    The fixture names one rules file, in any way that stays below a folder; `file` takes its place.

    Raises:
        PrometheusRefuses: the rules or the fixture cannot be read.
        MissingProgram: promtool is not installed.
    """
    check_rules(file)
    _refuse_odd_file(fixture)
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder, _rules_named(fixture))
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(file.read_bytes())
        trial = Path(folder, "trial.of_rules.yml")
        trial.write_bytes(fixture.read_bytes())
        done = _run("test", "rules", trial.name, folder=trial.parent)
    if done.returncode == 0:
        return ()
    found = tuple(_failures(done.stderr))
    if not found:
        said = done.stderr.strip().removeprefix("FAILED:").strip().replace(trial.name, fixture.name)
        raise _unusable(fixture, said)
    return found


def _failures(said: str) -> list[RuleFailure]:
    heads = list(_FAILURE.finditer(said))
    ends = [*(head.start() for head in heads), len(said)][1:]
    return [
        RuleFailure(head["name"].strip('"'), head["time"], said[head.end() : end].strip())
        for head, end in zip(heads, ends, strict=False)
    ]


def _rules_named(fixture: Path) -> str:
    """Return the one rules file that a fixture names."""
    import yaml  # type: ignore[import-untyped]

    try:
        read: Any = yaml.safe_load(fixture.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _unusable(fixture, str(error)) from None
    names = read.get("rule_files") if isinstance(read, dict) else None
    if not (isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) and _stays_below(names[0])):
        raise _unusable(fixture, f"rule_files is {names!r}, not a list of one file name")
    return names[0]


def _stays_below(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _unusable(fixture: Path, said: str) -> PrometheusRefuses:
    return PrometheusRefuses(
        f"promtool cannot try rules by {fixture.name}",
        where=_place(fixture, said),
        evidence=said,
        next_step=f"mend {fixture.name}: it has rule_files and tests (prometheus.io, Unit Testing for Rules)",
    )


def _refuse_odd_file(file: Path) -> None:
    if not file.is_file() or file.stat().st_size > LARGEST_BYTES:
        what = "is larger than 4 MB" if file.is_file() else "is not there"
        raise PrometheusRefuses(f"{file.name} {what}", where=str(file), next_step=f"write or restore {file.name}")


def _place(file: Path, said: str) -> str:
    found = _PLACE.search(said) or _YAML_PLACE.search(said)
    return f"{file.name}, line {found[1]}" if found else file.name


def _run(*words: str, given: str = "", folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    argv = [str(programs.find(programs.PROMTOOL)), *words]
    try:
        return subprocess.run(
            argv,
            cwd=folder,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise PrometheusRefuses(
            f"promtool did not answer within {SECONDS:g} s",
            where=" ".join(words),
            next_step="repeat it; `course doctor` says whether promtool starts on this machine",
        ) from None
