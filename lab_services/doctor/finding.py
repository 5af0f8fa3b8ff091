"""What the doctor says: findings, each with the command that mends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..bootstrap import ROOT

READY = "ready to start"
_ONE_LINE = '<span style="white-space:nowrap">{}</span>'


def shown(path: Path | str) -> str:
    """Return a path as a person in the course's folder writes it, so that it is short and names no user."""
    place = Path(path)
    for base, sign in ((ROOT, "."), (Path.home(), "~")):
        if place.is_relative_to(base) and base != Path("/"):
            rest = place.relative_to(base)
            return str(rest) if sign == "." else f"{sign}/{rest}"
    return str(place)


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` is empty when it is fine; `required` is false for what only some chapters use."""

    name: str
    ok: bool
    detail: str
    mend: str = ""
    required: bool = True

    @property
    def word(self) -> str:
        """Return how it stands, in words: "fine", "mend this" or "optional"."""
        if self.ok:
            return "fine"
        return "mend this" if self.required else "optional"


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """All findings; the summary is the same on every healthy machine, the details are not."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """True when everything that every chapter needs is fine."""
        return not self.broken

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The required things that are not fine."""
        return tuple(finding for finding in self.findings if finding.required and not finding.ok)

    @property
    def absent(self) -> tuple[Finding, ...]:
        """The optional things that are not there."""
        return tuple(finding for finding in self.findings if not finding.required and not finding.ok)

    def summary(self) -> str:
        """Return "ready to start", or the names of what is to be mended first: no version, no path, no number."""
        return READY if self.ok else "not ready yet: " + ", ".join(finding.name for finding in self.broken)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"ok": self.ok, "summary": self.summary(), "findings": [asdict(finding) for finding in self.findings]}

    def __repr__(self) -> str:
        wide = max((len(finding.name) for finding in self.findings), default=0)
        lines = [f"Doctor: {self.summary()}"]
        for finding in self.findings:
            lines.append(f"  {finding.word:<9}  {finding.name:<{wide}}  {finding.detail}")
            if finding.mend:
                lines.append(f"  {'':<9}  {'':<{wide}}  -> {finding.mend}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        # Not at the top: the doctor has to come also when a package that the views need is missing.
        from ..views.html_table import Html, badge, escape, paragraph, table

        looks = {"fine": ("\u2713", "#1b6e35"), "mend this": ("\u2715", "#a51d2d"), "optional": ("\u25cb", "#55606b")}
        rows: list[list[str | Html]] = []
        for finding in self.findings:
            sign, ground = looks[finding.word]
            name = Html(_ONE_LINE.format(escape(finding.name)))
            verdict = Html(_ONE_LINE.format(badge(finding.word, sign, ground, "#ffffff").source))
            rows.append([name, verdict, finding.detail, finding.mend])
        columns = ("looked at", "verdict", "what was seen", "the command that mends it")
        return table(f"Doctor: {self.summary()}", columns, rows) + paragraph(self._closing())

    def _closing(self) -> str:
        if self.absent:
            return "Optional means: the course starts without it; a later chapter or a test of the course uses it."
        return "Nothing is missing."
