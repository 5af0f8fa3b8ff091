"""The chapters: each runs from top to bottom, as a starter and with the solutions, and keeps to the style."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab_services.notebooks import normalised, read_notebook
from tests.ahead import AHEAD
from tests.chapters.nbval_run import NOTEBOOK_SECONDS
from tests.chapters.rules import RULES, Rule, code_cells
from tests.chapters.whole_runs import CHAPTERS, MODES, run_chapters

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
each_mode = pytest.mark.parametrize(
    "mode", [pytest.param(mode, marks=pytest.mark.ahead.with_args(run_chapters, mode)) for mode in MODES]
)
long_enough = pytest.mark.timeout((NOTEBOOK_SECONDS + 30) * len(CHAPTERS))  # the first may run them all, or wait for it


def test_there_are_chapters() -> None:
    """The course starts with chapters 00 and 01, so that the tests below have something to hold."""
    assert [path.name[:2] for path in CHAPTERS][:2] == ["00", "01"]


@each_mode
@each_chapter
@long_enough
@pytest.mark.slow
def test_a_chapter_runs_from_top_to_bottom(chapter: Path, mode: str) -> None:
    """Every code cell of the chapter runs, and on the starters shows what is stored."""
    run = AHEAD.result(run_chapters, mode)
    failures = run.failures(chapter)
    if failures:
        pytest.fail(failures, pytrace=False)
    ran = [cell for cell in run.cells if cell.notebook == chapter]
    assert len(ran) == len(code_cells(read_notebook(chapter))), f"cells are missing from the run:\n{run.output}"


@each_mode
@long_enough
@pytest.mark.slow
def test_a_run_of_the_chapters_leaves_nothing_behind(mode: str) -> None:
    """After the last chapter no process lives, no port is open, and no file lies outside the work folder."""
    run = AHEAD.result(run_chapters, mode)
    assert run.exit_code == 0 or any(not cell.passed for cell in run.cells), run.output
    assert (run.processes, run.ports, run.files) == ((), (), ())


@each_chapter
def test_a_chapter_is_in_the_form_it_is_rendered_in(chapter: Path) -> None:
    """`course render` would change nothing but outputs: ids, metadata and counts are as it writes them."""
    written, wanted = chapter.read_text(encoding="utf-8"), normalised(read_notebook(chapter))
    differs = [line for line in zip(written.splitlines(), wanted.splitlines(), strict=False) if line[0] != line[1]]
    assert written == wanted, f"run: course render {chapter.stem[:2]}; first difference: {differs[:1]}"


@each_chapter
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_chapter_keeps_to_the_style(chapter: Path, rule: Rule) -> None:
    """The chapter breaks no rule of style."""
    complaints = list(rule(chapter, read_notebook(chapter)))
    if complaints:
        pytest.fail(f"{rule.__doc__}\n" + "\n".join(complaints), pytrace=False)
