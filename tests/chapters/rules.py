"""The rules a chapter is held to, each a function from a notebook to its complaints (none when all is well)."""

from __future__ import annotations

import ast
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOST_CELLS, FEWEST_CELLS, FEWEST_IN_CHAPTER_00 = 45, 25, 15
MOST_CODE_LINES = 12
MOST_WORDS = 100
WEASELS = re.compile(r"\b(simply|just|obviously|easy|easily|usually)\b", re.IGNORECASE)
ADMONITION = re.compile(r"\*\*(Tip|Warning|Aside)\.\*\*")
EMPTY_WORDS = {"here", "this", "that", "link", "this link", "click here", "this page", "page", "more", "read more"}
PICTURES = ("image/png", "image/jpeg", "image/svg+xml", "text/vnd.mermaid")
NO_TWIN = re.compile(r"^\s*<.*(Figure|object|Axes|IPython).*>\s*$")
IN_WORDS = re.compile(r"<summary>[^<]*\bin words\b|^\W*In words\b", re.IGNORECASE | re.MULTILINE)
RAW_TRACEBACK = "Traceback (most recent call last)"

Rule = Callable[[Path, Any], Iterator[str]]


def size(path: Path, book: Any) -> Iterator[str]:
    """A chapter has 25 to 45 cells; chapter 00 may have 15."""
    fewest = FEWEST_IN_CHAPTER_00 if path.name.startswith("00") else FEWEST_CELLS
    if not fewest <= len(book.cells) <= MOST_CELLS:
        yield f"{len(book.cells)} cells, not {fewest} to {MOST_CELLS}"


def short_code(path: Path, book: Any) -> Iterator[str]:
    """A code cell has at most 12 lines."""
    for cell in code_cells(book):
        lines = len(cell.source.splitlines())
        if lines > MOST_CODE_LINES:
            yield f"{cell.id}: {lines} lines of code, not {MOST_CODE_LINES}"


def short_prose(path: Path, book: Any) -> Iterator[str]:
    """At most 100 words stand between two code cells; tables, code and folded details are not counted."""
    groups = [(kind, list(cells)) for kind, cells in itertools.groupby(book.cells, key=lambda cell: cell.cell_type)]
    for before, (kind, cells), after in zip(groups, groups[1:], groups[2:], strict=False):
        words = sum(len(flow_words(cell.source)) for cell in cells)
        if kind == "markdown" and before[0] == after[0] == "code" and words > MOST_WORDS:
            yield f"{cells[0].id}: {words} words between two code cells, not {MOST_WORDS}"


def plain_python(path: Path, book: Any) -> Iterator[str]:
    """Code is plain Python: no magics, no shell escapes, no help marks, no get_ipython."""
    for cell in code_cells(book):
        try:
            compile(cell.source, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST)
        except SyntaxError as error:
            yield f"{cell.id}: not plain Python: {(error.text or cell.source).strip()}"
        if "get_ipython" in cell.source:
            yield f"{cell.id}: get_ipython is a magic by another name"


def executed(path: Path, book: Any) -> Iterator[str]:
    """Every code cell was run, in order, and none is empty or skipped."""
    counts = [cell.execution_count for cell in code_cells(book)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}: run course render"
    for cell in code_cells(book):
        if not cell.source.strip():
            yield f"{cell.id}: an empty code cell"


def friendly(path: Path, book: Any) -> Iterator[str]:
    """No stored output shows a raw traceback."""
    for cell in code_cells(book):
        if RAW_TRACEBACK in json.dumps(cell.outputs):
            yield f"{cell.id}: its output is a raw traceback: catch the error and print what it says"


def headings(path: Path, book: Any) -> Iterator[str]:
    """There is one title, it comes first, and no level of heading is left out on the way down."""
    found = [(len(marks), title) for cell in prose_cells(book) for marks, title in headings_of(cell.source)]
    if not found or found[0][0] != 1:
        yield "the first heading is not the title (# ...)"
    for (above, _), (level, title) in itertools.pairwise(found):
        if level == 1:
            yield f"a second title: {title}"
        elif level > above + 1:
            yield f"heading {title!r} is of level {level} below level {above}"


def no_weasels(path: Path, book: Any) -> Iterator[str]:
    """No word tells the learner how they should feel about the work."""
    for cell in prose_cells(book):
        for word in WEASELS.findall(without_code(cell.source)):
            yield f"{cell.id}: the word {word!r}"


def admonitions(path: Path, book: Any) -> Iterator[str]:
    """An admonition is a blockquote that begins with **Tip.**, **Warning.** or **Aside.**, or a closed <details>."""
    for cell in prose_cells(book):
        source = without_fences(cell.source)
        for quote in re.findall(r"(?:^>.*\n?)+", source, re.MULTILINE):
            if not ADMONITION.match(re.sub(r"^>\s?", "", quote).lstrip()):
                yield f"{cell.id}: a blockquote that is no tip, warning or aside: {quote.splitlines()[0]!r}"
        if re.search(r"^:::|^\.\. \w+::|class=.alert", source, re.MULTILINE):
            yield f"{cell.id}: a form of admonition that JupyterLab shows raw or unreadable in dark"
        yield from (f"{cell.id}: {complaint}" for complaint in details_complaints(source))


