"""Marked zones: where a task may differ from its solution, and nowhere else."""

from __future__ import annotations

import pytest

from lab_services.errors import SpecError
from lab_services.runtime.workspace import Zone, differs_outside_zones, zones

STARTER = """import os
# --- your turn 1.2 ---
x = 1
# --- end 1.2 ---
y = 2
def f():
    # --- your turn 1.3 ---
    # --- end 1.3 ---
    return y
"""


def test_zones_are_found_with_their_lines() -> None:
    """Every zone knows its task, the numbers of its marks and the lines between."""
    assert zones(STARTER) == [Zone("1.2", 2, 4, ("x = 1",)), Zone("1.3", 7, 8, ())]
    assert zones("") == zones("# it is your turn now\n# the end - or not\n") == []


def test_typescript_comments_mark_zones() -> None:
    """In TypeScript the marks begin with //."""
    assert zones("// --- your turn 1.4 ---\nlet a;\n// --- end 1.4 ---") == [Zone("1.4", 1, 3, ("let a;",))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# --- your turn 1.2 ---\n", "zone 1.2 never ends"),
        ("# --- end 1.2 ---\n", "zone 1.2 ends, but no zone is open"),
        ("# --- your turn 1.2 ---\n# --- end 1.3 ---\n", "zone 1.3 ends, but 1.2 is open"),
        ("# --- your turn 1.2 ---\n# --- your turn 1.3 ---\n", "zone 1.3 begins inside zone 1.2"),
        ("# --- your turn ---\n", "misspelt"),
        ("# --- Your turn 1.2 ---\n", "misspelt"),
        ("#--- end 1.2 --\n", "misspelt"),
    ],
)
def test_a_broken_zone_is_refused(text: str, says: str) -> None:
    """A zone that is not closed, not opened, nested or misspelt is refused with its line."""
    with pytest.raises(SpecError, match=says) as caught:
        zones(text)
    assert caught.value.where.startswith("line ") and caught.value.evidence.startswith("#")


def test_a_solution_may_differ_inside_its_zones_only() -> None:
    """Any change between two marks is fine, also to more or fewer lines; one outside is named with its line."""
    inside = STARTER.replace("x = 1\n", "x = 2\nz = 3\n").replace("    # --- end 1.3", "    y = 3\n    # --- end 1.3")
    assert inside != STARTER
    assert differs_outside_zones(STARTER, inside) == []
    assert differs_outside_zones(STARTER, inside.replace("y = 2", "y = 4")) == [
        "line 5 'y = 2' of the starter became line 6 'y = 4' of the solution"
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import os\n", ""),
        ("return y\n", "return y"),
        ("import os\n", "import os\r\n"),
        ("y = 2\n", "y = 2\n\n"),
        ("1.3 ---", "1.4 ---"),
        ("# --- your turn 1.2 ---\nx = 1\n# --- end 1.2 ---\n", "x = 1\n"),
    ],
)
def test_every_other_difference_is_seen(old: str, new: str) -> None:
    """A removed line, a lost line end, another zone or a zone taken away: each is one sentence."""
    assert len(differs_outside_zones(STARTER, STARTER.replace(old, new))) >= 1
