"""Find the first wrong message of a saga: what no right orchestrator says, and what it owes at the end.

A right one may say a command as often as it likes, with the same id, and may undo what has never happened. It goes on
only from a step that is done, undoes in reverse and one after the other, and from the pivot on undoes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .saga_record import Line, Message, saga_lines
from .start_steps import START_A_RIDE, SagaStep, pivot_of


class Wrong(NamedTuple):
    """The number of the first wrong message, from 1 among commands and replies, and what is wrong with it.

    A command that is owed and never comes has the number after the last, and its name in `missing`.
    """

    number: int
    reason: str
    missing: str = ""

    def __str__(self) -> str:
        return f"{self.number}. {self.reason}"


def first_wrong(
    messages: Iterable[Message], steps: Sequence[SagaStep] = START_A_RIDE, *, over: bool = True
) -> Wrong | None:
    """Return the first message of a saga that is wrong, or None.

    `over` says that nothing more will come, so that what has not been said is missing.

    Raises:
        ValueError: the messages are of more than one ride.
    """
    lines = saga_lines(messages)
    run = SagaRun(steps)
    for line in lines:
        if reason := run.what_is_wrong(line) or run.out_of_order(line, lines[line.number :]):
            return Wrong(line.number, reason)
        run.take(line)
    owed = run.owed() if over else None
    return owed and Wrong(len(lines) + 1, owed[1], owed[0])


class SagaRun:
    """How far a saga has come: which commands were said, under which id, and what was answered."""

    def __init__(self, steps: Sequence[SagaStep]) -> None:
        self.steps = tuple(steps)
        self.pivot = pivot_of(steps)
        self.ids: dict[str, str] = {}  # of every command that was said
        self.outcomes: dict[str, str] = {}
        self._place = {step.action: at for at, step in enumerate(steps)}
        self._undoes = {step.undo: at for at, step in enumerate(steps) if step.undo}

    def take(self, line: Line) -> None:
        """Note a command or a reply; "not now" takes nothing back that is done."""
        if not line.is_reply:
            self.ids.setdefault(line.action, line.id)
        elif self.outcomes.get(line.action) != "done":
            self.outcomes[line.action] = line.outcome

    # --- what holds now ---

    def is_done(self, action: str) -> bool:
        return self.outcomes.get(action) == "done"

    def is_refused(self, step: SagaStep) -> bool:
        """Tell whether a step was refused for good: behind the pivot a refusal means "not now"."""
        return self.outcomes.get(step.action) == "refused" and self._place[step.action] <= self.pivot

    def may_have_happened(self, step: SagaStep) -> bool:
        return step.action in self.ids and not self.is_refused(step)

    def to_be_undone(self) -> list[SagaStep]:
        """Return the steps that have perhaps happened and are not undone, the latest first."""
        return [
            step
            for step in reversed(self.steps[: self.pivot])
            if step.undo and self.may_have_happened(step) and not self.is_done(step.undo)
        ]

    def cannot_go_back(self) -> bool:
        return self.pivot < len(self.steps) and self.may_have_happened(self.steps[self.pivot])

    def has_turned_back(self) -> bool:
        return any(self.is_refused(step) or step.undo in self.ids for step in self.steps)

    def is_at_an_end(self) -> bool:
        """Tell whether all is done, or nothing is left of it."""
        if self.is_done(self.steps[-1].action):
            return True
        return self.has_turned_back() and not self.cannot_go_back() and not self.to_be_undone()

    # --- the rules ---

    def what_is_wrong(self, line: Line) -> str:
        """Return what is wrong with a message, whatever its place among the compensations; "" for nothing."""
        if line.trouble:
            return line.trouble
        if line.action not in self._place and line.action not in self._undoes:
            return f"{line.action} is no step of this saga, and undoes none"
        if line.is_reply:
            return self._wrong_reply(line)
        if line.action in self.ids:
            return "" if line.id == (first := self.ids[line.action]) else _other_id(line, first)
        if line.id in self.ids.values():
            other = next(action for action, known in self.ids.items() if known == line.id)
            return f"{line.action} has the id of {other}, {line.id}: it is taken for a copy, and not done"
        return self._wrong_step(self._place[line.action]) if line.action in self._place else ""

    def _wrong_reply(self, line: Line) -> str:
        if self.ids.get(line.action) != line.id:
            return f"a reply to {line.id or 'no command'}, which nobody has said to {line.participant}"
        before = self.outcomes.get(line.action)
        final = self._place.get(line.action, len(self.steps)) <= self.pivot
        if final and before and before != line.outcome:
            return f"{line.action} was {before}, now it is {line.outcome}: the same command has two answers"
        return ""

    def _wrong_step(self, at: int) -> str:
        action = self.steps[at].action
        for step in self.steps:
            if self.is_refused(step):
                return f"{action} after {step.action} was refused: {step.lacking or 'the saga is refused'}"
        if undone := [step.undo for step in self.steps if step.undo in self.ids]:
            return f"{action} after {undone[0]}: the saga goes on with what it has begun to undo"
        before = self.steps[at - 1] if at else None
        if before is None or self.is_done(before.action):
            return ""
        state = "is done" if before.action in self.ids else "was even said"
        return f"{action} before {before.action} {state}: {before.lacking or 'nobody knows whether it will be'}"

    def out_of_order(self, line: Line, later: Sequence[Line]) -> str:
        """Return why a compensation must not be said now, in view of what is said later; "" for nothing."""
        if line.is_reply or line.action in self.ids or line.action not in self._undoes:
            return ""
        if self.cannot_go_back():
            pivot = self.steps[self.pivot]
            state = "is done:" if self.is_done(pivot.action) else "has perhaps happened, and then"
            return f"{line.action} after the pivot: {pivot.action} {state} {pivot.left or 'nothing undoes it'}"
        behind = [step for step in self.to_be_undone() if self._place[step.action] > self._undoes[line.action]]
        if not behind:
            return ""
        undo, done = behind[0].undo, "is done" if self.is_done(behind[0].action) else "has perhaps happened"
        if undo in self.ids:
            return f"{line.action} before {undo} is done: what is undone is undone in reverse, one after the other"
        if any(other.action == undo for other in later):
            return f"{line.action} before {undo}: what was done last is undone first"
        return f"{line.action} without {undo}: {behind[0].action} {done}, and {behind[0].left or 'is never undone'}"

    def owed(self) -> tuple[str, str] | None:
        """Return the command that a saga without another message owes, and what comes of it; None for nothing."""
        if not self.ids or self.is_at_an_end():
            return None
        if self.cannot_go_back():
            step = next(step for step in self.steps[self.pivot :] if not self.is_done(step.action))
            pivot = self.steps[self.pivot]
            perhaps = "" if self.is_done(pivot.action) else "perhaps "
            return step.action, f"{self._silent(step.action)}: {perhaps}{pivot.left or 'nothing undoes the pivot'}"
        waiting = self.to_be_undone()
        latest = max(self._place[action] for action in self.ids if action in self._place)
        step = self.steps[latest]
        if self.is_done(step.action) and not self.has_turned_back():
            undo = f", nor {step.undo}" if step.undo else ""
            after = self.steps[latest + 1].action
            return after, f"nobody says {after}{undo}: {step.left or 'the saga stands still'}"
        if not waiting:
            return step.action, self._silent(step.action)
        undo, left = waiting[0].undo, waiting[0].left or "it is never undone"
        if undo in self.ids:
            return undo, f"{self._silent(undo)}: {left}"
        state = "is done" if self.is_done(waiting[0].action) else "has perhaps happened"
        return undo, f"nobody says {undo}, and {waiting[0].action} {state}: {left}"

    def _silent(self, action: str) -> str:
        if action not in self.ids:
            return f"nobody says {action}"
        refused = self.outcomes.get(action) == "refused"
        return f"{action} {'is refused for now' if refused else 'has no reply'}, and nobody says it again"


def _other_id(line: Line, first: str) -> str:
    return f"{line.action} again, as {line.id} and not as {first}: {line.participant} does it twice"
