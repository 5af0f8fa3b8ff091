"""Three versions of one file become one: base (what the learner got), mine (what it is now), new (the new starter)."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

MINE, NEW = b"<<<<<<< your file\n", b">>>>>>> the new starter\n"
BETWEEN = b"=======\n"
Lines = list[bytes]


@dataclass(frozen=True)
class Merged:
    """The merge of one file: a conflict holds both versions, between markers where they are text."""

    content: bytes
    conflict: bool


def merge(base: bytes, mine: bytes, new: bytes, python: bool = False) -> Merged:
    """Merge line by line; changes that touch the same or neighbouring lines are a conflict.

    With `python`, a merge that broke a learner's working file is a conflict as well.
    """
    if b"\0" in base + mine + new:
        return Merged(new, conflict=True)
    if b"\r\n" in mine and b"\r\n" not in base + new:  # an editor rewrote every line's end: not a change of the learner
        base, new = base.replace(b"\n", b"\r\n"), new.replace(b"\n", b"\r\n")
    merged, conflict = _join(*(text.splitlines(keepends=True) for text in (base, mine, new)))
    broke = python and not conflict and parses(mine) and not parses(merged)
    return Merged(merged, conflict or broke)


def parses(source: bytes) -> bool:
    """Say whether this is a Python program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python thinks of a "\\d" is not the question here
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _join(base: Lines, mine: Lines, new: Lines) -> tuple[bytes, bool]:
    parts: Lines = []
    conflict = False
    for was, ours, theirs in _stretches(base, mine, new):
        if theirs in (was, ours):
            parts += ours
        elif ours == was:
            parts += theirs
        else:
            conflict = True
            parts += [MINE, _ended(ours), BETWEEN, _ended(theirs), NEW]
    return b"".join(parts), conflict


def _stretches(base: Lines, mine: Lines, new: Lines) -> Iterator[tuple[Lines, Lines, Lines]]:
    """Cut the three at every line of base that both sides still have (diff3: Khanna, Kunal, Pierce 2007)."""
    in_mine, in_new = _places(base, mine), _places(base, new)
    was = ours = theirs = 0
    for line in sorted(in_mine.keys() & in_new.keys()):
        yield base[was:line], mine[ours : in_mine[line]], new[theirs : in_new[line]]
        yield [base[line]], [base[line]], [base[line]]
        was, ours, theirs = line + 1, in_mine[line] + 1, in_new[line] + 1
    yield base[was:], mine[ours:], new[theirs:]


def _places(base: Lines, side: Lines) -> dict[int, int]:
    """Return where each line of base that is still there stands in the other version."""
    blocks = SequenceMatcher(None, base, side, autojunk=False).get_matching_blocks()
    return {block.a + step: block.b + step for block in blocks for step in range(block.size)}


def _ended(lines: Lines) -> bytes:
    text = b"".join(lines)
    return text if not text or text.endswith(b"\n") else text + b"\n"
