"""The saga as data: where each answer leads, and that every way ends."""

from __future__ import annotations

import pytest

from lab_services.bikeshare.saga_steps import ENDS, FIRST, STEPS, after_reply, after_silence, command_id

ORDER = ["wallet.hold", "stations.reserve", "locks.unlock", "rides.start"]


def way(*outcomes: str | None) -> list[str]:
    """Return the states of a saga whose commands come out so; None is silence."""
    state, states = FIRST, [FIRST]
    for outcome in outcomes:
        following = after_reply(state, "r", command_id("r", state), outcome) if outcome else after_silence(state)
        state = following or state
        states.append(state)
    return states


def actions(states: list[str]) -> list[str]:
    return [STEPS[state].action for state in states if state not in ENDS]


def test_all_done_is_a_started_ride() -> None:
    """Four commands in their order, then the end."""
    states = way("done", "done", "done", "done")
    assert actions(states) == ORDER and states[-1] == "started"


@pytest.mark.parametrize(
    ("outcomes", "back"),
    [
        (["refused"], []),
        ([None, "done"], ["wallet.release"]),
        (["done", "refused", "done"], ["wallet.release"]),
        (["done", None, "done", "done"], ["stations.cancel", "wallet.release"]),
        (["done", "done", "refused", "done", "done"], ["stations.cancel", "wallet.release"]),
    ],
)
def test_what_was_done_is_undone_in_reverse(outcomes: list[str | None], back: list[str]) -> None:
    """A refusal undoes the steps before it; silence undoes its own step too, which may have been done."""
    states = way(*outcomes)
    asked = actions(states)
    assert states[-1] == "refused" and asked[len(asked) - len(back) :] == back
    assert [each for each in asked if each not in back] == ORDER[: len(asked) - len(back)]


def test_from_the_pivot_on_there_is_no_way_back() -> None:
    """Silence at the lock or behind it, and at a compensation, is asked again; a refusal there changes nothing."""
    assert [state for state in STEPS if after_silence(state) is None] == [
        "unlocking", "starting", "cancelling", "releasing"]  # fmt: skip
    must = ("starting", "cancelling", "releasing")
    assert all(after_reply(state, "r", command_id("r", state), "refused") is None for state in must)


def test_a_reply_to_another_question_changes_nothing() -> None:
    """A late, repeated or foreign reply is for no state but its own, and none moves a saga that has ended."""
    for state in (*STEPS, *ENDS):
        for other in STEPS:
            ours = state == other
            assert (after_reply(state, "r", command_id("r", other), "done") is not None) == ours
            assert after_reply(state, "r", command_id("x", other), "done") is None
