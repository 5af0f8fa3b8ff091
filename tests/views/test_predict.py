"""Predictions, kept until the result stands beside them."""

from __future__ import annotations

from typing import Any

import pytest

from lab_services.errors import LabError
from lab_services.views import predict
from tests.views.both_forms import html_cells, soup_of, text_cells

CHOICES = {"a": "the gateway", "b": "the wallet", "c": "nothing"}
REASONS = {"a": "The gateway only forwards.", "c": "A ride needs a hold."}


@pytest.mark.parametrize(
    ("said", "measured", "verdict"),
    [
        (30, 30, "as you said"),
        (30, 32, "close: within a tenth"),
        (30, 99, "a surprise: 3.3 times what you said"),
        (30, 10, "a surprise: you said 3 times too much"),
        (0, 7, "a surprise: off by 7"),
        (7, 0, "a surprise: off by 7"),
        (-2, 2, "a surprise: off by 4"),
        (-2, -6, "a surprise: 3 times what you said"),
    ],
)
def test_a_number_stands_beside_the_measured_one(said: float, measured: float, verdict: str) -> None:
    """Both forms say what was said, what it was, and how far apart they are."""
    outcome = predict("How many of 100 rides fail?", said).compare(measured)
    lines = [f"you said: {said}", f"it was: {measured}", verdict]
    assert [line.strip() for line in str(outcome).split("\n")] == ["How many of 100 rides fail?", *lines]
    assert [line.get_text() for line in soup_of(outcome).find_all("p")][1:] == lines


def test_the_reasons_are_told_only_after_the_run() -> None:
    """Before the run the choices are shown without a hint of which is right; afterwards each has its own reason."""
    prediction = predict("What stops first?", "a", CHOICES, REASONS)
    outcome = prediction.compare("b")
    for text in CHOICES.values():
        assert text in str(prediction) and text in prediction._repr_html_()
    for reason in REASONS.values():
        assert reason not in str(prediction) + prediction._repr_html_()
        assert reason in str(outcome) and reason in outcome._repr_html_()


def test_each_choice_is_marked_right_or_wrong_and_whose_it_is() -> None:
    """The table after the run names the right choice and the learner's in words, alike in both forms."""
    outcome = predict("What stops first?", "a", CHOICES, REASONS).compare("b")
    cells = html_cells(outcome)
    assert cells == text_cells(outcome)
    assert [row[2] for row in cells[1:]] == ["wrong, your choice", "right", "wrong"]
    right = predict("What stops first?", "b", CHOICES, REASONS).compare("b")
    assert [row[2] for row in html_cells(right)[1:]] == ["wrong", "right, your choice", "wrong"]
    assert "as you said" in str(right) and "a surprise" in str(outcome)


def test_a_list_of_texts_serves_as_choices() -> None:
    """Without keys the texts themselves are chosen, whatever their case, and stand once in the table."""
    outcome = predict("More or fewer?", " MORE ", ["more", "fewer"], {"fewer": "Each hop adds."}).compare("more")
    assert html_cells(outcome)[0] == ["choice", "verdict", "why"]
    assert html_cells(outcome)[1] == ["more", "right, your choice", ""]


@pytest.mark.parametrize("answer", [..., None])
def test_no_answer_yet_is_no_error(answer: Any) -> None:
    """A chapter runs from top to bottom before anything is answered: it says what to fill in and shows the result."""
    number, choice = predict("How many?", answer), predict("Which?", answer, CHOICES, REASONS)
    assert "your number" in str(number) and "your choice" in str(choice)
    assert "it was: 5" in str(number.compare(5)) and "surprise" not in str(number.compare(5))
    assert "your choice" not in {row[2] for row in html_cells(choice.compare("b"))}


@pytest.mark.parametrize("answer", ["many", "nan", "inf", "", True, [3]])
def test_an_answer_that_is_no_number_names_the_next_step(answer: Any) -> None:
    """What is not a number is refused in the learner's words."""
    with pytest.raises(LabError) as refused:
        predict("How many?", answer)
    assert "not a number" in refused.value.what and refused.value.next_step


def test_an_answer_that_is_no_choice_names_the_choices() -> None:
    """A choice that is not there is refused with those that are."""
    with pytest.raises(LabError) as refused:
        predict("Which?", "d", CHOICES, REASONS)
    assert "'a', 'b', 'c'" in refused.value.next_step


def test_a_number_may_be_typed_as_text() -> None:
    """The text "30" is the number 30."""
    assert predict("How many?", "30").answer == 30


def test_the_author_must_give_each_wrong_choice_its_reason() -> None:
    """Only the right choice goes without a reason; a reason for no choice and a result that is no answer are slips."""
    with pytest.raises(ValueError, match="reason of its own"):
        predict("Which?", "a", CHOICES, {"a": "no"})
    with pytest.raises(ValueError, match="no choice"):
        predict("Which?", "a", CHOICES, {**REASONS, "x": "no"})
    with pytest.raises(ValueError, match="none of the choices"):
        predict("Which?", "a", CHOICES, REASONS).compare("x")
    with pytest.raises(ValueError, match="without a reason"):
        predict("Which?", "a", CHOICES, REASONS).compare("c")
    with pytest.raises(ValueError, match="asks for a number"):
        predict("How many?", 3).compare("many")
