"""Checks of task 4.5: tracks answers what the broker has said of a night, and the stream holds each event once."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from lab_services.checks import Heard, Spy, eventually, expect

PUBLISH, STREAM = "publish.py: publish_all", "tracks_stream.py: STREAM"
MOST_TRIES, MOST_IN_FLIGHT, MOST_EVENTS = 3, 16, 500  # as in publish.py and lab.toml
PAUSE_SECONDS, TOTAL_SECONDS = 0.05, 1.0  # of the shape hasty_publishing
WINDOW_SECONDS, MOST_BYTES = 24 * 60 * 60, 64 * 1024
WEB_SECONDS, SOON_SECONDS, FIRST_SECONDS, QUIET_SECONDS = 5.0, 3.0, 1.0, 0.25
WAY_SECONDS = 0.01  # to the broker and back, each, where a night has to last
SUBJECT, PATH = "track.2026-03-29", "/nights/2026-03-29"
ACK, AGAIN = b'{"stream": "TRACKS", "seq": 1}', b'{"stream": "TRACKS", "seq": 1, "duplicate": true}'
NOBODY = b""  # what the broker itself sends, with the status 503, when nobody listens
FULL, TOO_LARGE = "maximum messages exceeded", "message size exceeds maximum allowed"
web = httpx.Client(timeout=WEB_SECONDS, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
senders = ThreadPoolExecutor(4)


@dataclass(frozen=True)
class Told:
    """What tracks has answered: the refused lines with their reasons, the unknown ones. Status 0: no answer."""

    status: int
    kept: int = -1
    refused: Mapping[int, str] | None = None
    unknown: Sequence[int] = ()
    text: str = ""

    def __repr__(self) -> str:
        if self.kept < 0:
            return f"{self.status or 'no answer'} {self.text[:200]}"
        parts = [f"{self.kept} kept", _shown("refused", self.refused or {}), _shown("unknown", self.unknown)]
        return f"{self.status}: {'; '.join(parts)}"

    def is_all_of(self, lines: Sequence[bytes]) -> bool:
        """Tell whether every line was kept."""
        return (self.status, self.kept, not self.refused, not self.unknown) == (200, len(lines), True, True)


def _shown(word: str, lines: Any) -> str:
    first = [f"{line} ({lines[line]})" if isinstance(lines, Mapping) else str(line) for line in list(lines)[:4]]
    return f"{len(lines)} {word}{': lines ' if first else ''}{', '.join(first)}{' ...' if len(lines) > 4 else ''}"


def recorded(event_id: str, bike: str = "b-1", size: int = 0, **changes: Any) -> bytes:
    """Return a line of a night."""
    event = {"id": event_id, "type": "bike.tracked", "version": 1, "time": "2026-03-29T23:59:00Z"}
    return json.dumps({**event, "data": {"bike": bike, "note": "x" * size}, **changes}).encode()


def night(name: str, count: int, size: int = 0) -> list[bytes]:
    """Return so many lines; each two of them say the same of one bike, which has not moved."""
    return [recorded(f"{name}-{number:03}", f"b-{number // 2}", size) for number in range(count)]


def hand_in(city: Any, lines: Sequence[bytes]) -> Told:
    """Send a night and return what tracks says of it."""
    try:
        answer = web.post(city["tracks"].url + PATH, content=b"\n".join(lines))
        said = answer.json()
        refused = {each["line"]: each["reason"] for each in said["refused"]}
        return Told(answer.status_code, said["kept"], refused, said["unknown"])
    except httpx.HTTPError as error:
        return Told(0, text=f"{type(error).__name__} after {WEB_SECONDS:g} s at most")
    except (KeyError, ValueError):
        return Told(answer.status_code, text=answer.text)


def insist(city: Any, lines: Sequence[bytes]) -> Told:
    """Send a night as a depot does: again, until all of it is kept, for SOON_SECONDS; return the last answer."""
    answers: list[Told] = []
    eventually(lambda: answers.append(hand_in(city, lines)) or answers[-1].is_all_of(lines), SOON_SECONDS)
    return answers[-1]


def later(city: Any, lines: Sequence[bytes]) -> "Future[Told]":
    """Send a night beside the check."""
    return senders.submit(hand_in, city, lines)


def stored(spy: Spy) -> Counter[bytes]:
    """Return what the stream holds, and how often; it waits for a broker that is coming back."""
    return eventually(lambda: Counter(each.data for each in spy.kept("TRACKS")), SOON_SECONDS)


def held_by(spy: Spy) -> int:
    """Return how many messages the stream holds; it waits for a broker that is coming back."""
    return int(eventually(lambda: spy.stream("TRACKS").state.messages, QUIET_SECONDS))


def counted(found: Mapping[bytes, int], lines: Sequence[bytes]) -> str:
    """Say how many of these lines a stream holds, and how many more than once."""
    there = [found[line] for line in lines if line in found]
    return f"{len(there)} of {len(lines)} are in the stream, {sum(times > 1 for times in there)} more than once"


class StandIn:
    """In place of the stream: it hears each publication, and the check says what comes back, if anything does."""

    def __init__(self, spy: Spy) -> None:
        spy.jetstream("delete_stream", "TRACKS")
        spy.hears("track.*")
        self._spy = spy
        self._served: list[str] = []
        self._replied: set[str] = set()
        self._told_nobody: dict[str, float] = {}
        self.rests: list[float] = []  # in seconds, between "nobody listens" and the next try
        self.most_open = 0

    def tries(self, event_id: str) -> list[Heard]:
        """Return the publications of an event."""
        return [each for each in self._spy.on(SUBJECT) if id_of(each) == event_id]

    @property
    def open(self) -> int:
        """How many events have been published and have no reply yet."""
        return len({id_of(each) for each in self._spy.on(SUBJECT)} - self._replied)

    def held(self) -> int:
        """Reply to nothing until no further event comes; return how many are open then."""
        eventually(lambda: self.open > 1, FIRST_SECONDS)
        while self._more_than(self.open):
            pass
        return self.open

    def serve(self, call: "Future[Told]", replies: Mapping[str, Sequence[bytes | None]] = MappingProxyType({})) -> Told:
        """Until the call ends, reply to the tries of an event by its replies, the last one for good; others by ACK."""
        while not call.done():
            eventually(lambda: call.done() or len(self._spy.on(SUBJECT)) > len(self._served), SOON_SECONDS)
            for message in self._spy.on(SUBJECT)[len(self._served) :]:
                self.most_open = max(self.most_open, self.open)
                event_id = id_of(message)
                known = replies.get(event_id, [ACK])
                self._reply(message, event_id, known[min(self._served.count(event_id), len(known) - 1)])
                self._served.append(event_id)
        return call.result()

    def _more_than(self, before: int) -> bool:
        return bool(eventually(lambda: self.open > before, QUIET_SECONDS))

    def _reply(self, message: Heard, event_id: str, reply: bytes | None) -> None:
        if event_id in self._told_nobody:
            self.rests.append(time.monotonic() - self._told_nobody.pop(event_id))
        if reply == NOBODY:
            self._told_nobody[event_id] = time.monotonic()
        elif reply:
            self._replied.add(event_id)
        if reply is not None and message.reply:
            self._spy.publish(message.reply, reply, headers=None if reply else {"Status": "503"})


def id_of(event: Heard | bytes) -> str:
    """Return the id of an event."""
    return str(json.loads(event.data if isinstance(event, Heard) else event)["id"])


def no(code: int, number: int, description: str) -> bytes:
    """Return the PubAck by which the broker refuses an event."""
    return json.dumps({"error": {"code": code, "err_code": number, "description": description}}).encode()


def refusal(spy: Spy, content: bytes) -> str:
    """Publish something into the stream, and return why the broker does not take it."""
    try:
        return f"kept: {spy.keep(SUBJECT, content)}"
    except Exception as error:
        return str(error)


def test_a_night_is_kept_once(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """Every event of a night is in the stream once, also when the night is sent again; bikes that stand still count."""
    spy, lines, more = spy_on(city), night("n", 150), night("m", 50)
    told, again, other = hand_in(city, lines), hand_in(city, lines), hand_in(city, more)
    found, config = stored(spy), spy.stream("TRACKS").config
    expect(
        told == again and told.is_all_of(lines) and other.is_all_of(more) and found == Counter([*lines, *more]),
        sent=f"POST {PATH} with {len(lines)} events, the same once more, then {len(more)} others",
        expected="200 and all kept, three times; each event once in the stream",
        came=f"{told}, {again}, {other}; {counted(found, lines)}; {counted(found, more)} of the others",
        why="a depot that has lost the answer sends its night again; a second copy is a kilometre that nobody rode, "
        "and two events that say the same of a bike are two all the same: only the id says which are one",
        look=PUBLISH,
        service="tracks",
    )
    changed = hand_in(city, [recorded("n-000", "b-99")])
    expect(
        changed.kept == 1 and stored(spy) == found and config.duplicate_window >= WINDOW_SECONDS and not config.max_age,
        sent="then the id of the first event with something else in it; the stream's duplicate_window and max_age",
        expected=f"no second event under an id, which is known for {WINDOW_SECONDS:,} s; and no event expires",
        came=f"{changed}; {sum(stored(spy).values()) - sum(found.values())} added; window, age: "
        f"{config.duplicate_window:,.0f} s, {config.max_age or 0:,.0f} s",
        why="a depot whose line was down for hours sends its night again as well: the broker must still know its ids",
        look=f"{PUBLISH}; {STREAM}",
        service="tracks",
    )


def test_publications_in_flight_are_bounded(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """Some publications are on their way at once, never more than the bound; no answer comes before their PubAcks."""
    stand_in, lines = StandIn(spy_on(city)), night("n", 60)
    call = later(city, lines)
    held, early = stand_in.held(), call.done()
    told = stand_in.serve(call)
    expect(not early, sent=f"POST {PATH} with {len(lines)} events; the check holds every PubAck back",
           expected="no answer yet", came=told,
           why="that an event was sent is no news: a broker that hangs takes it into its socket, and dies with it",
           look=PUBLISH, service="tracks")  # fmt: skip
    expect(held > 1, sent=f"POST {PATH} with {len(lines)} events; the check holds every PubAck back",
           expected=f"2 to {MOST_IN_FLIGHT} events on their way",
           came=f"{held} on its way, and no other before its PubAck",
           why="one after the other, a night takes as many round trips as it has events", look=PUBLISH,
           service="tracks")  # fmt: skip
    expect(stand_in.most_open <= MOST_IN_FLIGHT and told.is_all_of(lines),
           sent=f"POST {PATH} with {len(lines)} events; the check gives the PubAcks late, one after the other",
           expected=f"at most {MOST_IN_FLIGHT} events without a PubAck at any time; then 200, and all kept",
           came=f"up to {max(held, stand_in.most_open)} at once; {told}",
           why="what is on its way fills memory, here and at the broker, and is in doubt when the line breaks",
           look=PUBLISH, service="tracks")  # fmt: skip


@pytest.mark.city(shape="hasty_publishing")
def test_silence_is_tried_again(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """An event without a PubAck is published again under the same id, after a pause; at last it is called unknown."""
    stand_in, lines = StandIn(spy_on(city)), night("n", 40)
    replies: dict[str, list[bytes | None]] = {id_of(line): [None] for line in lines[MOST_IN_FLIGHT:]}
    replies |= {"n-000": [None, ACK], **{id_of(line): [NOBODY, ACK] for line in lines[1:6]}}
    told = stand_in.serve(later(city, lines), replies)
    tries = [stand_in.tries(event_id) for event_id in ("n-000", "n-001", "n-016")]
    expect((told.status, told.kept, told.refused, told.unknown) == (503, 16, {}, list(range(17, 41))),
           sent=f"POST {PATH}: of line 1 a PubAck is lost, for lines 2 to 6 nobody listens at first, "
           "for line 17 and all behind it there is never a PubAck",
           expected="503: the first 16 kept, lines 17 to 40 unknown",
           came=f"{told}; tries of lines 1, 2 and 17: {[len(each) for each in tries]}",
           why="silence is no yes and no no: an event may be kept, so it is asked for again; and what is known is told",
           look=PUBLISH, service="tracks")  # fmt: skip
    ids = [{(each.headers or {}).get("Nats-Msg-Id", "") for each in event} for event in tries]
    expect(all(len(event) > 1 for event in tries) and all(len(each) == 1 and "" not in each for each in ids),
           sent="the same night; what was published for lines 1, 2 and 17",
           expected="2 tries and more for each, all under one Nats-Msg-Id",
           came=f"tries: {[len(each) for each in tries]}, under {[sorted(each) for each in ids]}",
           why="the first try may have been kept: only under the same id the broker knows the second for what it is",
           look=PUBLISH, service="tracks")  # fmt: skip
    expect(len(tries[2]) <= MOST_TRIES and min(stand_in.rests) >= PAUSE_SECONDS * 0.9,
           sent="the same night; how often line 17 is published, and how soon lines 2 to 6 after `nobody listens`",
           expected=f"at most {MOST_TRIES} times; not before {PAUSE_SECONDS:g} s",
           came=f"{len(tries[2])} times; after {[round(each, 3) for each in stand_in.rests]} s",
           why="who tries without end or pause is one more trouble for a broker that has one", look=PUBLISH,
           service="tracks")  # fmt: skip


def test_a_no_of_the_broker_is_told(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """An event that the broker refuses is named with its reason and not tried again; all others are kept."""
    stand_in, lines = StandIn(spy_on(city)), night("n", 40)
    replies = {"n-001": [no(503, 10077, FULL)], "n-002": [no(400, 10054, TOO_LARGE)], "n-004": [AGAIN]}
    told = stand_in.serve(later(city, lines), replies)
    tries = [len(stand_in.tries(f"n-{number:03}")) for number in (1, 2, 4)]
    expect(
        (told.status, told.kept, told.refused, told.unknown) == (207, len(lines) - 2, {2: FULL, 3: TOO_LARGE}, []),
        sent=f"POST {PATH}: the PubAcks of lines 2 and 3 are errors, that of line 5 says `duplicate`",
        expected=f'207: all kept but line 2, refused for "{FULL}", and line 3, for "{TOO_LARGE}"',
        came=told,
        why="a PubAck can say no: who only looks whether one has come tells a depot to delete what nobody has; "
        "and a duplicate is a yes",
        look=PUBLISH,
        service="tracks",
    )
    expect(
        tries == [1, 1, 1],
        sent="the same night; how often lines 2, 3 and 5 are published",
        expected="once each",
        came=f"{tries} times",
        why="the broker has decided: the same event a moment later is refused again",
        look=PUBLISH,
        service="tracks",
    )


def test_a_full_stream_keeps_the_old(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """A stream that is full refuses what comes, by name, and loses nothing of what it has."""
    spy, old, new = spy_on(city), night("old", MOST_EVENTS - 50), night("new", 120)
    first, told = hand_in(city, old), hand_in(city, new)
    found = stored(spy)
    expect(
        first.is_all_of(old) and all(found[line] == 1 for line in old),
        sent=f"POST {PATH} with {len(old)} events into a stream of {MOST_EVENTS}, then with {len(new)} others",
        expected=f"{len(old)} kept, and all there at the end",
        came=f"{first}; {counted(found, old)}",
        why="a broker that makes room by itself breaks its word to last night's depot, and nobody hears of it",
        look=STREAM,
        service="tracks",
    )
    gone = [number for number, line in enumerate(new, 1) if line not in found]
    expect(
        (told.status, told.kept, list(told.refused or {})) == (207, 50, gone) and len(gone) == 70 and not told.unknown,
        sent=f"the second night: there is room for 50 of its {len(new)} events",
        expected="207: 50 kept, and those 70 refused that are not in the stream",
        came=f"{told}; {counted(found, new)}",
        why="one event that does not fit must not decide over the others, and nobody finds it again if it is not named",
        look=PUBLISH,
        service="tracks",
    )


@pytest.mark.city(shape="hasty_publishing", weather="calm")
def test_a_killed_broker_has_all_it_acknowledged(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """The broker is killed in mid-night: what was called kept is there, and the same night once more adds the rest."""
    spy, first, second = spy_on(city), night("a", 80), night("b", 120)
    before = hand_in(city, first)
    city.edge("tracks", "broker").latency(WAY_SECONDS)
    call = later(city, second)
    eventually(lambda: spy.stream("TRACKS").state.messages > len(first) + MOST_IN_FLIGHT, SOON_SECONDS)
    city.kill("broker")
    city.launch("broker")
    told, found = call.result(), stored(spy)
    doubtful = {*(told.refused or {}), *told.unknown}
    lost = [number for number, line in enumerate(second, 1) if number not in doubtful and line not in found]
    expect(before.is_all_of(first) and told.status in (200, 503) and not told.refused and not lost
           and all(line in found for line in first),
           sent=f"POST {PATH} with {len(first)} events, then with {len(second)}; there kill -9 of the broker, launch",
           expected="200, or 503 with unknown lines; every event that was called kept is in the stream",
           came=f"{before}, then {told}; of the first night {counted(found, first)}; lost: {len(lost)}, {lost[:5]}",
           why="a depot deletes what was kept: a broker that forgets it, a service that never asked, lose it for good",
           look=f"{PUBLISH}; {STREAM}", service="tracks")  # fmt: skip
    city.edge("tracks", "broker").clear()
    again = insist(city, second)
    found = stored(spy)
    expect(again.is_all_of(second) and found == Counter([*first, *second]), sent="the second night once more",
           expected="200 and all kept; each event of both nights once in the stream",
           came=f"{again}; {counted(found, first)}, and {counted(found, second)}",
           why="the night that is sent again closes every gap, and the broker knows its ids also after a crash",
           look=f"{PUBLISH}; {STREAM}", service="tracks")  # fmt: skip


@pytest.mark.city(shape="hasty_publishing")
def test_a_hung_broker_does_not_hang_the_caller(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """A broker that has stopped reading costs a limited time; what is unknown then is kept once when it comes again."""
    spy, lines = spy_on(city), night("n", 250)
    city.pause("broker")
    told = hand_in(city, lines)
    city.resume("broker")
    expect((told.status, told.kept, told.refused, len(told.unknown)) == (503, 0, {}, len(lines)),
           sent=f"POST {PATH} with {len(lines)} events, while the broker is frozen (SIGSTOP)",
           expected=f"after {TOTAL_SECONDS:g} s 503, all unknown", came=told,
           why="the broker's trouble must not become that of everybody who waits for tracks",
           look=PUBLISH, service="tracks")  # fmt: skip
    by_itself = eventually(lambda: held_by(spy) > len(lines) / 2, QUIET_SECONDS)
    expect(not by_itself, sent="the broker goes on (SIGCONT); nobody hands in anything",
           expected="what was not begun when tracks answered is not published afterwards: most of the night",
           came=f"{held_by(spy)} of {len(lines)} events in the stream",
           why="depots try again: if each try leaves work behind, the broker comes back to all of them at once",
           look=PUBLISH, service="tracks")  # fmt: skip
    again = insist(city, lines)
    expect(again.is_all_of(lines) and held_by(spy) == len(lines), sent="then the same night comes again",
           expected="200 and all kept; each event once in the stream",
           came=f"{again}; {held_by(spy)} messages for {len(lines)} events",
           why="what waited in the sockets arrives late: under the same ids it does no harm", look=PUBLISH,
           service="tracks")  # fmt: skip


def test_what_nobody_can_read_stays_out(city: Any, spy_on: Callable[[Any], Spy]) -> None:
    """A line that is no event is refused by its number, and costs no other line; the stream takes nothing too large."""
    spy, good = spy_on(city), night("n", 20)
    bad = [b"{not json", recorded("n-1\r\nNats-Msg-Id: n-000"), recorded("x-1", version=2)]
    bad += [recorded("x-2", size=1024 * 1024), recorded("n-000", "b-99"), b'"' * 1000]
    told, empty, found = hand_in(city, [*good, *bad, b"", good[0]]), hand_in(city, []), stored(spy)
    expect(
        (told.status, told.kept, list(told.refused or {})) == (207, 21, [21, 22, 23, 24, 25, 26])
        and not told.unknown and found == Counter(good) and empty.is_all_of([]),
        sent=f"POST {PATH}: 20 events; no JSON; CR LF in an id; version 2; 1 MB; a used id; quotes; nothing; line 1",
        expected="207: 21 lines kept, which are 20 events; lines 21 to 26 refused; 200 for a night without a line",
        came=f"{told}; {counted(found, good)}; empty: {empty}",
        why="one broken line must not cost the night of a whole depot",
        look=PUBLISH,
        service="tracks",
    )  # fmt: skip
    answer = refusal(spy, b"x" * (MOST_BYTES + 1))
    expect(
        TOO_LARGE in answer and stored(spy) == found,
        sent=f"somebody else publishes {MOST_BYTES + 1:,} bytes on {SUBJECT}",
        expected=f"the broker refuses them: {TOO_LARGE}",
        came=answer,
        why="nobody in the city reads more than 64 kB: such a message would lie in the stream as poison",
        look=STREAM,
        service="broker",
    )
