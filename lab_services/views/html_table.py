"""The HTML that every view is made of: escaped text, a badge, a captioned table.

Text takes its colour from JupyterLab's `--jp-*` variables and, where there are none, from its surroundings, so it is
readable in a light and in a dark theme. A badge brings both of its colours. Styles stand on the elements, because
a style sheet does not survive JupyterLab's sanitizer.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .plain_text import visible

ANY_LENGTH = 10_000  # views shorten their text themselves, so that both of their forms say the same

TEXT = "color:var(--jp-content-font-color1,inherit)"
_CELL = "padding:0.25em 0.75em;min-width:5em;vertical-align:top;white-space:normal;overflow-wrap:anywhere"
_LINE = "border-bottom:1px solid var(--jp-border-color1,currentColor)"
_TABLE = f"border-collapse:collapse;{TEXT}"
_CAPTION = f"caption-side:top;text-align:left;font-weight:bold;padding:0.25em 0;{TEXT}"
_PRE = f"white-space:pre-wrap;overflow-wrap:anywhere;margin:0;{TEXT}"


@dataclass(frozen=True)
class Html:
    """HTML that this package has written itself and that is not to be escaped again."""

    source: str


def escape(text: str) -> str:
    """Return foreign text ready for HTML, inside an element or a quoted attribute."""
    return html.escape(visible(text, ANY_LENGTH), quote=True)


def table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[str | Html]], numeric: Collection[int] = ()
) -> str:
    """Return a table whose first column names its rows; the columns in `numeric` (from 0) stand to the right."""
    heads = "".join(_cell("th", column, at in numeric, ' scope="col"', _LINE) for at, column in enumerate(columns))
    body = "".join(f"<tr>{_row(row, numeric)}</tr>" for row in rows)
    return (
        f'<table style="{_TABLE}"><caption style="{_CAPTION}">{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(row: Sequence[str | Html], numeric: Collection[int]) -> str:
    first = _cell("th", row[0], 0 in numeric, ' scope="row"')
    return first + "".join(_cell("td", cell, at in numeric) for at, cell in enumerate(row[1:], start=1))


def _cell(tag: str, content: str | Html, right: bool, attributes: str = "", style: str = "") -> str:
    inner = content.source if isinstance(content, Html) else escape(content)
    align = "right" if right else "left"
    return f'<{tag}{attributes} style="{_CELL};text-align:{align};{style}">{inner}</{tag}>'


def badge(words: str, sign: str, background: str, foreground: str) -> Html:
    """Return words on a coloured ground, with a sign that only repeats what the words say."""
    shape = "display:inline-block;padding:0.1em 0.6em;border-radius:0.7em;font-weight:bold;white-space:nowrap"
    style = f"background:{background};color:{foreground};{shape}"
    return Html(f'<span style="{style}"><span aria-hidden="true">{escape(sign)} </span>{escape(words)}</span>')


def preformatted(lines: Sequence[str]) -> str:
    """Return lines as they are, broken where they do not fit."""
    return f'<pre style="{_PRE}">' + "\n".join(escape(line) for line in lines) + "</pre>"


def heading(text: str) -> str:
    """Return a bold line; not a heading element, so that the headings of the chapter stay in order."""
    return f'<p style="margin:0.25em 0;font-weight:bold;{TEXT}">{escape(text)}</p>'


def paragraph(text: str) -> str:
    """Return a line of prose."""
    return f'<p style="margin:0.25em 0;{TEXT}">{escape(text)}</p>'
