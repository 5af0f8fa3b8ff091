"""Marked zones: the lines of a starter that a task asks the learner to change.

    # --- your turn 1.2 ---
    ...
    # --- end 1.2 ---

In TypeScript the comment begins with //.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from lab_services.errors import SpecError

_MARK = re.compile(r"\s*(?:#|//)\s*---\s*(your turn|end)\s+(\S+)\s*---\s*")
_NEARLY = re.compile(r"\s*(?:#|//)[\s-]*(?:your turn|end)\b.*-", re.IGNORECASE)


@dataclass(frozen=True)
class Zone:
    """The lines of one zone; `first` and `last` are the numbers, from 1, of its two marks."""

    task: str
    first: int
    last: int
    lines: tuple[str, ...]


def zones(text: str) -> list[Zone]:
    """Return the zones of a file from top to bottom; a task may have more than one.

    Raises:
        SpecError: a zone is not closed, not opened, inside another one, or a mark is misspelt.
    """
    lines = text.split("\n")
    found: list[Zone] = []
    opened: tuple[str, int] | None = None
    for number, line in enumerate(lines, start=1):
        mark = _mark(number, line)
        if mark and mark[0] == "your turn":
            if opened:
                raise _bad(number, f"zone {mark[1]} begins inside zone {opened[0]}", line)
            opened = mark[1], number
        elif mark:
            if not opened or opened[0] != mark[1]:
                raise _bad(number, f"zone {mark[1]} ends, but {opened[0] if opened else 'no zone'} is open", line)
            found.append(Zone(mark[1], opened[1], number, tuple(lines[opened[1] : number - 1])))
            opened = None
    if opened:
        raise _bad(opened[1], f"zone {opened[0]} never ends", lines[opened[1] - 1])
    return found


def differs_outside_zones(starter_text: str, solution_text: str) -> list[str]:
    """Return one sentence for every stretch in which the two differ outside their zones; [] when they do not."""
    starter, solution = _outside(starter_text), _outside(solution_text)
    matcher = SequenceMatcher(None, [line for _, line in starter], [line for _, line in solution], autojunk=False)
    return [
        f"{_stretch(starter[a:b])} of the starter became {_stretch(solution[c:d])} of the solution"
        for tag, a, b, c, d in matcher.get_opcodes()
        if tag != "equal"
    ]


def _outside(text: str) -> list[tuple[int, str]]:
    """Return the numbered lines outside the zones, the marks included."""
    hidden = {number for zone in zones(text) for number in range(zone.first + 1, zone.last)}
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if number not in hidden]


def _stretch(lines: list[tuple[int, str]]) -> str:
    if not lines:
        return "nothing"
    (first, text), last = lines[0], lines[-1][0]
    return f"line {first} {text!r}" if first == last else f"lines {first}-{last} from {text!r}"


def _mark(number: int, line: str) -> tuple[str, str] | None:
    found = _MARK.fullmatch(line)
    if not found and _NEARLY.match(line) and "---" in line:
        raise _bad(number, "a mark of a zone is misspelt", line)
    return (found[1], found[2]) if found else None


def _bad(number: int, what: str, line: str) -> SpecError:
    return SpecError(
        what,
        where=f"line {number}",
        evidence=line.strip(),
        next_step="write # --- your turn 1.2 --- and # --- end 1.2 --- around the zone (// in TypeScript)",
    )
