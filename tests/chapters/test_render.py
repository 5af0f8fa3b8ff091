"""Rendering: a chapter is run, its outputs are stored, and its form is the same every time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nbformat
import pytest

from lab_services.errors import LabError, UnknownName
from lab_services.notebooks import normalised, read_notebook, render
from tests.chapters.small import book, code, printed, shown, text, write

IGNORE = ("nbval-ignore-output",)


def messy(path: Path) -> Path:
    """Write a notebook as a browser would save it: foreign metadata, no counts, a cell without an id."""
    made = book(
        text("# A chapter"),
        code("import os, random, sys\nprint('one', end=' ')\nsys.stdout.flush()\nprint('two')", count=None),
        code("random.random()", tags=IGNORE, count=None),
        code("os.environ['COURSE_WORK'], os.getcwd() == FOLDER".replace("FOLDER", repr(str(path.parent))), count=None),
        code("1 / 0", tags=("raises-exception",), count=None),
        code("", count=7),
    )
    made.metadata = {"widgets": {"state": 1}, "language_info": {"name": "python", "version": "3.99"}}
    made.metadata["course"] = {"concepts": {}}
    made.cells[1].metadata = {"execution": {"iopub.status.busy": "now"}, "collapsed": False}
    raw = json.loads(nbformat.writes(made))
    del raw["cells"][2]["id"]
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], Any]:
    """A messy notebook rendered once; the ids it had before; what the first rendering reported."""
    path = messy(tmp_path_factory.mktemp("chapters") / "07_sample.ipynb")
    before = {
        cell["source"][0] if cell["source"] else "": cell.get("id") for cell in json.loads(path.read_text())["cells"]
    }
    return path, before, render(path)


def test_outputs_are_stored_and_counted_in_order(rendered: tuple[Path, dict[str, str], Any]) -> None:
    """Every code cell is run, streams are merged, results carry the count of their cell."""
    cells = [cell for cell in read_notebook(rendered[0]).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4, None]
    assert [output.text for output in cells[0].outputs] == ["one two\n"]
    assert cells[1].outputs[0].execution_count == 2
    assert cells[3].outputs[0].ename == "ZeroDivisionError"


def test_it_runs_in_its_folder_with_the_work_of_nobody(rendered: tuple[Path, dict[str, str], Any]) -> None:
    """The chapter runs beside its file, with a COURSE_WORK of its own that is gone afterwards."""
    said = read_notebook(rendered[0]).cells[3].outputs[0].data["text/plain"]
    work, in_folder = eval(said)  # the repr of a tuple, written by the cell above
    assert in_folder and work != os.environ.get("COURSE_WORK") and not Path(work).parent.exists()


def test_metadata_is_clean_and_ids_are_kept(rendered: tuple[Path, dict[str, str], Any]) -> None:
    """Only what the course means stays in the metadata; ids stay, and a missing one is made from the content."""
    path, before, _ = rendered
    made = json.loads(path.read_text())
    assert sorted(made["metadata"]) == ["course", "kernelspec", "language_info"]
    assert made["metadata"]["language_info"] == {"name": "python"}
    assert made["cells"][1]["metadata"] == {}
    after = {cell["source"][0] if cell["source"] else "": cell["id"] for cell in made["cells"]}
    assert {key: value for key, value in before.items() if value} == {key: after[key] for key in before if before[key]}
    assert read_notebook(messy(path.with_name("08_again.ipynb"))).cells[2].id == made["cells"][2]["id"]


def test_rendering_twice_changes_no_byte(rendered: tuple[Path, dict[str, str], Any]) -> None:
    """A second rendering keeps a varying output, and the file stays byte for byte the same."""
    path, _, first = rendered
    made = read_notebook(path)
    made.cells[3].source = "pass"  # it shows the name of its private folder, which no chapter does
    path.write_text(normalised(made), encoding="utf-8")
    render(path)
    before = path.read_bytes()
    second = render(path)
    assert path.read_bytes() == before and not second.changed
    assert len(first.fresh) == 1 and second.kept == first.fresh


def test_a_changed_source_brings_its_new_output(tmp_path: Path) -> None:
    """A varying output is stored anew when the source of its cell changed, and normalising shows it as stale before."""
    path = write(tmp_path / "01_x.ipynb", code("f'{3}'", tags=IGNORE, count=None))
    render(path)
    made = read_notebook(path)
    assert normalised(made) == path.read_text()
    made.cells[0].source = "f'{4}'"
    assert "'3'" not in normalised(made)
    path.write_text(nbformat.writes(made), encoding="utf-8")
    assert render(path).fresh == (made.cells[0].id,)
    assert read_notebook(path).cells[0].outputs[0].data["text/plain"] == "'4'"


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (code("bikes = 4\nbikes.dock()"), "AttributeError"),
        (code("1 + 1", tags=("raises-exception",)), "did not raise"),
        (code("%no_such_magic"), "no_such_magic"),
        (code("import os\nos.kill(os.getpid(), 9)"), "died"),
        (code("import subprocess\nchild = subprocess.Popen(['sleep', '30'], start_new_session=True)"), "sleep 30"),
    ],
    ids=["error", "no error", "magic", "dead kernel", "left process"],
)
def test_a_failing_chapter_is_refused_in_four_parts(
    cell: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that fails, or a process left behind, ends in one friendly error; the file stays as it was."""
    monkeypatch.setattr("lab_services.notebooks.rendering.QUIET_SECONDS", 0.5)
    path = write(tmp_path / "01_x.ipynb", cell)
    before = path.read_bytes()
    with pytest.raises(LabError) as failure:
        render(path)
    error = failure.value
    assert all((error.what, error.where, error.evidence, error.next_step)) and says in str(error)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["01_x.ipynb"]
    if says == "sleep 30":
        os.kill(int(error.evidence.split()[0]), 9)


def test_a_chapter_is_found_by_number_or_refused_by_name(tmp_path: Path) -> None:
    """A number that no chapter has is refused with the names of those there are."""
    (tmp_path / "chapters").mkdir()
    write(tmp_path / "chapters" / "01_services.ipynb", text("# One"))
    assert render(1, root=tmp_path).path.name == "01_services.ipynb"
    assert render("01", root=tmp_path).cells == 0
    with pytest.raises(UnknownName, match="02") as failure:
        render("02", root=tmp_path)
    assert "01_services" in failure.value.evidence


@pytest.mark.parametrize("content", ["", "[]", '{"nbformat": 3, "cells": []}', '{"nbformat": 4, "cells": [{}]}'])
def test_a_file_that_is_no_notebook_is_refused(content: str, tmp_path: Path) -> None:
    """A broken file is refused in four parts instead of with a traceback of the format library."""
    path = tmp_path / "01_x.ipynb"
    path.write_text(content)
    with pytest.raises(LabError, match="not a notebook"):
        read_notebook(path)


def test_normalising_runs_nothing_and_settles() -> None:
    """Normalising twice is the same as once, merges streams, renumbers, drops live widgets and mends a double id."""
    made = book(
        code("a", printed("1\n"), printed("!", "stderr"), printed("2\n"), count=9),
        code("b", shown(12, **{"application_vnd.jupyter.widget-view+json": "x"}), count=12),
    )
    made.cells[1].id = made.cells[0].id
    once = normalised(made)
    again = nbformat.reads(once, as_version=4)
    assert normalised(again) == once
    assert [cell.execution_count for cell in again.cells] == [1, 2]
    assert [output.text for output in again.cells[0].outputs] == ["1\n2\n", "!"]
    assert again.cells[1].outputs == [] and again.cells[0].id == made.cells[0].id != again.cells[1].id
