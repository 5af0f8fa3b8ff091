"""The plain comparison and the error."""

from __future__ import annotations

import pytest

from lab_services.errors import BrokenCode, LabError
from lab_services.views import ComparisonTable, error_view
from tests.views.both_forms import html_cells, soup_of, text_cells

SHAPES = ComparisonTable(
    "Four shapes",
    ("shape", "processes", "p50, ms", "calls", "survives"),
    [("monolith", 1, 2.3456, 1234567, False), ("microservices", 6, 123.4, None, True)],
)


def test_both_forms_carry_the_same_cells_of_a_comparison() -> None:
    """Cell for cell, HTML and text agree; numbers are written for people."""
    assert html_cells(SHAPES) == text_cells(SHAPES)
    assert html_cells(SHAPES)[1:] == [
        ["monolith", "1", "2.35", "1,234,567", "no"],
        ["microservices", "6", "123", "-", "yes"],
    ]


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    """Only columns that hold nothing but numbers are set to the right."""
    row = soup_of(SHAPES).tbody.tr.find_all(["th", "td"])
    assert ["right" if "text-align:right" in str(cell["style"]) else "left" for cell in row] == [
        "left", "right", "right", "right", "left",
    ]  # fmt: skip


def test_a_row_that_does_not_fit_is_refused() -> None:
    """A table with a hole would be read wrongly: the row is named."""
    with pytest.raises(ValueError, match="2 columns, yet 1 cell"):
        ComparisonTable("x", ("a", "b"), [("only one",)])


def test_an_error_says_its_four_parts_in_both_forms() -> None:
    """The words of both forms are those of the error itself."""
    error = BrokenCode("rides.py cannot be imported", where="rides.py:3", evidence="def x(\n<b>", next_step="close it")
    view = error_view(error)
    assert str(view) == str(error)
    assert html_cells(view)[1:] == [["where", "rides.py:3"], ["evidence", "def x(\n<b>"], ["next", "close it"]]
    assert soup_of(view).caption.get_text() == error.what


def test_an_empty_part_of_an_error_is_left_out() -> None:
    """An error of one sentence is one sentence."""
    view = error_view(LabError("nothing runs"))
    assert str(view) == "nothing runs" and soup_of(view).get_text() == "nothing runs"


def test_endless_evidence_is_cut_from_the_front() -> None:
    """The end of a log is what tells; the earlier lines are counted."""
    view = error_view(LabError("it fell", evidence="\n".join(f"line {n}" for n in range(500))))
    assert "line 499" in str(view) and "line 100\n" not in str(view) and "460 earlier lines" in str(view)
    assert "460 earlier lines" in view._repr_html_()
