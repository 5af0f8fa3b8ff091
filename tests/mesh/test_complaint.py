"""Which line of a learner's file is named when Envoy complains of a field."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab_services.mesh.complaint import Complaint

SOURCE = '''"""Routes: each weight counts."""

from weights import weight

SHARES = {
    "weight": 1,  # the weight
}
'''
ABOUT_A_WEIGHT = Complaint("JSON number out of range", "clusters[0].weight", ("weight", "clusters"))


def test_neither_a_docstring_nor_an_import_is_blamed(tmp_path: Path) -> None:
    """The line that writes the field is named, though the word stands in others above it."""
    (tmp_path / "routes.py").write_text(SOURCE)
    assert ABOUT_A_WEIGHT.line_in([tmp_path / "routes.py"]) == "routes.py:6"


@pytest.mark.parametrize("source", [SOURCE.partition("SHARES")[0], "# weight\n", ""])
def test_no_line_is_blamed_when_none_writes_the_field(tmp_path: Path, source: str) -> None:
    """A word that stands only in a docstring, an import or a comment leads nowhere."""
    (tmp_path / "routes.py").write_text(source)
    assert ABOUT_A_WEIGHT.line_in([tmp_path / "routes.py"]) == ""


def test_a_file_that_is_no_python_is_read_line_by_line(tmp_path: Path) -> None:
    """Any text may have written the field."""
    (tmp_path / "routes.json").write_text('{"clusters": [\n{"weight": 1}, }')
    assert ABOUT_A_WEIGHT.line_in([tmp_path / "routes.json"]) == "routes.json:2"
