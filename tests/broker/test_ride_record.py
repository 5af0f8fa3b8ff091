"""Two streams of a real broker are read back as one conversation, in the order in which it was said."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab_services.broker import recorded, saga_sequence
from lab_services.broker.ride_record import Kept, in_order
from lab_services.checks.broker_probes import Heard, Spy, spying
from lab_services.errors import UnknownName
from tests.bikeshare.saga_talk import WHOLE, said
from tests.runtime.conftest import Maker, make_town, service

__all__ = ["make_town"]

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(microseconds: int, word: str) -> Kept:
    """Return a message as a stream keeps it."""
    [message] = said(word)
    return Kept(message, NOON + timedelta(microseconds=microseconds))


def is_reply(message: Heard) -> bool:
    """Tell a reply from a command."""
    return message.subject.startswith("reply.")


def order(*kept: tuple[int, str]) -> list[int]:
    """Return the places (from 1) in which these messages, given as they were said, are put in order."""
    messages = [at(*one) for one in kept]
    halves = [[one for one in messages if is_reply(one.heard) == replies] for replies in (False, True)]
    return [next(n for n, known in enumerate(messages, 1) if known is one) for one in in_order(*halves)]


def test_commands_and_replies_are_merged_by_time() -> None:
    """Each stands where the broker's clock has it."""
    assert order((1, "wallet.hold"), (2, "wallet.hold done"), (3, "stations.reserve")) == [1, 2, 3]
    assert order((1, "wallet.hold"), (2, "wallet.release"), (3, "wallet.hold done")) == [1, 2, 3]


def test_at_the_same_time_cause_comes_before_consequence() -> None:
    """Of equal times the reply stands behind its own command and before the next one."""
    assert order(*[(7, word) for word in WHOLE]) == list(range(1, 9))


def test_no_reply_stands_before_its_command() -> None:
    """A clock that was set back does not turn question and answer round; the first saying of it is enough."""
    assert order((9, "wallet.hold"), (5, "wallet.hold done"), (10, "stations.reserve")) == [1, 2, 3]
    assert order((1, "wallet.hold"), (2, "wallet.hold done"), (3, "wallet.hold")) == [1, 2, 3]
    assert order((1, "wallet.hold done"), (3, "wallet.release")) == [1, 2]  # its command is not kept


WORDS = st.sampled_from([*WHOLE, "wallet.release", "wallet.release done", "locks.unlock refused"])


@settings(deadline=None)  # a busy machine is no mistake
@given(st.lists(st.tuples(st.integers(0, 3), WORDS), max_size=20))
def test_a_merge_loses_nothing_and_keeps_each_stream(kept: list[tuple[int, str]]) -> None:
    """Whatever the clocks say, every message is there once, each stream in its order, no reply before its command."""
    messages = [at(*one) for one in kept]
    halves = [[one for one in messages if is_reply(one.heard) == replies] for replies in (False, True)]
    merged = in_order(*halves)
    for replies, half in zip((False, True), halves, strict=True):
        assert [id(one) for one in merged if is_reply(one.heard) == replies] == [id(one) for one in half]
    assert Counter(map(id, merged)) == Counter(map(id, messages))
    subjects = [one.heard.subject for one in merged]
    for place, subject in enumerate(subjects):
        command = subject.replace("reply.", "command.")
        assert command not in subjects or subjects.index(command) <= place


def make_streams(spy: Spy) -> None:
    """Make the two streams, as the services of the saga do."""
    spy.jetstream("add_stream", name="COMMANDS", subjects=["command.*.*.*"])
    spy.jetstream("add_stream", name="REPLIES", subjects=["reply.*.*.*"])


def keep(spy: Spy, *messages: Heard) -> None:
    """Have each message kept before the next is said."""
    for message in messages:
        spy.keep(message.subject, message.data)


def test_one_ride_is_read_out_of_many(make_town: Maker) -> None:
    """From a lab or an address: all messages of the ride, whole, in their order, and none of another ride."""
    lab = make_town(service("broker", kind="server", target="nats"))
    lab.start()
    url = lab["broker"].url
    assert recorded(url, "r.1") == []  # before there is a stream
    ours, others = said(*WHOLE, ride="r.1"), said(*WHOLE, ride="r")
    with spying(url) as spy:
        make_streams(spy)
        assert recorded(url, "r.1") == []  # before there is a message
        for mine, other in zip(ours, others, strict=True):
            keep(spy, other, mine)
        spy.jetstream("delete_msg", "COMMANDS", 1)  # a gap in the numbers ends nothing
    for found in (recorded(url, "r.1"), recorded(lab, "r.1")):
        assert [(one.subject, one.data) for one in found] == [(one.subject, one.data) for one in ours]
        assert [one.sequence for one in found] == [2, 2, 4, 4, 6, 6, 8, 8]
    assert str(saga_sequence(recorded(lab, "r.1"))).startswith("Start of ride r.1: 8 messages, none of them wrong\n")
    assert len(recorded(lab, "r")) == 7


@pytest.mark.parametrize("ride_id", ["*", ">", "", "r 1", "r1\n", "x" * 65])
def test_what_is_no_id_of_a_ride_is_refused(ride_id: str) -> None:
    """A wildcard would read all rides, and what no subject can hold reads none: both are said at once."""
    with pytest.raises(UnknownName, match="is no id of a ride"):
        recorded("nats://127.0.0.1:1", ride_id)


def test_a_saga_that_says_the_same_for_ever_is_read_to_a_limit(
    make_town: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more commands are read than the limit, and the empty and the unreadable are among them."""
    monkeypatch.setattr("lab_services.broker.ride_record.MOST_MESSAGES", 5)
    lab = make_town(service("broker", kind="server", target="nats"))
    lab.start()
    [hold] = said("wallet.hold")
    with spying(lab["broker"].url) as spy:
        make_streams(spy)
        keep(spy, Heard(hold.subject, b""), Heard("reply.wallet.hold.r1", b"\xff"), *[hold] * 7)
    found = recorded(lab, "r1")
    assert len(found) == 6 and found[0].data == b"" and found[1].data == b"\xff"
