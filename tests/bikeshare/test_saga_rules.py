"""What is wrong with a saga is found at the first message that no right orchestrator says, and said in words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_services.bikeshare.saga_record import saga_lines
from lab_services.bikeshare.saga_rules import Wrong, first_wrong
from lab_services.bikeshare.start_steps import START_A_RIDE, SagaStep
from lab_services.checks.broker_probes import Heard
from tests.bikeshare.saga_talk import WHOLE, right_run, said

HELD, RESERVED, UNLOCKED = WHOLE[:2], WHOLE[:4], WHOLE[:6]


@pytest.mark.parametrize(
    "words",
    [
        (),
        WHOLE,
        ("wallet.hold", "wallet.hold refused: no money"),
        ("wallet.hold", "wallet.release", "wallet.hold refused: released before", "wallet.release done"),
        (*HELD, "stations.reserve", "stations.reserve refused", "wallet.release", "wallet.release done"),
        (*HELD, "stations.reserve", "stations.cancel", "stations.reserve done", "stations.cancel done",
         "wallet.release", "wallet.release refused: not now", "wallet.release", "wallet.release done"),
        (*HELD, "stations.reserve", "stations.reserve refused", "stations.cancel", "stations.cancel done",
         "wallet.release", "wallet.release done"),
        (*RESERVED, "locks.unlock", "locks.unlock", "locks.unlock refused: jammed", "stations.cancel",
         "stations.cancel done", "wallet.release", "wallet.release done"),
        (*UNLOCKED, "rides.start", "rides.start refused: not now", "rides.start", "rides.start done"),
        ("wallet.hold", *WHOLE, "rides.start done", "wallet.hold done"),
        (*HELD, "wallet.release", "wallet.release", "wallet.release done", "wallet.release refused: not now"),
    ],
)  # fmt: skip
def test_a_right_run_has_nothing_wrong(words: tuple[str, ...]) -> None:
    """Repeats with the same id, late replies, "not now", and undoing what has never happened are all right."""
    assert first_wrong(said(*words)) is None


WRONG_ONES = {
    "a step without its predecessor": ((*HELD, "locks.unlock"), 3, "locks.unlock before stations.reserve was even"),
    "a step before the reply": (("wallet.hold", "stations.reserve"), 2, "before wallet.hold is done: a bike goes to a"),
    "the first step left out": (("stations.reserve",), 1, "stations.reserve before wallet.hold was even said"),
    "a step after a refusal": (
        (*HELD, "stations.reserve", "stations.reserve refused", "locks.unlock"),
        5,
        "locks.unlock after stations.reserve was refused: a bolt opens for a bike",
    ),
    "a refused pivot overrun": (
        (*RESERVED, "locks.unlock", "locks.unlock refused", "rides.start"),
        7,
        "rides.start after locks.unlock was refused: a ride runs, and is paid for",
    ),
    "forward again": (
        ("wallet.hold", "wallet.release", "wallet.hold done", "stations.reserve"),
        4,
        "stations.reserve after wallet.release: the saga goes on with what it has begun to undo",
    ),
    "undone forwards": (
        (*RESERVED, "locks.unlock", "locks.unlock refused", "wallet.release", "wallet.release done", "stations.cancel"),
        7,
        "wallet.release before stations.cancel: what was done last is undone first",
    ),
    "one compensation forgotten": (
        (*RESERVED, "locks.unlock", "locks.unlock refused", "wallet.release", "wallet.release done"),
        7,
        "wallet.release without stations.cancel: stations.reserve is done, and the bike stays reserved",
    ),
    "a silent step not undone": (
        (*HELD, "stations.reserve", "wallet.release", "stations.reserve refused"),
        4,
        "wallet.release without stations.cancel: stations.reserve has perhaps happened",
    ),
    "the next one before the reply": (
        (*RESERVED, "stations.cancel", "wallet.release", "stations.cancel done"),
        6,
        "wallet.release before stations.cancel is done",
    ),
    "undone behind the pivot": (
        (*UNLOCKED, "stations.cancel"),
        7,
        "stations.cancel after the pivot: locks.unlock is done: the bolt is open",
    ),
    "undone though perhaps behind the pivot": (
        (*RESERVED, "locks.unlock", "wallet.release"),
        6,
        "after the pivot: locks.unlock has perhaps happened, and then the bolt is open",
    ),
    "undone after all": ((*WHOLE, "wallet.release"), 9, "wallet.release after the pivot"),
    "another id": (
        ("wallet.hold", "wallet.hold #r1.wallet.hold.2"),
        2,
        "wallet.hold again, as r1.wallet.hold.2 and not as r1.wallet.hold: wallet does it twice",
    ),
    "another id of a compensation": (
        (*HELD, "wallet.release", "wallet.release #7"),
        4,
        "wallet.release again, as 7 and not as r1.wallet.release",
    ),
    "one id for two": (
        ("wallet.hold #r1", "wallet.release #r1"),
        2,
        "wallet.release has the id of wallet.hold, r1: it is taken for a copy, and not done",
    ),
    "a foreign command": ((*HELD, "wallet.charge"), 3, "wallet.charge is no step of this saga, and undoes none"),
    "a reply to nobody": (("wallet.hold done",), 1, "a reply to r1.wallet.hold, which nobody has said to wallet"),
    "a reply to another id": (("wallet.hold #7", "wallet.hold done"), 2, "a reply to r1.wallet.hold, which nobody"),
    "two answers": (
        (*HELD, "wallet.hold", "wallet.hold refused"),
        4,
        "wallet.hold was done, now it is refused: the same command has two answers",
    ),
    "neither done nor refused": (("wallet.hold", "wallet.hold maybe"), 2, "wallet.hold.maybe tells neither"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_ONES)
def test_the_first_wrong_message_is_found(name: str) -> None:
    """Its number and the reason are those of the first mistake, also when the saga is not over."""
    words, number, reason = WRONG_ONES[name]
    found = first_wrong(said(*words))
    assert found and found.number == number and reason in found.reason and not found.missing
    assert first_wrong(said(*words), over=False) == found
    assert str(found) == f"{number}. {found.reason}"


OWED = {
    "after a hold": (HELD, "stations.reserve", "nobody says stations.reserve, nor wallet.release: the rider's money"),
    "a silent hold": (("wallet.hold",), "wallet.release", "nobody says wallet.release, and wallet.hold has perhaps"),
    "a refused reservation": (
        (*HELD, "stations.reserve", "stations.reserve refused"),
        "wallet.release",
        "nobody says wallet.release, and wallet.hold is done: the rider's money stays on hold",
    ),
    "only the last step undone": (
        (*RESERVED, "locks.unlock", "locks.unlock refused", "stations.cancel", "stations.cancel done"),
        "wallet.release",
        "nobody says wallet.release, and wallet.hold is done",
    ),
    "a compensation that failed once": (
        (*HELD, "wallet.release", "wallet.release refused: not now"),
        "wallet.release",
        "wallet.release is refused for now, and nobody says it again: the rider's money stays on hold",
    ),
    "a silent compensation": (
        (*RESERVED, "stations.cancel"),
        "stations.cancel",
        "stations.cancel has no reply, and nobody says it again: the bike stays reserved",
    ),
    "a silent pivot": (
        (*RESERVED, "locks.unlock"),
        "locks.unlock",
        "locks.unlock has no reply, and nobody says it again: perhaps the bolt is open, and no command shuts it",
    ),
    "behind the pivot": (UNLOCKED, "rides.start", "nobody says rides.start: the bolt is open, and no command shuts it"),
    "a silent end": (
        (*UNLOCKED, "rides.start"),
        "rides.start",
        "rides.start has no reply, and nobody says it again: the bolt is",
    ),
    "a refused end": (
        (*UNLOCKED, "rides.start", "rides.start refused: not now"),
        "rides.start",
        "rides.start is refused for now, and nobody says it again",
    ),
}


@pytest.mark.parametrize("name", OWED)
def test_a_saga_that_is_over_owes_a_command(name: str) -> None:
    """What should have come has the number after the last, and only when nothing more will come."""
    words, missing, reason = OWED[name]
    found = first_wrong(said(*words))
    assert found and (found.number, found.missing) == (len(words) + 1, missing) and reason in found.reason
    assert first_wrong(said(*words), over=False) is None


@settings(deadline=None)  # a busy machine is no mistake
@given(st.data())
def test_no_right_orchestrator_is_ever_blamed(data: st.DataObject) -> None:
    """Whatever its participants do, with copies and late replies, a right run has nothing wrong and owes nothing."""
    words, _ = right_run(lambda choices: data.draw(st.sampled_from(choices)))
    assert first_wrong(said(*words)) is None, words


@settings(deadline=None)  # a busy machine is no mistake
@given(st.data())
def test_a_right_run_that_breaks_off_owes_something(data: st.DataObject) -> None:
    """Cut off anywhere before its last reply, it has a missing command, and none that is wrong."""
    words, _ = right_run(lambda choices: data.draw(st.sampled_from(choices)), untidy=False)
    kept = data.draw(st.integers(1, len(words) - 1))
    found = first_wrong(said(*words[:kept]))
    assert found and found.missing and found.number == kept + 1, words[:kept]


@settings(deadline=None)  # a busy machine is no mistake
@given(st.data())
def test_what_comes_later_does_not_excuse_a_mistake(data: st.DataObject) -> None:
    """In a shuffled run the first wrong number stays the same when the messages behind it are cut off."""
    words, _ = right_run(lambda choices: data.draw(st.sampled_from(choices)))
    shuffled = data.draw(st.permutations(words))
    found = first_wrong(said(*shuffled), over=False)
    for kept in range(len(shuffled) + 1):
        cut = first_wrong(said(*shuffled[:kept]), over=False)
        assert (cut and cut.number) == (found.number if found and found.number <= kept else None)


@settings(deadline=None)  # a busy machine is no mistake
@given(st.data())
def test_two_commands_changed_over_are_found(data: st.DataObject) -> None:
    """A right run in which two different commands, each with its replies, have changed places is wrong."""
    words, _ = right_run(lambda choices: data.draw(st.sampled_from(choices)), untidy=False)
    actions = list(dict.fromkeys(word.split(" ")[0] for word in words))
    if len(actions) < 2:
        return
    at = data.draw(st.integers(0, len(actions) - 2))
    actions[at : at + 2] = reversed(actions[at : at + 2])
    moved = [word for action in actions for word in words if word.split(" ")[0] == action]
    found = first_wrong(said(*moved), over=False)
    assert found and moved[found.number - 1].split(" ")[0] in actions[at : at + 2], moved


CONTENTS = {
    "empty": (b"", "nobody can read it (content: "),
    "not JSON": (b"hold it", "nobody can read it (content: "),
    "no event": (b"[1]", "nobody can read it (content: "),
    "no id": (b'{"type": "wallet.hold", "data": {}}', "nobody can read it (id: Field required)"),
    "another type": (
        b'{"id": "1", "type": "wallet.release", "data": {}}',
        "its subject says wallet.hold, its type wal",
    ),
    "a number for an id": (b'{"id": 1, "type": "wallet.hold", "data": {}}', "nobody can read it (id: "),
    "deep": (b"[" * 100_000, "nobody can read it (content: "),
    "not UTF-8": (b"\xff\xfe", "nobody can read it (content: "),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_nobody_can_read_is_wrong(name: str) -> None:
    """A command whose content is no event of its subject is wrong; it raises nothing."""
    content, reason = CONTENTS[name]
    found = first_wrong([Heard("command.wallet.hold.r1", content)])
    assert found and found.number == 1 and reason in found.reason


@pytest.mark.parametrize("content", [b"", b"[]", b'{"id": "1", "type": "done", "data": {}}'])
def test_a_reply_that_nobody_can_read_is_wrong(content: bytes) -> None:
    """An empty reply, one that is no event, and one whose type names no action are each wrong."""
    found = first_wrong([*said("wallet.hold"), Heard("reply.wallet.hold.r1", content)])
    assert found and found.number == 2


def test_an_envelope_of_cloudevents_is_read_as_well() -> None:
    """What a CloudEvent says besides id, type and data is left alone."""
    event = {"specversion": "1.0", "source": "/starts", "id": "r1.wallet.hold", "type": "wallet.hold", "data": {}}
    messages = [Heard("command.wallet.hold.r1", json.dumps(event).encode()), *said("wallet.hold done")]
    assert first_wrong(messages, over=False) is None


def test_other_subjects_are_not_counted() -> None:
    """Facts and dead letters between the commands and replies have no number and are not judged."""
    facts = [Heard("ride.started.r1", b"{}"), Heard("dead.wallet", b"x"), Heard("command", b"")]
    hold, done, unlock = said("wallet.hold", "wallet.hold done", "locks.unlock")
    found = first_wrong([*facts, hold, *facts, done, unlock])
    assert found and found.number == 3
    assert [line.number for line in saga_lines([*facts, hold, *facts])] == [1]


def test_messages_of_two_rides_are_refused() -> None:
    """A saga is of one ride; both are named."""
    with pytest.raises(ValueError, match="2 rides, and a saga is of one: r1, r2"):
        first_wrong([*said("wallet.hold"), *said("wallet.hold", ride="r2")])


def test_a_saga_of_another_city_is_judged_by_its_own_steps() -> None:
    """Steps without a pivot, without a compensation and without words of their own are judged by the same rules."""
    steps = (SagaStep("a.do", "doing", "a.undo", "undoing"), SagaStep("b.look", "looking"), SagaStep("c.do", "ending"))
    assert first_wrong(said("a.do", "b.look"), steps) == Wrong(
        2, "b.look before a.do is done: nobody knows whether it will be"
    )
    done = ("a.do", "a.do done", "b.look", "b.look done")
    assert first_wrong(said(*done), steps) == Wrong(5, "nobody says c.do: the saga stands still", "c.do")
    assert first_wrong(said(*done, "c.do", "c.do refused", "a.undo", "a.undo done"), steps) is None
    assert first_wrong(said("b.look"), steps[1:]) == Wrong(2, "b.look has no reply, and nobody says it again", "b.look")
    assert first_wrong(said("a.do", "a.do done"), steps[:1]) is None


def test_the_words_of_every_step_end_a_sentence() -> None:
    """Each step of the city says what stays of it, and what comes of going on without it."""
    for step in START_A_RIDE:
        assert step.left and step.lacking and step.left[0].islower() and not step.left.endswith(".")
