"""The wrong answers of a lab, which its checks must fail, and the spared designs, which they must pass.

[[wrong]]
id = "MS-16"
title = "money as a float"
file = "wallet.py"
find = "cents: int"            # occurs exactly once in the solution
replace = "cents: float"
killed_by = "test_sums_are_exact"
says = "cents"                 # a part of the failure's text
dagger = true                  # survives a happy-path test

[[spared]]
id = "S-1"
title = "composition in place of a projection"
edits = [{ file = "reports.py", find = "...", replace = "..." }, { file = "new.py", content = "..." }]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab_services.checks.places import as_spec, solution_text, wrong_answers_file
from lab_services.errors import CheckError
from lab_services.runtime.spec import LabSpec

_WRONG_KEYS = {"id", "title", "file", "find", "replace", "edits", "killed_by", "says", "dagger"}
_SPARED_KEYS = _WRONG_KEYS - {"killed_by", "says", "dagger"}
_EDIT_KEYS = ({"file", "find", "replace"}, {"file", "content"})


@dataclass(frozen=True)
class Edit:
    """Replace `find` by `replace` in one file of the solution; where `find` is None, `replace` is the whole file."""

    file: str
    find: str | None
    replace: str


@dataclass(frozen=True)
class Spared:
    """Another right design: every check must pass it."""

    id: str
    title: str
    edits: tuple[Edit, ...]


@dataclass(frozen=True)
class WrongAnswer(Spared):
    """A plausible mistake: the check `killed_by` must fail it with a text that holds `says`."""

    killed_by: str
    says: str
    dagger: bool = False


def load_wrong_answers(lab_name: str | LabSpec) -> tuple[WrongAnswer, ...]:
    """Return the wrong answers of a lab, in the order of the file.

    Raises:
        CheckError: the file is not there, or an entry lacks a field or has one too many.
    """
    spec = as_spec(lab_name)
    return tuple(
        WrongAnswer(
            **_common(spec, entry, _WRONG_KEYS),
            killed_by=_text(spec, entry, "killed_by"),
            says=_text(spec, entry, "says"),
            dagger=bool(entry.get("dagger", False)),
        )
        for entry in _entries(spec, "wrong")
    )


def load_spared(lab_name: str | LabSpec) -> tuple[Spared, ...]:
    """Return the right designs that the checks must pass although they are not ours."""
    spec = as_spec(lab_name)
    return tuple(Spared(**_common(spec, entry, _SPARED_KEYS)) for entry in _entries(spec, "spared"))


def overlay(lab_name: str | LabSpec, answer: Spared) -> Mapping[str, str]:
    """Return the changed files of an answer as texts by name, for `judge`.

    Raises:
        CheckError: a `find` does not occur exactly once in the solution.
    """
    spec = as_spec(lab_name)
    files: dict[str, str] = {}
    for edit in answer.edits:
        text = files.get(edit.file, solution_text(spec, edit.file))
        files[edit.file] = edit.replace if edit.find is None else _edited(spec, answer, edit, edit.find, text)
    return files


def _edited(spec: LabSpec, answer: Spared, edit: Edit, find: str, text: str) -> str:
    found = text.count(find)
    if found != 1 or not find:
        raise _bad(spec, answer.id, f"'find' occurs {found} times in {edit.file} of the solution, not once", find)
    if find == edit.replace:
        raise _bad(spec, answer.id, f"the edit of {edit.file} changes nothing", find)
    return text.replace(find, edit.replace)


def _entries(spec: LabSpec, kind: str) -> list[dict[str, Any]]:
    path = wrong_answers_file(spec)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad(spec, path.name, "the list of wrong answers cannot be read", str(error)) from error
    if strange := set(content) - {"wrong", "spared"}:
        raise _bad(spec, path.name, f"unknown table {min(strange)!r}", "tables there are: wrong, spared")
    entries: list[dict[str, Any]] = content.get(kind, [])
    ids = [entry.get("id") for entry in entries]
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise _bad(spec, str(twice), f"two entries of {kind!r} have this id", "")
    return entries


def _common(spec: LabSpec, entry: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    if strange := set(entry) - keys:
        known = ", ".join(sorted(keys))
        raise _bad(spec, str(entry.get("id")), f"unknown key {min(strange)!r}", f"keys there are: {known}")
    plain = {key: entry[key] for key in ("file", "find", "replace") if key in entry}
    edits = [plain] if plain else entry.get("edits", [])
    if not edits or (plain and "edits" in entry) or any(set(edit) not in _EDIT_KEYS for edit in edits):
        raise _bad(spec, str(entry.get("id")), "it needs file, find and replace, or edits = [...]", str(edits))
    return {
        "id": _text(spec, entry, "id"),
        "title": _text(spec, entry, "title"),
        "edits": tuple(map(_edit, edits)),
    }


def _edit(fields: Mapping[str, str]) -> Edit:
    if "content" in fields:
        return Edit(fields["file"], None, fields["content"])
    return Edit(fields["file"], fields["find"], fields["replace"])


def _text(spec: LabSpec, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise _bad(spec, str(entry.get("id")), f"{key!r} is missing", str(value))
    return value


def _bad(spec: LabSpec, entry: str, what: str, evidence: str) -> CheckError:
    return CheckError(
        f"{entry}: {what}",
        where=f"tests/course/wrong_answers/{spec.name}.toml",
        evidence=evidence,
        next_step="correct the entry",
    )
