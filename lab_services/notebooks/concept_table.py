"""The concepts that the chapters carry, read from their metadata and compared with the list of what is due."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab_services.runtime.spec import course_root


@dataclass(frozen=True)
class Concept:
    """One concept that a chapter says it carries; `shown` and `checked` say whether cell and check are really there."""

    name: str
    chapter: str
    cell: str
    check: str | None
    shown: bool
    checked: bool


def concepts(root: Path | None = None) -> tuple[Concept, ...]:
    """Return every concept that a chapter names in its metadata.

    The form there is `course: {"concepts": {"<name>": {"cell": "<cell id>", "check": "<test name>" or null}}}`.
    """
    root = root or course_root()
    table: list[Concept] = []
    for path in sorted((root / "chapters").glob("[0-9][0-9]_*.ipynb")):
        book = json.loads(path.read_text(encoding="utf-8"))
        ran = {cell.get("id") for cell in book["cells"] if cell.get("execution_count") is not None}
        checks = "\n".join(file.read_text(encoding="utf-8") for file in root.glob(f"labs/{path.stem[:2]}_*/test_*.py"))
        for name, place in book["metadata"].get("course", {}).get("concepts", {}).items():
            cell, check = str(place.get("cell")), place.get("check")
            checked = check is None or re.search(rf"^def {re.escape(str(check))}\(", checks, re.MULTILINE) is not None
            table.append(Concept(name, path.stem[:2], cell, check, cell in ran, checked))
    return tuple(table)


def concept_gaps(required: Mapping[str, Iterable[str]], root: Path | None = None) -> tuple[str, ...]:
    """Return one sentence for each concept that is not carried; none when all is well.

    Args:
        required: concept -> the numbers of the chapters that may carry it ("01"), the first one due first;
            a concept is due as soon as that first chapter exists.
    """
    root = root or course_root()
    present = {path.stem[:2] for path in (root / "chapters").glob("[0-9][0-9]_*.ipynb")}
    table = concepts(root)
    gaps = [f"{one.chapter}: {one.name}: no executed cell {one.cell!r}" for one in table if not one.shown]
    gaps += [f"{one.chapter}: {one.name}: the lab has no check {one.check!r}" for one in table if not one.checked]
    gaps += [f"{one.chapter}: {one.name}: not in the list of concepts" for one in table if one.name not in required]
    for name, chapters in required.items():
        due = list(chapters)
        if due[0] in present and not any(one.name == name and one.chapter in due for one in table):
            gaps.append(f"{due[0]}: {name}: no chapter carries it")
    return tuple(sorted(gaps))
