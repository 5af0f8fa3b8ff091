"""Make any text fit to be shown: nothing invisible, nothing endless, columns that line up."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

CELL_CHARACTERS = 300  # a name, a note or a cell of a table; the rest is counted, not shown

_COLOUR_CODE = re.compile(r"\x1b\[[0-9;:]*m")  # ECMA-48 SGR: colours carry no words, so they may go
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # Unicode categories: control, format, surrogate, private, separators
_JOINER = "\u200d"  # holds an emoji of several parts together


def visible(text: str, limit: int = CELL_CHARACTERS) -> str:
    """Return the text on one line, with every control or invisible character shown by a sign and the rest cut off.

    A terminal's colour codes are dropped. Other control characters become their Unicode picture (a line feed is
    U+240A), characters that reverse or hide text become their number.
    """
    without_colour = _COLOUR_CODE.sub("", text[: 4 * limit])  # a line of megabytes is not searched to its end
    shown = "".join(_sign(character) for character in without_colour[:limit])
    if len(text) <= 4 * limit and len(without_colour) <= limit:
        return shown
    left_out = len(without_colour) - limit + len(text[4 * limit :])
    return f"{shown} ... ({left_out:,} more characters)"


def visible_lines(text: str, limit: int = CELL_CHARACTERS) -> list[str]:
    """Return the lines of the text, each made visible."""
    return [visible(line, limit) for line in text.replace("\r\n", "\n").split("\n")]


def _sign(character: str) -> str:
    number = ord(character)
    if number < 0x20:
        return chr(0x2400 + number)
    if number == 0x7F:
        return "\u2421"
    if character != _JOINER and unicodedata.category(character) in _INVISIBLE:
        return f"\\u{number:04x}"
    return character


def counted(number: int, noun: str) -> str:
    """Return "1 arrow" or "1,200 arrows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Collection[int] = ()) -> str:
    """Return an aligned table; the columns numbered in `numeric` (from 0) stand to the right."""
    table = [list(columns), *[list(row) for row in rows]]
    widths = [max(_width(row[at]) for row in table) for at in range(len(columns))]
    lines = ["  ".join(_padded(cell, widths[at], at in numeric) for at, cell in enumerate(row)) for row in table]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(text: str) -> int:
    """Count terminal columns: a Chinese character or an emoji takes two, a combining mark none."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    none = sum(unicodedata.combining(character) > 0 or character == _JOINER for character in text)
    return len(text) + wide - none
