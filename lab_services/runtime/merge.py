"""Three versions of one file become one: base (what the learner got), mine (what it is now), new (the new starter)."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from merge3 import Merge3

MINE, NEW = b"<<<<<<< your file\n", b">>>>>>> the new starter\n"
BETWEEN = b"=======\n"


class _EveryLineCounts(SequenceMatcher[bytes]):
    """difflib without its shortcut that ignores frequent lines of long files."""

    def __init__(self, isjunk: None, a: Sequence[bytes], b: Sequence[bytes]) -> None:
        super().__init__(isjunk, a, b, autojunk=False)


@dataclass(frozen=True)
class Merged:
    """The merge of one file: a conflict holds both versions, between markers where they are text."""

    content: bytes
    conflict: bool


def merge(base: bytes, mine: bytes, new: bytes, python: bool = False) -> Merged:
    """Merge line by line; changes that touch the same or neighbouring lines are a conflict.

    With `python`, a merge that broke a learner's working file is a conflict as well.
    """
    from merge3 import Merge3  # here, because opening a lab needs no merge

    if b"\0" in base + mine + new:
        return Merged(new, conflict=True)
    if b"\r\n" in mine and b"\r\n" not in base + new:  # an editor rewrote every line's end: not a change of the learner
        base, new = base.replace(b"\n", b"\r\n"), new.replace(b"\n", b"\r\n")
    lines = [text.splitlines(keepends=True) for text in (base, mine, new)]
    matcher = _EveryLineCounts
    merged, conflict = _join(Merge3(lines[0], lines[1], lines[2], sequence_matcher=matcher))  # type: ignore[arg-type]
    broke = python and not conflict and parses(mine) and not parses(merged)
    return Merged(merged, conflict or broke)


def parses(source: bytes) -> bool:
    """Say whether this is a Python program."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _join(three: Merge3[bytes]) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    conflict = False
    for group in three.merge_groups():
        if group[0] == "conflict":
            conflict = True
            parts += [MINE, _ended(group[2]), BETWEEN, _ended(group[3]), NEW]
        else:
            parts += group[1]
    return b"".join(parts), conflict


def _ended(lines: Sequence[bytes]) -> bytes:
    text = b"".join(lines)
    return text if not text or text.endswith(b"\n") else text + b"\n"
