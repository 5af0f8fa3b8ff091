"""Every rule for chapters finds what it is there to find, and lets a chapter in good style be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chapters import rules
from tests.chapters.small import book, code, printed, shown, text

GOOD = [
    text("# Stations\n\n## What you will learn\n\n- what a dock is\n- how a bike moves\n"),
    code("2 + 2", shown(text_plain="4"), count=1),
    text("## The city\n\n```mermaid\ngraph LR\n  rides --> stations\n```\n\n**In words:** rides calls stations."),
    text("> **Tip.** One bike.\n\n<details><summary>Show the hint</summary>\n\nCount the docks.\n\n</details>"),
    code("import asyncio\nawait asyncio.sleep(0)", count=2),
    text(
        "### Rides\n\nRead [the methods of HTTP, RFC 9110](https://www.rfc-editor.org/rfc/rfc9110). `just = 1` is code."
    ),
    code("draw()", shown(3, image_png="aGk=", text_plain="rides: 3 bikes"), count=3),
    text("## Recap\n\n- a dock holds a bike\n- a bike moves by a ride\n"),
]

BAD: list[tuple[Any, list[Any], str]] = [
    (rules.size, [text("# One")], "1 cells"),
    (rules.size, [text("# One") for _ in range(46)], "46 cells"),
    (rules.short_code, [code("x = 1\n" * 13)], "13 lines"),
    (rules.short_prose, [code("1"), text("word " * 60), text("word " * 60), code("2")], "120 words"),
    (rules.plain_python, [code("%time 1")], "%time"),
    (rules.plain_python, [code("!ls")], "!ls"),
    (rules.plain_python, [code("len?")], "len?"),
    (rules.plain_python, [code("%%bash\nls")], "%%bash"),
    (rules.plain_python, [code("get_ipython().system('ls')")], "get_ipython"),
    (rules.executed, [code("1", count=1), code("2", count=None)], "[1, None]"),
    (rules.executed, [code("1", count=2), code("2", count=1)], "[2, 1]"),
    (rules.executed, [code(" ", count=1)], "empty"),
    (rules.friendly, [code("1", printed("Traceback (most recent call last):\n"))], "raw traceback"),
    (rules.headings, [text("## Second"), text("# First")], "first heading"),
    (rules.headings, [text("# A"), text("### C")], "level 3 below level 1"),
    (rules.headings, [text("# A"), text("# B")], "second title"),
    (rules.no_weasels, [text("You Simply start it.")], "Simply"),
    (rules.no_weasels, [text("It is easily done, and usually works: just try.")], "easily"),
    (rules.admonitions, [text("> **Note.** A dock.")], "Note"),
    (rules.admonitions, [text("> [!TIP]\n> A dock.")], "[!TIP]"),
    (rules.admonitions, [text(":::{tip}\nA dock.\n:::")], "raw or unreadable"),
    (rules.admonitions, [text('<div class="alert alert-info">A dock.</div>')], "raw or unreadable"),
    (rules.admonitions, [text("<details><summary>Show</summary>\n\nx")], "closed 0 times"),
    (rules.admonitions, [text("<details>\n\nx\n\n</details>")], "without a <summary>"),
    (rules.admonitions, [text("<details><summary>Show</summary>\n- x\n</details>")], "blank line"),
    (rules.text_twins, [text("```mermaid\ngraph LR\n```\nLook at it.")], "text twin"),
    (rules.text_twins, [text("![](city.svg)\n\nIn words: a city.")], "alternative text"),
    (rules.text_twins, [text('<img src="city.svg" alt="">\n\nIn words: a city.')], "alternative text"),
    (rules.text_twins, [code("1", shown(image_png="aGk=", text_plain="<Figure size 640x480 with 1 Axes>"))], "Figure"),
    (rules.text_twins, [code("1", shown(text_html="<svg></svg>"))], "text form"),
    (rules.goals_and_recap, [text("## What you will learn\n- a\n- b"), text("## Recap\n- a")], "2 bullets"),
    (rules.goals_and_recap, [text("# No goals")], "0 bullets"),
    (rules.links, [text("Read it [here](https://example.org).")], "'here'"),
    (rules.links, [text("[https://example.org](https://example.org)")], "where it leads"),
    (rules.links, [text("See https://example.org for more.")], "bare address"),
    (rules.links, [text("[the next chapter](09_nowhere.ipynb#top)")], "not there"),
]


@pytest.mark.parametrize(("rule", "cells", "says"), BAD, ids=[f"{rule.__name__}-{says}" for rule, _, says in BAD])
def test_a_rule_finds_what_it_is_there_to_find(rule: Any, cells: list[Any], says: str, tmp_path: Path) -> None:
    """A planted breach of a rule is found, and the complaint shows it."""
    assert says in "\n".join(rule(tmp_path / "01_x.ipynb", book(*cells)))


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_lets_good_style_be(rule: Any, tmp_path: Path) -> None:
    """A chapter in good style breaks no rule."""
    filler = [code("pass", count=count) for count in range(4, 21)]
    assert list(rule(tmp_path / "01_x.ipynb", book(*GOOD, *filler))) == []


def test_what_is_folded_or_in_a_table_is_not_in_the_flow() -> None:
    """Tables, code, link targets and folded details do not count as words between two code cells."""
    source = (
        "Two words\n\n| a | b |\n|---|---|\n\n```\nx y z\n```\n<details><summary>Show</summary>\n\nmany\n</details>"
    )
    assert rules.flow_words(source) == ["Two", "words"]
