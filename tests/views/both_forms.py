"""Read the two forms of a view back into facts, and hold colours to the contrast of WCAG 2."""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup, Tag

HOSTILE = (
    '"]-->',
    "<script>alert(1)</script>",
    "two\nlines",
    "\N{BICYCLE} bike",
    "x" * 10_000,
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "nul\x00 bell\x07 del\x7f c1\x85",
    "\u202eright to left\u2028",
    "a\"onmouseover='x'",
    "%%{init: {}}%%",
    "} end",
    "#quot;a;b|c|`d`$$e$$",
    "&lt;b&gt;",
    "",
    "end",
    "\udcff",
)


def html_of(view: Any) -> str:
    """Return the HTML form of a view."""
    if hasattr(view, "_repr_html_"):
        return str(view._repr_html_())
    return str(view._repr_mimebundle_()["text/html"])


def soup_of(view: Any) -> BeautifulSoup:
    """Return the HTML form, parsed."""
    return BeautifulSoup(html_of(view), "html.parser")


def html_cells(view: Any) -> list[list[str]]:
    """Return the cells of the view's table, without the signs that only repeat the words."""
    soup = soup_of(view)
    for sign in soup.select('[aria-hidden="true"]'):
        sign.decompose()
    return [[cell.get_text().strip() for cell in row.find_all(["th", "td"])] for row in soup.find_all("tr")]


def text_cells(view: Any) -> list[list[str]]:
    """Return the cells of the table in the view's plain text: columns lie where the line of dashes has them."""
    lines = str(view).split("\n")
    at = next(number for number, line in enumerate(lines) if re.fullmatch(r"-+(  -+)*", line))
    starts = [match.start() for match in re.finditer("-+", lines[at])]
    ends = [*starts[1:], None]
    return [
        [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        for line in [lines[at - 1], *lines[at + 1 :]]
    ]


def is_accessible_table(table: Tag) -> bool:
    """Tell whether a table has a caption and each of its heads says what it heads."""
    scopes = {str(head.get("scope")) for head in table.find_all("th")}
    return bool(table.caption and table.caption.get_text()) and scopes <= {"col", "row"} and "col" in scopes


def unsafe_characters(text: str) -> set[str]:
    """Find characters that a terminal or a browser would act on: control characters and those that reverse text."""
    return set(re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]", text))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours written as #rrggbb (WCAG 2, definition of contrast ratio)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
