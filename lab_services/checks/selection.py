"""Which checks a run judges, in which order, and in which shape of the city."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab_services.errors import CheckError, UnknownName
from lab_services.runtime.check_names import check_names
from lab_services.runtime.spec import LabSpec


@dataclass(frozen=True)
class Check:
    """One check function; `task` is empty for a check that no task lists."""

    name: str
    task: str = ""
    shape: str | None = None


def selected(spec: LabSpec, task: str | None = None, names: Sequence[str] | None = None) -> tuple[Check, ...]:
    """Return the checks of one task or of the whole lab; `names` keeps only these.

    A check that several tasks list is judged once, for the first of them. Of a lab without tasks, all are judged.

    Raises:
        UnknownName: the lab has no such task, or no such check.
        CheckError: nothing is left to check.
    """
    found: dict[str, Check] = {}
    for each in spec.tasks.values():
        for name in each.checks if task in (None, each.id) else ():
            found.setdefault(name, Check(name, each.id, each.shape))
    if task is not None and task not in spec.tasks:
        raise _unknown(spec, "task", task, tuple(spec.tasks))
    if not spec.tasks:
        found = {name: Check(name) for name in sorted(check_names(spec.folder))}
    for name in names or ():
        if name not in found:
            raise _unknown(spec, "check", name, tuple(found))
    kept = tuple(check for name, check in found.items() if names is None or name in names)
    if not kept:
        raise CheckError(
            f"{spec.name} has nothing to check" + (f" for task {task}" if task else ""),
            where=f"labs/{spec.name}/lab.toml",
            next_step='list its checks: checks = ["test_..."]',
        )
    return kept


def _unknown(spec: LabSpec, kind: str, name: str, there: tuple[str, ...]) -> UnknownName:
    return UnknownName(
        f"{spec.name} has no {kind} {name!r}",
        where=f"labs/{spec.name}",
        evidence=f"{kind}s there are: " + (", ".join(there) or "none"),
        next_step=f'type lab.check("{there[0]}")' if there and kind == "task" else "type lab.check()",
    )
