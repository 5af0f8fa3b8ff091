"""All chapters from top to bottom: on the starters, and with the solutions."""

from __future__ import annotations

from pathlib import Path

from lab_services.runtime.spec import lab_names, load_spec
from lab_services.runtime.workspace import lay_solution
from tests.chapters.nbval_run import ROOT, NbvalRun, run_notebooks

CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
MODES = ("starter", "solution")


def run_chapters(mode: str) -> NbvalRun:
    """Run all chapters in one process: strictly on the starters, without comparing on the solutions."""
    if mode == "starter":
        return run_notebooks(CHAPTERS)
    return run_notebooks(CHAPTERS, lax=True, prepare=lay_solutions)


def lay_solutions(work: Path) -> None:
    """Lay the solution of every lab into a fresh work folder."""
    for name in lab_names(ROOT):
        lay_solution(load_spec(name, ROOT), work / name)
