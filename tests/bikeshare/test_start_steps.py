"""The ways of a saga follow from its steps."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from lab_services.bikeshare.saga_steps import ENDS, STEPS
from lab_services.bikeshare.start_steps import START_A_RIDE, SagaStep, pivot_of, ways
from tests.bikeshare.saga_talk import right_run


def test_the_ways_of_a_start() -> None:
    """Forward when done, back from a refusal to the step before, back from silence by the step's own compensation."""
    assert ways(START_A_RIDE, "started", "refused") == {
        ("holding", "reserving"): "done",
        ("holding", "refused"): "refused",
        ("holding", "releasing"): "silence or overdue",
        ("releasing", "refused"): "done",
        ("reserving", "unlocking"): "done",
        ("reserving", "releasing"): "refused",
        ("reserving", "cancelling"): "silence or overdue",
        ("cancelling", "releasing"): "done",
        ("unlocking", "starting"): "done",
        ("unlocking", "cancelling"): "refused",
        ("starting", "started"): "done",
    }


def test_the_service_goes_these_ways() -> None:
    """The steps of the pictures and those of the service say the same, each in its own form."""
    found = {}
    for state, step in STEPS.items():
        found[state, step.done] = "done"
        found |= {(state, step.refused): "refused"} if step.refused else {}
        found |= {(state, step.silent): "silence or overdue"} if step.silent else {}
    assert ways(START_A_RIDE, *ENDS) == found
    assert {step.action: step.state for step in START_A_RIDE}.items() <= {s.action: n for n, s in STEPS.items()}.items()


@settings(deadline=None)  # a busy machine is no mistake
@given(st.data())
def test_a_right_run_takes_only_these_ways(data: st.DataObject) -> None:
    """Each move of a right orchestrator is one of them, or the same command again."""
    _, states = right_run(lambda choices: data.draw(st.sampled_from(choices)))
    known = ways(START_A_RIDE, "started", "refused")
    assert all(pair in known or pair[0] == pair[1] for pair in pairwise(states))


def test_without_a_pivot_every_step_can_fail() -> None:
    """A step that nothing undoes goes back past itself, from a refusal and from silence alike."""
    steps = (SagaStep("a.do", "doing", "a.undo", "undoing"), SagaStep("b.look", "looking"))
    assert pivot_of(steps) == 2
    assert ways(steps, "well", "off") == {
        ("doing", "looking"): "done",
        ("doing", "off"): "refused",
        ("doing", "undoing"): "silence or overdue",
        ("undoing", "off"): "done",
        ("looking", "well"): "done",
        ("looking", "undoing"): "refused, silence or overdue",
    }
