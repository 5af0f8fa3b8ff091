"""The three-way merge of one file: nothing that either side changed may get lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab_services.runtime.merge import merge
from lab_services.runtime.update import decide

LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n", b"    return x\n"]), max_size=30)
TEXT = LINES.map(b"".join)


@st.composite
def distant_edits(draw: st.DrawFn) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Draw a file of different lines, and two versions that changed lines at least two apart."""
    base = [b"line %d\n" % number for number in range(draw(st.integers(0, 40)))]
    sides: list[list[bytes]] = [list(base), list(base)]
    for place in range(0, len(base), 2):
        side = draw(st.sampled_from([0, 1, None]))
        edit = draw(st.sampled_from([b"", b"new %d of %s\n", b"new %d of %s\nand another\n"]))
        if side is not None:
            sides[side][place] = edit % (place, b"ab"[side : side + 1]) if b"%" in edit else edit
    return base, sides[0], sides[1]


@given(distant_edits())
def test_edits_of_both_sides_survive(edits: tuple[list[bytes], list[bytes], list[bytes]]) -> None:
    """Where learner and course changed different lines, the result has every change of both and no other."""
    base, mine, new = edits
    wanted = [m if m != b else n for b, m, n in zip(base, mine, new, strict=True)]
    merged = merge(b"".join(base), b"".join(mine), b"".join(new))
    assert not merged.conflict
    assert merged.content == b"".join(wanted)


@given(TEXT, TEXT)
def test_a_change_of_one_side_is_taken_as_it_is(base: bytes, changed: bytes) -> None:
    """When only one side changed a file, the result is that side, byte for byte."""
    assert merge(base, changed, base).content == changed
    assert merge(base, base, changed).content == changed
    assert merge(base, changed, changed).content == changed


@given(TEXT, TEXT, TEXT)
def test_no_line_of_a_conflict_is_lost(base: bytes, mine: bytes, new: bytes) -> None:
    """Whatever happened, a line that a side added stands in the result."""
    merged = merge(base, mine, new)
    for side in (mine, new):
        assert set(side.splitlines()) - set(base.splitlines()) <= set(merged.content.splitlines())
    assert merged.conflict == (b"<<<<<<< your file\n" in merged.content)


@given(distant_edits())
def test_a_merge_repeated_after_a_crash_changes_nothing(edits: tuple[list[bytes], list[bytes], list[bytes]]) -> None:
    """A merged file that is merged again with the same base and starter stays as it is."""
    base, mine, new = (b"".join(lines) for lines in edits)
    merged = merge(base, mine, new).content
    again = merge(base, merged, new)
    assert (again.content, again.conflict) == (merged, False)


def test_neighbouring_changes_are_a_conflict() -> None:
    """A line that both changed stands in the result twice, between markers that name whose it is."""
    merged = merge(b"a\nb\nc\n", b"a\nmine\nc\n", b"a\nnew\nc\n")
    assert merged.conflict
    assert merged.content == b"a\n<<<<<<< your file\nmine\n=======\nnew\n>>>>>>> the new starter\nc\n"


def test_a_last_line_without_an_end_is_not_glued_to_a_marker() -> None:
    """Files that do not end in a newline keep every marker on a line of its own."""
    assert b"\n=======\n" in merge(b"a", b"mine", b"new").content
    assert merge(b"a\nb", b"x\na\nb", b"a\nb").content == b"x\na\nb"


def test_line_ends_rewritten_by_an_editor_are_not_a_change() -> None:
    """A learner's file with CRLF merges like one without, and stays CRLF."""
    merged = merge(b"a\nb\nc\nd\n", b"a\r\nb\r\nc\r\nmine\r\n", b"new\nb\nc\nd\n")
    assert (merged.content, merged.conflict) == (b"new\r\nb\r\nc\r\nmine\r\n", False)


def test_a_merge_that_breaks_a_working_program_is_a_conflict() -> None:
    """Two changes that fit line by line, yet make no Python program, are left for the learner to join."""
    base = b"def f():\n    x = 1\n    y = 2\n    return x\n"
    mine = base.replace(b"    return x", b"    return (x,\n        y)")
    new = base.replace(b"    x = 1", b"    x = (1")
    assert merge(base, mine, new, python=True).conflict
    assert not merge(base, mine, new).conflict


def test_a_long_file_of_frequent_lines_is_merged_as_well() -> None:
    """In 600 lines of three kinds, a line added at the top and one at the end are both taken."""
    base = b"a\nb\n\n" * 200
    merged = merge(base, b"mine\n" + base, base + b"new\n")
    assert (merged.content, merged.conflict) == (b"mine\n" + base + b"new\n", False)


def test_pictures_are_never_mixed() -> None:
    """Two versions of a binary file are a conflict whose content is the new one, whole."""
    merged = merge(b"\0a\n", b"\0b\n", b"\0c\n")
    assert (merged.content, merged.conflict) == (b"\0c\n", True)


@pytest.mark.parametrize(
    ("base", "mine", "new", "verdict", "content"),
    [
        (None, None, b"n", "added", b"n"),
        (b"b", None, b"n", "missing", None),
        (b"b", b"b", b"b", "same", None),
        (b"b", b"b", b"n", "taken", b"n"),
        (b"b", b"m", b"b", "kept", None),
        (b"b", b"n", b"n", "same", None),
        (None, b"n", b"n", "same", None),
        (b"1\n2\n3\n", b"1\n2\nm\n", b"n\n2\n3\n", "merged", b"n\n2\nm\n"),
        (None, b"m\n", b"n\n", "conflict", b"<<<<<<< your file\nm\n=======\nn\n>>>>>>> the new starter\n"),
        (None, b"", b"n\n", "conflict", b"n\n"),
    ],
)
def test_the_verdict_on_a_file(
    base: bytes | None, mine: bytes | None, new: bytes, verdict: str, content: bytes | None
) -> None:
    """Each combination of absent, unchanged and changed has its one verdict."""
    step = decide("x.txt", base, mine, new)
    assert (step.verdict, step.content) == (verdict, content)
