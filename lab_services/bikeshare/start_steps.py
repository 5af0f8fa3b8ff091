"""The saga "start a ride": its steps, what undoes each of them, and what the city has of it when one is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class SagaStep(NamedTuple):
    """One step: the command that does it and the one that undoes it, each with the state that waits for its reply.

    Behind the pivot nothing is undone. `left` is what stays when the step is not undone, `lacking` what comes of
    going on without it; both are parts of a sentence.
    """

    action: str
    state: str
    undo: str = ""
    undo_state: str = ""
    pivot: bool = False
    left: str = ""
    lacking: str = ""


START_A_RIDE = (
    SagaStep(
        "wallet.hold",
        "holding",
        "wallet.release",
        "releasing",
        left="the rider's money stays on hold",
        lacking="a bike goes to a rider who perhaps cannot pay",
    ),
    SagaStep(
        "stations.reserve",
        "reserving",
        "stations.cancel",
        "cancelling",
        left="the bike stays reserved for a ride that never starts",
        lacking="a bolt opens for a bike that is perhaps another rider's",
    ),
    SagaStep(
        "locks.unlock",
        "unlocking",
        pivot=True,
        left="the bolt is open, and no command shuts it",
        lacking="a ride runs, and is paid for, in front of a shut bolt",
    ),
    SagaStep(
        "rides.start",
        "starting",
        left="a ride runs",
        lacking="a bike is out of its dock, and nobody pays for the ride",
    ),
)


def pivot_of(steps: Sequence[SagaStep]) -> int:
    """Return which step (from 0) is the pivot; one past the last where none is."""
    return next((at for at, step in enumerate(steps) if step.pivot), len(steps))


def ways(steps: Sequence[SagaStep], done: str, undone: str) -> dict[tuple[str, str], str]:
    """Return what leads from one state to another, for every way of a saga: "done", "refused", "silence or overdue".

    Saying a command again is no way: the saga stays in its state.
    """
    found: dict[tuple[str, str], str] = {}
    pivot = pivot_of(steps)
    back = undone  # where a refusal leads: to undoing the nearest step before that can be undone
    for at, step in enumerate(steps):
        found[step.state, steps[at + 1].state if at + 1 < len(steps) else done] = "done"
        if at <= pivot:
            found[step.state, back] = "refused" if at == pivot or step.undo else "refused, silence or overdue"
        if at < pivot and step.undo:
            found[step.state, step.undo_state] = "silence or overdue"
            found[step.undo_state, back] = "done"
            back = step.undo_state
    return found
