"""A saga is drawn from its messages: the states it was in, what was known of each, and its first wrong message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_services.bikeshare.saga_record import saga_lines
from lab_services.broker import saga_sequence, saga_states
from lab_services.broker.saga_pictures import states_of
from lab_services.checks.broker_probes import Heard
from tests.bikeshare.saga_talk import WHOLE, right_run, said

RESERVED, RELEASED = WHOLE[:4], ("wallet.release", "wallet.release done")


@pytest.mark.parametrize(
    ("words", "states", "reasons"),
    [
        ((), "", ""),
        (("wallet.hold",), "holding", ""),
        (WHOLE, "holding reserving unlocking starting started", "done done done done"),
        (("wallet.hold", "wallet.hold refused"), "holding refused", "refused"),
        (("wallet.hold", "wallet.release", "wallet.release done"), "holding releasing refused", "silence done"),
        (
            (*RESERVED, "locks.unlock", "locks.unlock", "locks.unlock refused", "stations.cancel"),
            "holding reserving unlocking unlocking cancelling",
            "done done silence refused",
        ),
        (
            (*RESERVED, "locks.unlock", "stations.cancel", "stations.cancel done", *RELEASED),
            "holding reserving unlocking cancelling releasing refused",
            "done done silence done done",
        ),
        ((*RESERVED, "wallet.hold", "locks.unlock"), "holding reserving unlocking", "done done"),
        (("wallet.hold", "wallet.charge"), "holding wallet.charge", "silence"),
    ],
)  # fmt: skip
def test_the_states_follow_from_the_messages(words: tuple[str, ...], states: str, reasons: str) -> None:
    """Each command enters its state, again when it is said again; a late copy leads nowhere; an end is seen."""
    assert states_of(saga_lines(said(*words))) == (states.split(), reasons.split())


@settings(deadline=None)  # a busy machine is no mistake
@given(st.data())
def test_the_states_are_those_of_the_orchestrator(data: st.DataObject) -> None:
    """Whatever the participants do, the states read from the messages are those that it went through."""
    words, states = right_run(lambda choices: data.draw(st.sampled_from(choices)), untidy=False)
    found, reasons = states_of(saga_lines(said(*words)))
    assert found == states and len(reasons) == len(states) - 1
    assert "not a planned way" not in str(saga_states(said(*words)))


def test_a_failed_run_is_drawn_with_its_first_wrong_message() -> None:
    """Commands come from the orchestrator, replies from the participants with their reason; the mistake is marked."""
    refused = ("locks.unlock", "locks.unlock", "locks.unlock refused: the bolt is jammed")
    view = saga_sequence(said(*RESERVED, *refused, "wallet.release", "wallet.release done", "stations.cancel"))
    assert str(view).split("\n") == [
        "Start of ride r1: 10 messages, number 8 is wrong",
        "  1. starts -> wallet: wallet.hold",
        "  2. wallet -> starts: wallet.hold done",
        "  3. starts -> stations: stations.reserve",
        "  4. stations -> starts: stations.reserve done",
        "  5. starts -> locks: locks.unlock",
        "  6. starts -> locks: locks.unlock, again",
        "  7. locks -> starts: locks.unlock refused: the bolt is jammed",
        "  8. starts -> wallet: wallet.release  <- WRONG",
        "     wallet.release before stations.cancel: what was done last is undone first",
        "  9. wallet -> starts: wallet.release done",
        "  10. starts -> stations: stations.cancel",
    ]


def test_what_is_owed_is_drawn_as_missing_only_when_the_run_is_over() -> None:
    """The command that should have come stands behind the last message, from the orchestrator to who waits for it."""
    kept = said("wallet.hold", "wallet.hold done", "stations.reserve", "stations.reserve refused: no bike")
    assert str(saga_sequence(kept)).split("\n")[-2:] == [
        "  5. starts -> wallet: wallet.release (never said)  <- MISSING",
        "     nobody says wallet.release, and wallet.hold is done: the rider's money stays on hold",
    ]
    assert str(saga_sequence(kept, over=False)).startswith("Start of ride r1: 4 messages, none of them wrong\n")
    assert "starts -> wallet" not in str(saga_sequence(kept, over=False)).split("\n")[-1]


def test_a_ride_is_named_by_its_id() -> None:
    """The title undoes what made the id a part of a subject; nothing recorded is no error."""
    assert str(saga_states(said("wallet.hold", ride="a.b"))).startswith("Start of ride a.b: stopped in holding\n")
    assert str(saga_sequence([])) == "Start of a ride: 0 messages, none of them wrong"
    assert str(saga_states([])).startswith("Start of a ride: not begun\n")


def test_what_cannot_be_read_is_drawn_all_the_same() -> None:
    """An unreadable reply is an arrow, and the mistake."""
    view = saga_sequence([*said("wallet.hold"), Heard("reply.wallet.hold.r1", b"\x00")])
    assert "  2. wallet -> starts: wallet.hold unreadable  <- WRONG\n     nobody can read it (content: " in str(view)
