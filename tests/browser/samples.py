"""What the browser is shown: chapter 01, a small sound notebook, and one with everything that must be found."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.browser.visit import Visit, browser_program, visit
from tests.chapters.nbval_run import ROOT
from tests.chapters.small import code, printed, shown, text, write

CHAPTER = sorted((ROOT / "chapters").glob("01_*.ipynb"))
SOUND = [
    text(
        "# A city\n\nTwo services.\n\n```mermaid\ngraph LR\n  accTitle: rides calls stations\n  rides --> stations\n```"
    ),
    code("print('four bikes')", printed("four bikes\n"), count=None),
    code("1 / 0", tags=("raises-exception",), count=None),
]
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
BROKEN = [
    text(f'# A broken city\n\n```mermaid\ngraph LR\n  rides --> --> [\n```\n\n<img src="{DOT}">'),
    code("print('no docks')\nraise RuntimeError('no docks')", count=None),
    code(
        "from IPython.display import HTML\nHTML('<p style=\"color:#bbb;background:#ccc\">pale</p>')",
        shown(1, text_plain="pale", text_html='<p style="color:#bbb;background:#ccc">pale</p>'),
    ),
]


def visit_samples() -> Visit:
    """Visit chapter 01, the sound notebook and the broken one; everything is ended afterwards.

    Raises:
        FileNotFoundError: there is no Chromium.
    """
    program = browser_program()
    if program is None:
        raise FileNotFoundError("chromium")
    with tempfile.TemporaryDirectory() as folder:
        small = [write(Path(folder) / "sound.ipynb", *SOUND), write(Path(folder) / "broken.ipynb", *BROKEN)]
        return visit([*CHAPTER[:1], *small], program)
