"""The states of a saga, the way that one run took through them, and where it stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from ..bikeshare.start_steps import START_A_RIDE, SagaStep, pivot_of, ways
from .mermaid_text import accessible, diagram_bundle, label
from .plain_text import counted, visible

VISITS = 60  # more are a saga that says the same again and again: the first and the last are shown
REASONS = {  # what is known when a way is taken; who is overdue turns back from a step that is done
    "done": ("done",),
    "refused": ("refused",),
    "silence or overdue": ("silence", "done"),
    "refused, silence or overdue": ("refused", "silence", "done"),
}
_TAKEN = " (taken)"
_AGAIN = "said again"
_UNPLANNED = "not a planned way"
_FOREIGN = "no state of this saga"
# Each look brings both of its colours (contrast at least 4.5 to 1), and the words of the node say the same.
LOOKS = {
    "taken": "fill:#1f5fa8,color:#ffffff,stroke:#1f5fa8",
    "stopped": "fill:#a51d2d,color:#ffffff,stroke:#a51d2d,font-weight:bold",
    "ended": "fill:#0f6674,color:#ffffff,stroke:#0f6674,font-weight:bold",  # an end is not yet a success
}


class _Visit(NamedTuple):
    """A state of the run, its number, and what was known when it was left."""

    number: int
    state: str
    reason: str


@dataclass(frozen=True, repr=False)
class SagaView:
    """A saga as a Mermaid state diagram and as text: every way there is, and the one that was taken, numbered.

    `states` are those of one run in their order; a state that follows itself has said its command again. `reasons` are
    what was known when each was left: "done", "refused" or "silence". Without them each planned way is believed.
    """

    title: str
    states: Iterable[str]
    reasons: Iterable[str] = ()
    steps: Sequence[SagaStep] = START_A_RIDE
    done: str = "started"
    undone: str = "refused"

    def __post_init__(self) -> None:
        object.__setattr__(self, "states", tuple(self.states))
        object.__setattr__(self, "reasons", tuple(self.reasons))
        object.__setattr__(self, "steps", tuple(SagaStep(*step) for step in self.steps))

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *self._lines()])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return diagram_bundle(self.mermaid(), repr(self))

    def mermaid(self) -> str:
        """Return the source of the diagram."""
        ids = {state: f"s{at}" for at, state in enumerate(self._commands())}
        numbers, looks = self._numbers(), self._looks()
        nodes = [f'    state "{self._words(state, numbers)}" as {ids[state]}' for state in ids]
        arrows = [
            f"    {ids[source]} --> {ids[target]}: {label(words)}{_TAKEN if taken else ''}"
            for source, target, words, taken in self._arrows()
        ]
        first = [f"    [*] --> {ids[self.steps[0].state]}"] if self.steps else []
        ends = [f"    {ids[end]} --> [*]" for end in (self.done, self.undone)]
        defined = [f"    classDef {name} {look}" for name, look in LOOKS.items()]
        classes = [f"    class {ids[state]} {look}" for state, look in looks.items()]
        words = accessible(self._headline(), self._lines())
        return "\n".join(["stateDiagram-v2", *words, *nodes, *first, *arrows, *ends, *defined, *classes])

    # --- what is shown ---

    def _visits(self) -> list[_Visit]:
        states, reasons = tuple(self.states), tuple(self.reasons)
        missing = ("",) * max(0, len(states) - len(reasons))
        visits = list(map(_Visit, range(1, len(states) + 1), states, (*reasons, *missing)))
        return visits if len(visits) <= VISITS else [*visits[: VISITS // 2], *visits[-VISITS // 2 :]]

    def _taken(self) -> list[str]:
        return [visit.state for visit in self._visits()]

    def _stop(self) -> str:
        return tuple(self.states)[-1] if self.states else ""

    def _commands(self) -> dict[str, str]:
        """Return every state with what it waits for; the foreign ones of the run come last."""
        pivot = pivot_of(self.steps)
        forward = {step.state: step.action + (", pivot" if at == pivot else "") for at, step in enumerate(self.steps)}
        back = {step.undo_state: step.undo for step in reversed(self.steps) if step.undo}
        known = {**forward, **back, self.done: "an end", self.undone: "an end"}
        return known | {state: _FOREIGN for state in self._taken() if state not in known}

    def _moves(self) -> dict[int, tuple[str, str, str]]:
        """Return from, to and words of every move of the run that is shown, by the number of the state it leaves."""
        known = ways(self.steps, self.done, self.undone)
        pairs = [pair for pair in pairwise(self._visits()) if pair[1].number == pair[0].number + 1]
        return {left.number: (left.state, to.state, _why(left, to, known)) for left, to in pairs}

    def _arrows(self) -> list[tuple[str, str, str, bool]]:
        """Return from, to, words and whether it was taken: the ways of the saga, then what else the run did.

        A command said again has no arrow: its label would lie on others. The state says how often.
        """
        known = [(*pair, words) for pair, words in ways(self.steps, self.done, self.undone).items()]
        moves = dict.fromkeys(move for move in self._moves().values() if move[0] != move[1])
        return [(*move, move in moves) for move in dict.fromkeys([*known, *moves])]

    def _numbers(self) -> dict[str, str]:
        """Return for each visited state when it was entered: "2", or "2, 3, 4"."""
        found: dict[str, list[int]] = {}
        for visit in self._visits():
            found.setdefault(visit.state, []).append(visit.number)
        return {state: _listed(numbers) for state, numbers in found.items()}

    def _looks(self) -> dict[str, str]:
        looks = dict.fromkeys(self._taken(), "taken")
        if self._taken():
            looks[self._stop()] = "ended" if self._is_over() else "stopped"
        return looks

    def _is_over(self) -> bool:
        return self._stop() in (self.done, self.undone)

    def _mark(self) -> str:
        return "ended here" if self._is_over() else "stopped here"

    def _words(self, state: str, numbers: dict[str, str]) -> str:
        number = f"{numbers[state]}. " if state in numbers else ""
        stopped = state in numbers and state == self._stop()
        command = [] if stopped and self._is_over() else [label(self._commands()[state])]
        times = tuple(self.states).count(state)
        often = [f"{times:,} times"] if times > 1 else []
        return "<br/>".join([f"{number}{label(state)}", *command, *often, *([self._mark()] if stopped else [])])

    # --- the text twin ---

    def _headline(self) -> str:
        if not self._taken():
            return f"{visible(self.title)}: not begun"
        verb = "ended" if self._is_over() else "stopped"
        return f"{visible(self.title)}: {verb} in {visible(self._stop())}"

    def _lines(self) -> list[str]:
        moves, commands, lines = self._moves(), self._commands(), list[str]()
        left_out = len(tuple(self.states)) - VISITS
        for number, state, _ in self._visits():
            if left_out > 0 and number == VISITS // 2 + left_out + 1:
                lines.append(f"  ... {counted(left_out, 'state')} left out")
            is_last = number == len(tuple(self.states))
            why = self._mark() if is_last else moves[number][2] if number in moves else "..."
            lines.append(f"  {number}. {visible(state)} ({visible(commands[state])}): {visible(why)}")
        return [*lines, "  all ways:", *(f"    {way}" for way in self._ways())]

    def _ways(self) -> list[str]:
        return [
            f"{visible(source)} -> {visible(target)}: {visible(words)}{_TAKEN if taken else ''}"
            for source, target, words, taken in self._arrows()
        ]


def _why(left: _Visit, to: _Visit, known: Mapping[tuple[str, str], str]) -> str:
    """Return the words of a move: those of its way, unless what was known does not fit it."""
    if left.state == to.state:
        return _AGAIN
    way = known.get((left.state, to.state))
    if way and (not left.reason or left.reason in REASONS[way]):
        return way
    return f"{left.reason}, {_UNPLANNED}" if left.reason else _UNPLANNED


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:3]))
    return shown if len(numbers) <= 3 else f"{shown}, ... {numbers[-1]}"
