"""The published score: how many wrong answers the checks of each lab kill, and how many right designs they spare.

`python -m tests.course.score` judges everything and writes the table into README.md; a test compares the two.
"""

from __future__ import annotations

import re

from tests.course.judged import LABS, ROOT, SPARED, WRONG, killed, spared_report

README = ROOT / "README.md"
BEGIN, END = "<!-- score:begin -->", "<!-- score:end -->"
PLACE = re.compile(f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", re.DOTALL)
HEAD = "| lab | wrong answers found | of these, with † | right designs spared |\n| --- | --- | --- | --- |\n"


def score_table() -> str:
    """Judge all wrong answers and spared designs, and return the table as Markdown."""
    return HEAD + "".join(map(_row, LABS))


def published_table() -> str:
    """Return the table that README.md shows."""
    found = PLACE.search(README.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"README.md has no lines {BEGIN} and {END}")
    return found[0]


def write_score() -> None:
    """Write the table of today into README.md."""
    published_table()
    table = score_table()
    README.write_text(PLACE.sub(lambda _: table, README.read_text(encoding="utf-8"), count=1), encoding="utf-8")


def _row(lab: str) -> str:
    wrong = [(each.dagger, killed(lab, each)) for name, each in WRONG if name == lab]
    spared = [spared_report(lab, each).passed for name, each in SPARED if name == lab]
    found = f"{sum(dead for _, dead in wrong)} of {len(wrong)}"
    hard = f"{sum(dead for dagger, dead in wrong if dagger)} of {sum(dagger for dagger, _ in wrong)}"
    return f"| `{lab}` | {found} | {hard} | {sum(spared)} of {len(spared)} |\n"


if __name__ == "__main__":
    write_score()
    print(published_table())
