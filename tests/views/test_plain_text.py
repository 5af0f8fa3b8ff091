"""Text made fit to be shown."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from lab_services.views.plain_text import counted, text_table, visible


@given(st.text())
def test_visible_text_is_one_printable_line_and_stays_itself(text: str) -> None:
    """Made visible, any text is one line without control characters, and a second time changes nothing."""
    shown = visible(text)
    assert not any(unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} for sign in shown)
    assert visible(shown, 10_000) == shown


def test_ordinary_text_is_left_alone() -> None:
    """Letters of any script and an emoji of several parts pass unchanged."""
    for text in ("rides-2", "\u4e2d\u6587\u7ad9", "caf\u00e9", "\N{WOMAN}\u200d\N{BICYCLE}"):
        assert visible(text) == text


def test_colours_go_and_other_control_characters_are_shown() -> None:
    """A terminal's colours are dropped; a bell, a line feed and a reversing mark become signs."""
    assert visible("\x1b[1;31mred\x1b[0m\a\n\u202e") == "red\u2407\u240a\\u202e"


def test_what_is_cut_off_is_counted() -> None:
    """The shown and the counted characters together are the whole text, also of megabytes."""
    assert visible("y" * 350) == "y" * 300 + " ... (50 more characters)"
    assert visible("y" * 5_000_000) == "y" * 300 + " ... (4,999,700 more characters)"


def test_columns_line_up_for_wide_and_narrow_letters() -> None:
    """A Chinese name takes two columns a letter, and the next column still starts at one place."""
    lines = text_table(["name", "n"], [["\u4e2d\u6587", "1"], ["ab", "20"]], {1}).split("\n")
    assert lines == ["name   n", "----  --", "\u4e2d\u6587   1", "ab    20"]


def test_the_line_below_the_head_is_as_wide_as_its_column() -> None:
    """A column of long sentences is underlined to its end."""
    assert text_table(["what", "n"], [["y" * 90, "1"]]).split("\n")[1] == "-" * 90 + "  -"


def test_one_is_not_many() -> None:
    """One arrow, two arrows, thousands apart."""
    assert [counted(n, "arrow") for n in (0, 1, 1200)] == ["0 arrows", "1 arrow", "1,200 arrows"]
