"""Put foreign text into a Mermaid diagram, so that it can neither break the diagram nor add to it.

Mermaid's own escapes (#quot; and the like) come out differently in labels, in messages and in descriptions. A
character that means something to Mermaid is therefore replaced by one that looks like it and means nothing.
"""

from __future__ import annotations

from .html_table import ANY_LENGTH
from .plain_text import visible

LABEL_CHARACTERS = 60

_LOOKALIKES = str.maketrans(
    {
        '"': "\u201d",
        "'": "\u2019",
        "`": "\u02cb",
        "<": "\u2039",
        ">": "\u203a",
        "&": "\uff06",
        "#": "\uff03",
        ";": "\uff1b",
        "%": "\uff05",
        "|": "\u00a6",
        "{": "\uff5b",
        "}": "\uff5d",
        "[": "\uff3b",
        "]": "\uff3d",
        "*": "\u2217",
        "~": "\u223c",
        "$": "\uff04",
        "\\": "\u2216",
    }
)


def label(text: str, limit: int = LABEL_CHARACTERS) -> str:
    """Return text for a quoted label, a participant, a message or one line of a description; never an empty one."""
    return visible(text, limit).translate(_LOOKALIKES).strip() or "(nothing)"


def accessible(title: str, lines: list[str]) -> list[str]:
    """Return Mermaid's accTitle and accDescr: a screen reader hears the text twin of the diagram."""
    description = [f"        {label(line, ANY_LENGTH)}" for line in lines]
    return [f"    accTitle: {label(title, 120)}", "    accDescr {", *description, "    }"]


def diagram_bundle(source: str, twin: str) -> dict[str, str]:
    """Return both forms under the types that JupyterLab draws (text/vnd.mermaid) and that anything else shows."""
    return {"text/vnd.mermaid": source, "text/plain": twin}
