"""What a check run tells: one row per check, and for each failure its six parts.

The plain and the HTML form hold no time, port or random id: a notebook's stored output is compared with them.
Times are behind `times()`, and everything as it really was is in `as_json()`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lab_services.checks.expectation import Failure
from lab_services.checks.steady import steady, steady_log

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"

ASSERTION = "assertion"
TIME_OUT = "time-out"
CRASHED = "service crashed"
NOT_STARTED = "not started"
SYNTAX = "syntax"
ENVIRONMENT = "environment"

PARTS = {
    "sent": "what was sent",
    "expected": "expected",
    "came": "what came",
    "why": "why it matters",
    "look": "where to look",
    "log": "last log lines",
}


@dataclass(frozen=True)
class CheckRow:
    """One check: `behaviour` is what the learner reads, `kind` the class of the failure (empty when it passed)."""

    check: str
    behaviour: str
    verdict: str
    kind: str = ""
    seconds: float = 0.0
    failure: Failure | None = None
    task: str = ""

    @property
    def words(self) -> str:
        """The verdict in words: "passed", "failed", "failed: time-out"."""
        return self.verdict if self.kind in ("", ASSERTION) else f"{self.verdict}: {self.kind}"

    def parts(self) -> dict[str, str]:
        """Return the six parts by their titles, without what differs from run to run; empty parts are left out."""
        shown = {}
        for key, title in PARTS.items():
            text = str(getattr(self.failure, key, "") or "")
            text = steady_log(text) if key == "log" else steady(text, durations=False)
            if text.strip():
                shown[title] = text
        return shown

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> CheckRow:
        """Rebuild the row that `as_dict` of the report took apart."""
        failure = fields.get("failure")
        return CheckRow(**{**fields, "failure": Failure(**failure) if failure else None})


@dataclass(frozen=True, repr=False)
class CheckReport:
    """The result of one check run. An empty report is never a passed one."""

    lab: str
    task: str | None
    rows: tuple[CheckRow, ...]

    @property
    def passed(self) -> bool:
        """True when there is at least one check and every one passed."""
        return bool(self.rows) and all(row.verdict == PASSED for row in self.rows)

    @property
    def first_failing(self) -> CheckRow | None:
        """The first row that did not pass."""
        return next((row for row in self.rows if row.verdict != PASSED), None)

    @property
    def failing(self) -> tuple[str, ...]:
        """The names of all checks that did not pass."""
        return tuple(row.check for row in self.rows if row.verdict != PASSED)

    @property
    def headline(self) -> str:
        """One line: what was checked and how much of it passed."""
        what = f"{self.lab}, task {self.task}" if self.task else self.lab
        good = sum(row.verdict == PASSED for row in self.rows)
        end = ": all passed" if self.passed else ""
        return f"Checks of {what}: {good} of {len(self.rows)} passed" if not end else f"Checks of {what}{end}"

    def times(self) -> CheckTimes:
        """Return how long each check took: a view of its own, because times differ from run to run."""
        return CheckTimes(self.headline, tuple((row.behaviour, row.seconds) for row in self.rows))

    def as_dict(self) -> dict[str, Any]:
        """Return plain types, with everything as it really was."""
        fields = asdict(self)
        return {**fields, "rows": list(fields["rows"]), "passed": self.passed}

    def as_json(self) -> str:
        """Return the report as JSON text, with times and unshortened parts."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)

    def __repr__(self) -> str:
        from lab_services.checks.report_forms import report_text

        return report_text(self)

    def _repr_html_(self) -> str:
        from lab_services.checks.report_forms import report_html

        return report_html(self)


@dataclass(frozen=True, repr=False)
class CheckTimes:
    """How long each check took, in seconds; not for comparing."""

    headline: str
    seconds: tuple[tuple[str, float], ...]

    def __repr__(self) -> str:
        from lab_services.views.plain_text import text_table, visible

        return text_table(("check", "s"), [(visible(what), f"{took:.2f}") for what, took in self.seconds], {1})

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import table

        return table(self.headline, ("check", "seconds"), [(what, f"{took:.2f}") for what, took in self.seconds], {1})
