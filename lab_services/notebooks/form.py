"""The form in which a notebook is committed: stable ids, clean metadata, outputs and counts in order."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat

from lab_services.errors import LabError

IGNORED = "nbval-ignore-output"
CELL_KEYS = ("course", "jupyter", "tags")
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"  # points to a state that is not stored
_CELL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_nbformat: Any = nbformat  # some of its functions carry no types


def read_notebook(path: Path) -> Any:
    """Read a notebook; a cell without an id (or with one that is taken) gets one made from its content.

    Raises:
        LabError: the file is no notebook of format 4.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        _give_ids(raw["cells"])
        raw["nbformat_minor"] = 5
        book = _nbformat.reads(json.dumps(raw), as_version=4)
        nbformat.validate(book)
    except (ValueError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise LabError(
            f"{path.name} is not a notebook of format 4",
            where=str(path),
            evidence=f"{type(error).__name__}: {str(error)[:300]}",
            next_step=f"compare it with the version before: git diff {path.name}",
        ) from None
    return book


def normalised(nb: Any) -> str:
    """Return the text in which a notebook is committed; nothing is run.

    A cell of varying output whose source is not the one that was rendered loses its outputs, so it shows up as changed.
    """
    book = copy.deepcopy(nb)
    book.nbformat, book.nbformat_minor = 4, 5
    course = {"course": book.metadata["course"]} if "course" in book.metadata else {}
    book.metadata = _nbformat.from_dict({**course, "kernelspec": KERNEL, "language_info": {"name": "python"}})
    _give_ids(book.cells)
    for cell in book.cells:
        _clean_metadata(cell)
    ran = [cell for cell in code_cells(book) if cell.execution_count is not None]
    for number, cell in enumerate(ran, start=1):
        cell.execution_count = number
        cell.outputs = _clean_outputs(cell.outputs, number)
    return str(_nbformat.writes(book)).rstrip("\n") + "\n"


def _clean_metadata(cell: Any) -> None:
    cell.metadata = _nbformat.from_dict({key: cell.metadata[key] for key in CELL_KEYS if cell.metadata.get(key)})
    course = cell.metadata.get("course", {})
    if cell.cell_type == "code" and (not cell.source.strip() or _is_stale(cell)):
        cell.outputs, cell.execution_count = [], None
    if cell.cell_type != "code" or IGNORED not in tags_of(cell):
        course.pop("rendered", None)
    if not course:
        cell.metadata.pop("course", None)


def _is_stale(cell: Any) -> bool:
    return IGNORED in tags_of(cell) and cell.metadata.get("course", {}).get("rendered") != fingerprint(cell)


def _clean_outputs(outputs: Iterable[Any], number: int) -> list[Any]:
    """Merge what was printed to one stream, drop views of live widgets, and number the result as its cell."""
    clean: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        output.get("data", {}).pop(WIDGET, None)
        if "execution_count" in output:
            output.execution_count = number
        first = streams.setdefault(output.name, output) if output.output_type == "stream" else output
        if first is not output:
            first.text += output.text
        elif output.get("data", True):
            clean.append(output)
    return clean


def _give_ids(cells: Iterable[Any]) -> None:
    taken: set[str] = set()
    for cell in cells:
        wanted = cell.get("id")
        if not isinstance(wanted, str) or not _CELL_ID.fullmatch(wanted) or wanted in taken:
            wanted = _new_id(cell, taken)
        taken.add(wanted)
        cell["id"] = wanted


def _new_id(cell: Any, taken: set[str]) -> str:
    digest = hashlib.sha256(f"{cell['cell_type']}\n{''.join(cell['source'])}".encode()).hexdigest()[:8]
    number = 1
    while (fresh := digest if number == 1 else f"{digest}-{number}") in taken:
        number += 1
    return fresh


def fingerprint(cell: Any) -> str:
    return hashlib.sha256(cell.source.encode()).hexdigest()[:12]


def code_cells(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def tags_of(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))
