"""Say it before you run it: a prediction, kept until the result stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import EllipsisType

from ..errors import LabError
from .compare import three_digits
from .html_table import heading, paragraph, table
from .plain_text import text_table, visible

CLOSE = 0.1  # a prediction within a tenth of the measurement is called close


@dataclass(frozen=True)
class Choice:
    """One answer to choose: its key, its text, and why it is right or wrong (shown only after the run)."""

    key: str
    text: str
    reason: str


@dataclass(frozen=True, repr=False)
class Prediction:
    """What the learner expects: a number, the key of a choice, or None while there is no answer yet."""

    question: str
    answer: float | str | None
    choices: tuple[Choice, ...] = ()

    def __repr__(self) -> str:
        return "\n".join([visible(self.question), *(f"  {line}" for line in self._lines())])

    def _repr_html_(self) -> str:
        return heading(visible(self.question)) + "".join(paragraph(line) for line in self._lines())

    def compare(self, measured: float | str) -> Outcome:
        """Return the prediction beside what was measured; for a choice, `measured` is the key of the right one.

        Raises ValueError for a result that cannot be an answer, and when a wrong choice has no reason.
        """
        if self.choices and measured not in {choice.key for choice in self.choices}:
            raise ValueError(f"{measured!r} is none of the choices of {self.question!r}")
        if without := [choice.key for choice in self.choices if choice.key != measured and not choice.reason]:
            raise ValueError(f"wrong without a reason: {without}")
        if not self.choices and isinstance(measured, str):
            raise ValueError(f"{self.question!r} asks for a number, yet {measured!r} was measured")
        return Outcome(self, measured)

    def _lines(self) -> list[str]:
        options = [visible(f"{choice.key}) {choice.text}") for choice in self.choices if choice.key != choice.text]
        options = options or [visible(f"- {choice.key}") for choice in self.choices]
        return [*options, f"you say: {self.said()}"]

    def said(self) -> str:
        """Return the answer in words."""
        if self.answer is None:
            return f"nothing yet; put {'your choice' if self.choices else 'your number'} in place of ..."
        return self.answer if isinstance(self.answer, str) else three_digits(self.answer)


@dataclass(frozen=True, repr=False)
class Outcome:
    """A prediction beside what was measured, with a reason for every choice."""

    prediction: Prediction
    measured: float | str

    def __repr__(self) -> str:
        lines = [visible(self.prediction.question), *(f"  {line}" for line in self._lines())]
        return "\n".join([*lines, text_table(*self._options())] if self.prediction.choices else lines)

    def _repr_html_(self) -> str:
        lines = "".join(paragraph(line) for line in self._lines())
        if self.prediction.choices:
            return table(visible(self.prediction.question), *self._options()) + lines
        return heading(visible(self.prediction.question)) + lines

    def _lines(self) -> list[str]:
        shown = three_digits(self.measured) if isinstance(self.measured, int | float) else self.measured
        return [f"you said: {self.prediction.said()}", f"it was: {visible(shown)}", *self._verdict()]

    def _verdict(self) -> list[str]:
        answer = self.prediction.answer
        if answer is None:
            return []
        if isinstance(answer, str) or isinstance(self.measured, str):
            return ["as you said" if answer == self.measured else "a surprise: read why below"]
        return [_distance(answer, self.measured)]

    def _options(self) -> tuple[list[str], list[list[str]]]:
        rows = [
            [visible(choice.key), visible(choice.text), self._mark(choice), visible(choice.reason)]
            for choice in self.prediction.choices
        ]
        columns = ["choice", "text", "verdict", "why"]
        if all(choice.key == choice.text for choice in self.prediction.choices):
            return [columns[0], *columns[2:]], [[row[0], *row[2:]] for row in rows]
        return columns, rows

    def _mark(self, choice: Choice) -> str:
        right = "right" if choice.key == self.measured else "wrong"
        return f"{right}, your choice" if choice.key == self.prediction.answer else right


def predict(
    question: str,
    answer: float | str | EllipsisType | None,
    choices: Mapping[str, str] | Sequence[str] | None = None,
    reasons: Mapping[str, str] | None = None,
) -> Prediction:
    """Keep the learner's answer: a number, or the key of one of `choices` (a table key -> text, or a list of texts).

    `...` or None stands for no answer yet. `reasons` holds, for each key, why that choice is right or wrong.
    Raises LabError when the learner's answer cannot be one; ValueError when a wrong choice has no reason.
    """
    options = _options(choices or (), reasons or {})
    if answer is None or isinstance(answer, EllipsisType):
        return Prediction(question, None, options)
    return Prediction(question, _chosen(answer, options) if options else _number(answer), options)


def _options(choices: Mapping[str, str] | Sequence[str], reasons: Mapping[str, str]) -> tuple[Choice, ...]:
    texts = dict(choices) if isinstance(choices, Mapping) else {text: text for text in choices}
    if unknown := set(reasons) - set(texts):
        raise ValueError(f"reasons for what is no choice: {sorted(unknown)}")
    if len(without := [key for key in texts if key not in reasons]) > 1:
        raise ValueError(f"each wrong choice needs a reason of its own; these have none: {without}")
    return tuple(Choice(key, text, reasons.get(key, "")) for key, text in texts.items())


def _chosen(answer: object, options: tuple[Choice, ...]) -> str:
    for choice in options:
        if str(answer).strip().casefold() == choice.key.casefold():
            return choice.key
    keys = ", ".join(repr(choice.key) for choice in options)
    raise LabError(f"{answer!r} is none of the choices", next_step=f"put one of {keys} in its place")


def _number(answer: object) -> float:
    try:
        number = float(str(answer).strip())
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise LabError(f"{answer!r} is not a number", next_step="put a number in its place, for example 30")
    return number


def _distance(said: float, measured: float) -> str:
    if said == measured:
        return "as you said"
    if abs(said - measured) <= CLOSE * abs(measured):
        return "close: within a tenth"
    if said == 0 or measured == 0 or (said < 0) != (measured < 0):
        return f"a surprise: off by {three_digits(abs(said - measured))}"
    if abs(measured) > abs(said):
        return f"a surprise: {three_digits(measured / said)} times what you said"
    return f"a surprise: you said {three_digits(said / measured)} times too much"
