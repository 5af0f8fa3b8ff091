"""Chapter 01 in JupyterLab in a real browser: Run All, both themes, pictures kept, accessibility of what is ours."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.ahead import AHEAD
from tests.browser.samples import CHAPTER, visit_samples
from tests.browser.visit import Visit, browser_program

pytestmark = [
    pytest.mark.ahead.with_args(visit_samples),
    pytest.mark.timeout(600),
]
THEMES = ("light", "dark")
INSTALL = "install it by: apt-get install chromium (Debian, Ubuntu), brew install --cask chromium (macOS)"
FEWEST_PICTURE_BYTES = 20_000  # an empty page of this size compresses to less


@pytest.fixture(scope="module")
def visited() -> Visit:
    """The one visit that all tests are about."""
    if browser_program() is None:
        refuse = pytest.fail if os.environ.get("COURSE_NO_SKIPS") == "1" else pytest.skip
        refuse(f"no Chromium on PATH: {INSTALL}")
    return AHEAD.result(visit_samples)


@pytest.fixture(scope="module")
def chapter(visited: Visit) -> str:
    """The name of chapter 01's file."""
    assert CHAPTER, "there is no chapters/01_*.ipynb to open"
    return CHAPTER[0].name


@pytest.mark.slow
def test_run_all_ends_without_an_error(chapter: str, visited: Visit) -> None:
    """Run All runs every cell of chapter 01 to its end, and no cell fails that is not meant to."""
    seen = visited.seen[chapter, "light"]
    assert seen.errors == ()
    assert seen.counts and None not in seen.counts


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_no_diagram_is_broken(theme: str, chapter: str, visited: Visit) -> None:
    """Every diagram of chapter 01 is drawn."""
    assert visited.seen[chapter, theme].broken_diagrams == 0


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_in_what_is_ours(theme: str, chapter: str, visited: Visit) -> None:
    """axe-core finds no violation in the rendered Markdown and the outputs of chapter 01."""
    assert visited.seen[chapter, theme].violations == ()


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_colours_are_told_apart(theme: str, chapter: str, visited: Visit) -> None:
    """Text and background of chapter 01, exported to HTML, differ enough to be read."""
    assert visited.contrast[chapter, theme] == ()


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_a_picture_is_kept(theme: str, chapter: str, visited: Visit) -> None:
    """A picture of the whole chapter lies among the artefacts, and it is not an empty page."""
    assert visited.seen[chapter, theme].picture.stat().st_size > FEWEST_PICTURE_BYTES


@pytest.mark.slow
def test_the_visit_leaves_nothing_behind(visited: Visit) -> None:
    """Jupyter, its kernels, the services and the browser are gone, and their ports are free."""
    assert (visited.processes, visited.ports) == ((), ())


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_a_sound_notebook_is_found_sound(theme: str, visited: Visit) -> None:
    """A small sound notebook passes all of this, also with an error that is meant."""
    seen = visited.seen["sound.ipynb", theme]
    assert (seen.counts, seen.errors, seen.violations) == ((1, 2), (), ())
    assert (seen.diagrams, seen.broken_diagrams) == (1, 0)
    assert visited.contrast["sound.ipynb", theme] == ()


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_a_broken_notebook_is_found_broken(theme: str, visited: Visit) -> None:
    """A planted error, a broken diagram, an image without text and pale letters are each found."""
    seen = visited.seen["broken.ipynb", theme]
    assert len(seen.errors) == 1 and "RuntimeError: no docks" in seen.errors[0]
    assert seen.broken_diagrams == 1
    assert [found for found in seen.violations if found.startswith("image-alt")]
    assert [found for found in visited.contrast["broken.ipynb", theme] if "pale" in found]


def test_the_way_to_chromium_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a Chromium on PATH none is found, and the command that installs it is named."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("tests.browser.visit.MAC_BROWSERS", (str(Path("/nowhere/chromium")),))
    assert browser_program() is None and "apt-get install chromium" in INSTALL
