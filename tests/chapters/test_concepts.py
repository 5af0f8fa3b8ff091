"""The table of concepts: each concept that is due names its chapter, a cell that ran, and its check."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from lab_services.notebooks import concept_gaps, concepts
from tests.chapters.nbval_run import ROOT
from tests.chapters.small import book, code


def required() -> dict[str, list[str]]:
    """Return concept -> the chapters that may carry it, from the list beside this file."""
    groups = tomllib.loads(Path(__file__).with_name("required_concepts.toml").read_text(encoding="utf-8")).values()
    return {concept: group["chapters"] for group in groups for concept in group["concepts"]}


def course(folder: Path, carried: dict[str, Any]) -> Path:
    """Write a course of one chapter, 01, which carries these concepts; its lab has the check test_wallet."""
    (folder / "chapters").mkdir()
    (folder / "labs" / "01_services").mkdir(parents=True)
    (folder / "labs" / "01_services" / "test_wallet.py").write_text("def test_wallet(city):\n    pass\n")
    made = book(code("1", count=1), code("2", count=None))
    made.cells[0].id, made.cells[1].id = "ran", "never-ran"
    made.metadata["course"] = {"concepts": carried}
    (folder / "chapters" / "01_x.ipynb").write_text(json.dumps(made))
    return folder


def test_no_concept_that_is_due_is_missing() -> None:
    """The chapters that exist carry every concept that the curriculum asks of them."""
    assert concept_gaps(required(), ROOT) == ()


def test_a_gap_in_the_table_is_named(tmp_path: Path) -> None:
    """A missing concept, a cell that did not run, a check that is not there and an unknown name are each named."""
    carried = {
        "monolith": {"cell": "ran", "check": "test_wallet"},
        "reuse": {"cell": "never-ran", "check": None},
        "vertical": {"cell": "ran", "check": "test_bank"},
        "pigeons": {"cell": "ran", "check": None},
    }
    due = {"monolith": ["01"], "reuse": ["01"], "vertical": ["01"], "soa": ["01", "02"], "caching": ["02"]}
    assert concept_gaps(due, course(tmp_path, carried)) == (
        "01: pigeons: not in the list of concepts",
        "01: reuse: no executed cell 'never-ran'",
        "01: soa: no chapter carries it",
        "01: vertical: the lab has no check 'test_bank'",
    )


def test_the_table_names_chapter_cell_and_check(tmp_path: Path) -> None:
    """A row of the table says in which chapter, by which cell and by which check a concept is carried."""
    (row,) = concepts(course(tmp_path, {"monolith": {"cell": "ran", "check": "test_wallet"}}))
    assert (row.name, row.chapter, row.cell, row.check) == ("monolith", "01", "ran", "test_wallet")
    assert row.shown and row.checked