def details_complaints(source: str) -> Iterator[str]:
    """Say what is wrong with the <details> of a cell."""
    opened, closed = source.count("<details"), source.count("</details>")
    if opened != closed:
        yield f"<details> opened {opened} times, closed {closed} times"
    if opened != len(re.findall(r"<details[^>]*>\s*<summary>[^<]+</summary>", source)):
        yield "<details> without a <summary> that says what it hides"
    if re.search(r"</summary>[ \t]*\n[ \t]*\S", source):
        yield "no blank line after </summary>: the Markdown in it would not be rendered"


def text_twins(path: Path, book: Any) -> Iterator[str]:
    """Every diagram and picture has the same facts as text: "In words: ..." after it, or a text form of the output."""
    for cell, following in itertools.zip_longest(book.cells, book.cells[1:]):
        if cell.cell_type == "code":
            yield from (f"{cell.id}: {complaint}" for complaint in output_complaints(cell))
            continue
        pictures = list(re.finditer(r"^```mermaid|!\[[^\]]*\]\(|<img\b", cell.source, re.MULTILINE))
        rest = cell.source[pictures[-1].start() :] if pictures else ""
        rest += "\n" + following.source if following is not None and following.cell_type == "markdown" else ""
        if pictures and not IN_WORDS.search(rest):
            yield f'{cell.id}: a picture without a text twin ("In words: ..." or a <details> whose summary says so)'
        if re.search(r"!\[\s*\]\(|<img\b(?![^>]*\balt=.[^'\"])", cell.source):
            yield f"{cell.id}: an image without an alternative text"


def output_complaints(cell: Any) -> Iterator[str]:
    """Say which output of a cell is a picture without any text."""
    printed = any(output.output_type == "stream" and output.text.strip() for output in cell.outputs)
    for output in cell.outputs:
        data = output.get("data", {})
        page = str(data.get("text/html", ""))
        if any(kind in data for kind in PICTURES) or re.search(r"<(img|svg)\b", page):
            twin = str(data.get("text/plain", ""))
            if not printed and (not twin.strip() or NO_TWIN.match(twin)):
                yield f"an output is a picture, and its text form is {twin!r}"


def goals_and_recap(path: Path, book: Any) -> Iterator[str]:
    """The recap answers the goals one by one."""
    goals, recap = bullets_below(book, "What you will learn"), bullets_below(book, "Recap")
    if not goals or goals != recap:
        yield f'"What you will learn" has {goals} bullets, "Recap" has {recap}'


def links(path: Path, book: Any) -> Iterator[str]:
    """A link says where it leads, and a link to a file of the course finds it."""
    for cell in prose_cells(book):
        source = without_code(cell.source)
        found = re.findall(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)[^)]*\)", source)
        for words, target in found:
            if words.strip().lower().rstrip(".") in EMPTY_WORDS | {""} or re.match(r"https?://|www\.", words.strip()):
                yield f"{cell.id}: the link text {words!r} does not say where it leads"
            file = target.partition("#")[0]
            if file and not re.match(r"[a-z]+:", target) and not (path.parent / file).exists():
                yield f"{cell.id}: the link leads to {target}, which is not there"
        if re.search(r"https?://", re.sub(r"\]\([^)]*\)|(?:href|src)=\S+", "", source)):
            yield f"{cell.id}: a bare address: give it words"


RULES: tuple[Rule, ...] = (
    size,
    short_code,
    short_prose,
    plain_python,
    executed,
    friendly,
    headings,
    no_weasels,
    admonitions,
    text_twins,
    goals_and_recap,
    links,
)


def code_cells(book: Any) -> list[Any]:
    """Return the cells of code."""
    return [cell for cell in book.cells if cell.cell_type == "code"]


def prose_cells(book: Any) -> list[Any]:
    """Return the cells of prose."""
    return [cell for cell in book.cells if cell.cell_type == "markdown"]


def without_fences(source: str) -> str:
    """Return prose without its fenced code."""
    return re.sub(r"^(```|~~~).*?^\1[ \t]*$", "", source, flags=re.MULTILINE | re.DOTALL)


def without_code(source: str) -> str:
    """Return prose without its fenced code and code spans."""
    return re.sub(r"`[^`\n]*`", "`code`", without_fences(source))


def flow_words(source: str) -> list[str]:
    """Return the words one reads on the way: without tables, code, link targets and folded details."""
    flow = re.sub(r"<details.*?</details>", "", without_code(source), flags=re.DOTALL)
    flow = re.sub(r"^\|.*$", "", re.sub(r"\]\([^)]*\)|<[^>]+>", " ", flow), flags=re.MULTILINE)
    return re.findall(r"[A-Za-z0-9][\w'’-]*", flow)


def headings_of(source: str) -> list[tuple[str, str]]:
    """Return the marks and the title of each heading of a cell."""
    return re.findall(r"^(#{1,6})\s+(.+?)\s*$", without_fences(source), re.MULTILINE)


def bullets_below(book: Any, title: str) -> int:
    """Return the number of bullets of the first level below a heading."""
    prose = "\n".join(without_fences(cell.source) for cell in prose_cells(book))
    section = re.search(rf"^#+\s+{title}\b.*?$(.*?)(?=^#|\Z)", prose, re.MULTILINE | re.DOTALL | re.IGNORECASE)
    return len(re.findall(r"^(?:[-*]|\d+\.)\s+\S", section.group(1), re.MULTILINE)) if section else 0
