"""Every error a learner can meet, in one family.

LabError                   anything the course says on purpose: four parts, never a raw traceback
 |-- SpecError             a lab.toml says something that cannot be
 |-- WorkspaceError        the learner's copy under work/ is missing, foreign or in the way
 |-- MissingProgram        a program that no wheel carries is not on PATH
 |-- MachineError          the machine refuses: a port, the disk, a permission
 |-- AlreadyRunning        another notebook or terminal runs this lab
 |-- NotRunning            the lab, or the service named, is not running
 |-- UnknownName           no lab, service or task has that name
 |-- EnvoyRefuses          Envoy does not take a configuration: its own words, and the field
 |-- PrometheusRefuses     Prometheus does not take a rule, a query or a setting: its own words
 |-- RuntimeLost           the supervisor or its launcher has died
 |-- ServiceError          one service of the city is in trouble
 |    |-- BrokenCode       the learner's file cannot be imported: a typo, a wrong import
 |    |-- ServiceCrashed   it ended by itself, or was killed by something that is not you
 |    '-- NotReady         it runs, yet does not answer as ready within its time
 '-- CheckError            the checks themselves could not be run
"""

from __future__ import annotations

from typing import Any


class LabError(Exception):
    """Say what happened, where, on what evidence, and what to type next.

    Args:
        what: one sentence in the words of the city, without a full stop at the end.
        where: the service, file and line, or folder concerned; may be empty.
        evidence: the last log lines, the offending value, the path of a log; may be empty.
        next_step: what to type or to change now.
    """

    def __init__(self, what: str, *, where: str = "", evidence: str = "", next_step: str = "") -> None:
        self.what = what
        self.where = where
        self.evidence = evidence
        self.next_step = next_step
        super().__init__(what)

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"  where:    {self.where}")
        if self.evidence:
            parts.append("  evidence: " + self.evidence.rstrip().replace("\n", "\n            "))
        if self.next_step:
            parts.append("  next:     " + self.next_step.replace("\n", "\n            "))
        return "\n".join(parts)

    def _render_traceback_(self) -> list[str]:
        """Return the lines IPython prints in place of a traceback (IPython's custom traceback protocol)."""
        return [f"{type(self).__name__}: {self}"]

    def as_dict(self) -> dict[str, str]:
        """Return the error as plain strings, so that it can cross a pipe."""
        return {
            "type": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "evidence": self.evidence,
            "next_step": self.next_step,
        }

    @staticmethod
    def from_dict(fields: dict[str, Any]) -> LabError:
        """Rebuild the error that `as_dict` took apart; an unknown type becomes a plain LabError."""
        kind = _family().get(str(fields.get("type")), LabError)
        return kind(
            str(fields.get("what", "")),
            where=str(fields.get("where", "")),
            evidence=str(fields.get("evidence", "")),
            next_step=str(fields.get("next_step", "")),
        )


class SpecError(LabError):
    """A lab.toml says something that cannot be."""


class WorkspaceError(LabError):
    """The learner's copy is missing, foreign, or in the way."""


class MissingProgram(LabError):
    """A program that no wheel carries is not on PATH."""


class MachineError(LabError):
    """The machine refuses: a port, the disk, a permission."""


class AlreadyRunning(LabError):
    """Another notebook or terminal runs this lab."""


class NotRunning(LabError):
    """The lab, or the service named, is not running."""


class UnknownName(LabError):
    """No lab, service or task has that name."""


class EnvoyRefuses(LabError):
    """Envoy does not take a configuration."""


class PrometheusRefuses(LabError):
    """Prometheus, or Alertmanager, does not take a rule, a query or a setting."""


class RuntimeLost(LabError):
    """The supervisor or its launcher has died."""


class ServiceError(LabError):
    """One service of the city is in trouble."""


class BrokenCode(ServiceError):
    """The learner's file cannot be imported."""


class ServiceCrashed(ServiceError):
    """The service ended by itself, or was killed by something that is not the learner."""


class NotReady(ServiceError):
    """The service runs, yet does not answer as ready within its time."""


class CheckError(LabError):
    """The checks themselves could not be run."""


def _family() -> dict[str, type[LabError]]:
    found: dict[str, type[LabError]] = {}
    queue: list[type[LabError]] = [LabError]
    while queue:
        kind = queue.pop()
        found[kind.__name__] = kind
        queue.extend(kind.__subclasses__())
    return found
