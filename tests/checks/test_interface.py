"""A .proto is judged without being run: by buf, and by its messages in pools of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab_services.checks.interface import Interface, breaking, lint
from lab_services.errors import LabError

PROTO = """syntax = "proto3";

package toy.door.v1;

message Door {
  string name = 1;
  int32 width_metres = 2;
}
"""


def write(folder: Path, name: str, *change: str) -> Path:
    """Write the toy interface, with one text replaced by another."""
    file = folder / name
    file.write_text(PROTO.replace(*change) if change else PROTO)
    return file


def test_what_follows_the_rules_has_no_finding(tmp_path: Path) -> None:
    """A version with one more field is clean, wherever its file lies and whatever the old file is called."""
    old, new = write(tmp_path, "door_v1.proto"), write(tmp_path, "door.proto", "= 2;", "= 2;\n  bool open = 3;")
    assert lint(new) == [] and breaking(new, old) == []


def test_a_finding_names_file_line_and_rule(tmp_path: Path) -> None:
    """What lint and breaking find is told by the name of the new file, the line, the rule and buf's own words."""
    old, new = write(tmp_path, "door_v1.proto"), write(tmp_path, "door.proto", "int32 width_metres", "string Width")
    [name] = lint(new)
    assert name.startswith("door.proto:7 FIELD_LOWER_SNAKE_CASE: ")
    assert any(found.startswith("door.proto:7 FIELD_WIRE_JSON_COMPATIBLE_TYPE: ") for found in breaking(new, old))


def test_a_field_that_goes_must_be_reserved(tmp_path: Path) -> None:
    """Without its number and its name reserved a removed field is a finding, with both it is none."""
    old, field = write(tmp_path, "door_v1.proto"), "  int32 width_metres = 2;\n"
    assert len(breaking(write(tmp_path, "door.proto", field, ""), old)) == 2
    kept = '  reserved 2;\n  reserved "width_metres";\n'
    assert breaking(write(tmp_path, "door.proto", field, kept), old) == []


def test_versions_live_side_by_side(tmp_path: Path) -> None:
    """Three versions of one name are in one process, and a field that one does not know passes through it."""
    old = Interface(write(tmp_path, "door_v1.proto", "  int32 width_metres = 2;\n", ""))
    new = Interface(write(tmp_path, "door.proto"))
    newest = Interface(
        write(tmp_path, "door.proto"), lambda file: setattr(file.message_type[0].field[1], "name", "width")
    )
    data = newest.message("Door")(name="gate", width=3).SerializeToString()
    passed = old.message("Door").FromString(data).SerializeToString()
    assert new.message("Door").FromString(passed).width_metres == 3


def test_what_an_interface_imports_is_there(tmp_path: Path) -> None:
    """The types that come with protobuf can be imported."""
    text = 'package toy.door.v1;\nimport "google/protobuf/wrappers.proto";'
    file = write(tmp_path, "door.proto", "package toy.door.v1;", text)
    file.write_text(file.read_text().replace("int32 width", "google.protobuf.Int32Value width"))
    assert not Interface(file).message("Door")().HasField("width_metres")


def test_a_mistake_in_the_file_is_told(tmp_path: Path) -> None:
    """What cannot be compiled is a finding of lint, and a LabError for whoever wants its messages."""
    broken = write(tmp_path, "door.proto", "int32", "in32")
    assert lint(broken) == ["door.proto:7 COMPILE: cannot find `in32` in this scope"]
    with pytest.raises(LabError, match="cannot be compiled") as failure:
        Interface(broken)
    assert "door.proto:7" in failure.value.evidence
