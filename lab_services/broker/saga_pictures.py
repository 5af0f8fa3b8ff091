"""Draw one saga from its messages: the states that it went through, and the sequence with its first wrong message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab_services.bikeshare.saga_record import Line, Message, saga_lines
from lab_services.bikeshare.saga_rules import SagaRun, first_wrong
from lab_services.bikeshare.start_steps import START_A_RIDE, SagaStep
from lab_services.views import SagaMessage, SagaSequence, SagaView

ORCHESTRATOR = "starts"
DONE, UNDONE = "started", "refused"  # the two ends of a start


def saga_states(messages: Iterable[Message], steps: Sequence[SagaStep] = START_A_RIDE) -> SagaView:
    """Return the way of one ride's saga through its states.

    Raises:
        ValueError: the messages are of more than one ride.
    """
    lines = saga_lines(messages)
    states, reasons = states_of(lines, steps)
    return SagaView(_title(lines), states, reasons, steps, DONE, UNDONE)


def states_of(lines: Iterable[Line], steps: Sequence[SagaStep] = START_A_RIDE) -> tuple[list[str], list[str]]:
    """Return the states of a saga as its commands tell, and what was known of each command when the next was said.

    A command said again repeats its state. What was known is "done", "refused" or "silence".
    """
    names = {step.action: step.state for step in steps} | {step.undo: step.undo_state for step in steps if step.undo}
    run, said, reasons = SagaRun(steps), list[str](), list[str]()
    for line in lines:
        if not line.is_reply and (line.action not in run.ids or line.action == said[-1]):  # a late copy leads nowhere
            reasons += [run.outcomes.get(last, "silence") for last in said[-1:]]
            said.append(line.action)
        run.take(line)
    states = [names.get(action, action) for action in said]
    if end := _end(run, said):
        return [*states, end], [*reasons, run.outcomes.get(said[-1], "silence")]
    return states, reasons


def _end(run: SagaRun, said: Sequence[str]) -> str:
    """Return the end that a saga has come to, in its own eyes; "" for none."""
    if not said:
        return ""
    if run.is_done(run.steps[-1].action):
        return DONE
    undos = [step.undo for step in run.steps if step.undo]
    is_back = undos and undos[0] in said and all(run.is_done(undo) for undo in undos if undo in said)
    return UNDONE if is_back or run.is_at_an_end() else ""


def saga_sequence(
    messages: Iterable[Message], steps: Sequence[SagaStep] = START_A_RIDE, *, over: bool = True
) -> SagaSequence:
    """Return the commands and replies of one ride's saga, the first wrong one marked.

    `over` says that nothing more will come, so that a command which has not been said is missing.

    Raises:
        ValueError: the messages are of more than one ride.
    """
    kept = tuple(messages)
    lines, wrong = saga_lines(kept), first_wrong(kept, steps, over=over)
    said: set[tuple[str, str, str]] = set()
    arrows = []
    for line in lines:
        same = (line.action, line.id, line.outcome)
        arrows.append(_arrow(line, again=same in said))
        said.add(same)
    if wrong and wrong.missing:
        arrows.append(SagaMessage(ORCHESTRATOR, wrong.missing.partition(".")[0], wrong.missing, missing=True))
    people = (ORCHESTRATOR, *dict.fromkeys(step.action.partition(".")[0] for step in steps))
    if wrong is None:
        return SagaSequence(_title(lines), arrows, people=people)
    return SagaSequence(_title(lines), arrows, wrong.number, wrong.reason, people)


def _arrow(line: Line, *, again: bool) -> SagaMessage:
    more = ", again" if again else ""
    if not line.is_reply:
        return SagaMessage(ORCHESTRATOR, line.participant, line.action + more)
    reason = f": {line.reason}" if line.reason else ""
    return SagaMessage(line.participant, ORCHESTRATOR, f"{line.action} {line.outcome}{more}{reason}", is_reply=True)


def _title(lines: Sequence[Line]) -> str:
    return f"Start of ride {lines[0].ride.replace('%2E', '.')}" if lines else "Start of a ride"
