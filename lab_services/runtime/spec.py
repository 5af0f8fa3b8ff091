"""lab.toml -> a frozen LabSpec, or one SpecError that names what is wrong and what to write instead.

Light on purpose: `open_lab` imports it, and everything here comes from the standard library.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path

from lab_services.errors import MachineError, SpecError, UnknownName
from lab_services.runtime.lab_toml import did_you_mean, read_toml
from lab_services.runtime.spec_rules import PACKAGE, read_services, read_shapes, read_tasks
from lab_services.runtime.spec_types import Kind, LabSpec, ServiceSpec, TaskSpec

__all__ = ["Kind", "LabSpec", "ServiceSpec", "TaskSpec", "course_root", "lab_names", "load_spec", "start_order"]

LAB_KEYS = ("title", "minutes", "laws", "services", "shapes", "tasks")
MOST_MINUTES = 600
_LAB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")


def course_root() -> Path:
    """Return the folder of the course: COURSE_ROOT, else the one the package stands in, else one above the cwd.

    Raises:
        MachineError: none of them has a folder labs/.
    """
    named = os.environ.get("COURSE_ROOT")
    here = Path.cwd()
    places = [Path(named).absolute()] if named else [PACKAGE.parent, here, *here.parents]
    for place in places:
        if (place / "labs").is_dir():
            return place
    raise MachineError(
        "the folder of the course is not to be found",
        where=str(places[0]),
        evidence="a course folder has labs/, solutions/ and chapters/",
        next_step="start from the course folder, or set COURSE_ROOT to it",
    )


def lab_names(root: Path | None = None) -> tuple[str, ...]:
    """Return the names of the labs there are, in the order of the course."""
    labs = (root or course_root()) / "labs"
    if not labs.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in labs.glob("*/lab.toml") if _LAB_NAME.fullmatch(path.parent.name)))


def load_spec(name: str, root: Path | None = None) -> LabSpec:
    """Read one lab by its name or the unique beginning of it ("01").

    Raises:
        UnknownName: no lab, or more than one, has that name.
        SpecError: its lab.toml says something that cannot be.
    """
    root = (root or course_root()).absolute()
    name = f"{int(name):02}" if str(name).isdecimal() else name  # 1 is chapter 01
    folder = root / "labs" / _full_name(name, root)
    table = read_toml(folder / "lab.toml", f"labs/{folder.name}/lab.toml")
    table.only(LAB_KEYS)
    services = read_services(table.table("services"), folder)
    shapes = read_shapes(table.table("shapes"), folder)
    if not services and not shapes:
        raise table.refuse("the lab has no service", next_step='add [services.rides] with run = "rides:app"')
    return LabSpec(
        name=folder.name,
        folder=folder,
        title=table.text("title"),
        minutes=table.whole("minutes", 1, MOST_MINUTES),
        laws=table.flag("laws", default=False),
        services=services,
        shapes=shapes,
        tasks=read_tasks(table.tables("tasks"), folder, tuple(shapes), bool(services)),
    )


def start_order(services: Mapping[str, ServiceSpec]) -> tuple[tuple[str, ...], ...]:
    """Return the waves in which the services start: what one needs, and who takes its spans, is in an earlier one.

    A need outside `services` (skipped or replaced in this run) does not hold anything up.
    """
    sorter = TopologicalSorter({n: [need for need in s.starts_after if need in services] for n, s in services.items()})
    sorter.prepare()
    waves = []
    while sorter.is_active():
        ready = sorter.get_ready()
        waves.append(tuple(name for name in services if name in ready))
        sorter.done(*ready)
    return tuple(waves)


def _full_name(name: str, root: Path) -> str:
    there = lab_names(root)
    if not isinstance(name, str) or not _LAB_NAME.fullmatch(name):
        raise _no_lab(f"a lab cannot be called {name!r}", there)
    if name in there:
        return name
    found = [lab for lab in there if lab.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise _no_lab(f"{name!r} is the beginning of {len(found)} labs", tuple(found))
    if (root / "labs" / name).is_dir():
        raise SpecError(f"labs/{name} has no lab.toml", where=f"labs/{name}", next_step="restore it, or write one")
    raise _no_lab(f"there is no lab {name!r}{did_you_mean(name, there)}", there)


def _no_lab(what: str, there: tuple[str, ...]) -> UnknownName:
    return UnknownName(
        what,
        where="labs/",
        evidence="labs there are: " + (", ".join(there) or "none"),
        next_step=f'type open_lab("{there[0]}")' if there else "get the course again: its labs are missing",
    )
