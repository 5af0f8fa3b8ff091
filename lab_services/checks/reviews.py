"""The game with wrong answers: somebody proposes a change, and you find the bug before the check does."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from lab_services.checks import progress_file
from lab_services.checks.learner_progress import progress_path
from lab_services.checks.places import as_spec, solution_text
from lab_services.checks.report import CheckReport
from lab_services.checks.run import judge
from lab_services.checks.solutions import unified
from lab_services.checks.wrong_answers import WrongAnswer, load_wrong_answers, overlay
from lab_services.errors import UnknownName
from lab_services.runtime.spec import LabSpec

OTHERS = 3


@dataclass(frozen=True, repr=False)
class Review:
    """A change to review. `choices` holds what could be wrong with it; one of them is."""

    number: int
    of: int
    diff: str
    choices: tuple[str, ...]
    _spec: LabSpec = field(repr=False)
    _answer: WrongAnswer = field(repr=False)

    def guess(self, choice: int | str) -> Guess:
        """Name the bug by its number from 1 or by its words.

        Raises:
            UnknownName: that is none of the choices.
        """
        at = choice - 1 if isinstance(choice, int) else _place(choice, self.choices)
        if not 0 <= at < len(self.choices):
            raise UnknownName(
                f"{choice!r} is none of the choices",
                evidence="\n".join(_numbered(self.choices)),
                next_step="name one by its number: .guess(2)",
            )
        right = self.choices[at] == self._answer.title
        if right:
            _done(self._spec, self._answer)
        return Guess(right, self.choices[at])

    def reveal(self) -> Revealed:
        """Run the check that this change does not survive, and show what it says."""
        report = judge(self._spec, overlay(self._spec, self._answer), checks=[self._answer.killed_by])
        _done(self._spec, self._answer)
        return Revealed(self._answer.title, self._answer.killed_by, report)

    @property
    def headline(self) -> str:
        """One line: which change it is."""
        return f"Review this pull request ({self.number} of {self.of})"

    def __repr__(self) -> str:
        lines = [self.headline, self.diff, "", "What is wrong with it?", *_numbered(self.choices), _NEXT]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import TEXT, escape, heading, paragraph, preformatted

        choices = "".join(f"<li>{escape(choice)}</li>" for choice in self.choices)
        return (
            heading(self.headline)
            + preformatted(self.diff.splitlines())
            + paragraph("What is wrong with it?")
            + f'<ol style="{TEXT}">{choices}</ol>'
            + paragraph(_NEXT)
        )


_NEXT = "Name it with .guess(number); .reveal() runs the check that kills it."


@dataclass(frozen=True, repr=False)
class Guess:
    """Whether a guess was right."""

    right: bool
    choice: str

    def __repr__(self) -> str:
        if self.right:
            return f"Right: {self.choice}. .reveal() shows the check that kills it."
        return f"Not that: {self.choice}. Look again, or .reveal() it."

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import paragraph

        return paragraph(repr(self))


@dataclass(frozen=True, repr=False)
class Revealed:
    """The name of the bug and what the check says about it."""

    title: str
    killed_by: str
    report: CheckReport

    def __repr__(self) -> str:
        return f"{self._words()}\n{self.report!r}"

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import heading

        return heading(self._words()) + self.report._repr_html_()

    def _words(self) -> str:
        fate = "survived" if self.report.passed else "is killed by"
        return f"The bug: {self.title}. It {fate} {self.killed_by}"


@dataclass(frozen=True, repr=False)
class NothingToReview:
    """In the place of a review, as long as no task is passed: a diff against our solution would give it away."""

    task: str
    number: int = 0
    of: int = 0
    diff: str = ""
    choices: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """One line: what opens the reviews."""
        return f'nothing to review yet: pass a task first, for instance lab.check("{self.task}")'

    def guess(self, choice: int | str) -> NothingToReview:
        """Say the same again: there is nothing to name."""
        return self

    def reveal(self) -> NothingToReview:
        """Say the same again: there is nothing to reveal."""
        return self

    def __repr__(self) -> str:
        return self.headline

    def _repr_html_(self) -> str:
        from lab_services.views.html_table import paragraph

        return paragraph(self.headline)


def review(lab: str | LabSpec, number: int | None = None, *, seed: int = 0) -> Review | NothingToReview:
    """Give a wrong answer to a task that the learner has passed, as a diff against the solution, without its name.

    Args:
        lab: the lab, as in `open_lab`.
        number: from 1, among the changes to passed tasks; without one, the first that was neither named nor revealed.
        seed: orders the choices.

    Raises:
        UnknownName: there is no such number, or the lab has no wrong answers.
    """
    spec = as_spec(lab)
    every = load_wrong_answers(spec)
    answers = _opened(spec, every)
    if every and not answers:
        return NothingToReview(_first_reviewed(spec, every))
    at = number - 1 if number is not None else _first_new(spec, answers)
    if not 0 <= at < len(answers):
        raise UnknownName(
            f"{spec.name} has no pull request {number}",
            evidence=f"it has {len(answers)}",
            next_step="type lab.review(1)",
        )
    changed = overlay(spec, answers[at]).items()
    diff = "\n".join(unified(file, solution_text(spec, file), text) for file, text in changed)
    choices = _choices(answers[at], answers if len(answers) > 1 else every, seed)
    return Review(at + 1, len(answers), diff, choices, spec, answers[at])


def _opened(spec: LabSpec, answers: tuple[WrongAnswer, ...]) -> tuple[WrongAnswer, ...]:
    """Return the answers whose check belongs to a passed task; of a lab without tasks, all."""
    with progress_file.changing(progress_path()) as data:
        passed = [task for task in spec.tasks.values() if data.lab(spec.name).task(task.id).passed_at]
    checks = {check for task in passed for check in task.checks}
    return tuple(answer for answer in answers if not spec.tasks or answer.killed_by in checks)


def _first_reviewed(spec: LabSpec, answers: tuple[WrongAnswer, ...]) -> str:
    killers = {answer.killed_by for answer in answers}
    return next((task.id for task in spec.tasks.values() if killers & set(task.checks)), next(iter(spec.tasks), ""))


def _choices(chosen: WrongAnswer, answers: tuple[WrongAnswer, ...], seed: int) -> tuple[str, ...]:
    dice = random.Random(f"{seed}:{chosen.id}")
    title = chosen.title
    others = sorted({answer.title for answer in answers} - {title})
    picked = [title, *dice.sample(others, min(OTHERS, len(others)))]
    dice.shuffle(picked)
    return tuple(picked)


def _first_new(spec: LabSpec, answers: tuple[WrongAnswer, ...]) -> int:
    with progress_file.changing(progress_path()) as data:
        done = set(data.lab(spec.name).reviews)
    return next((at for at, answer in enumerate(answers) if answer.id not in done), 0)


def _done(spec: LabSpec, answer: WrongAnswer) -> None:
    with progress_file.changing(progress_path()) as data:
        done = data.lab(spec.name).reviews
        if answer.id not in done:
            done.append(answer.id)


def _place(words: str, choices: tuple[str, ...]) -> int:
    wanted = words.strip().casefold()
    return next((at for at, choice in enumerate(choices) if choice.casefold() == wanted), -1)


def _numbered(choices: tuple[str, ...]) -> list[str]:
    return [f"  {number}. {choice}" for number, choice in enumerate(choices, start=1)]
