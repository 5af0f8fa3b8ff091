"""Checks of task 4.4: each ride is billed once, whatever dies, comes twice or never gets well; nothing gets lost."""

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import httpx
import pytest

from lab_services.checks import Call, eventually, expect, rows

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with a pricing of the check's own

HANDLE, BILL, STREAMS = "work.py: handle", "work.py: bill", "streams.py: RIDES, DEAD, BILLING"
ACK_SECONDS, RETRY_SECONDS, TRIES, MOST_UNACKED, WORKERS, HANDS = 0.5, 0.15, 3, 24, 3, 4  # as in lab.toml
OUTAGE_TRIES = 5  # in the shape impatient
KEEP_SECONDS = 7 * 24 * 3600
DONE_SECONDS, SEEN_SECONDS, SLOW_SECONDS, GATE_SECONDS = 4.0, 3.0, 1.1, 8.0
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MOST_KEPT_BYTES, ONE_MB = 256 * 1024, 1024 * 1024
UNUSED_TABLES = 4
TRICK = "no such tariff\r\nNats-Msg-Id: 1\r\n\r\n"
web = httpx.Client(timeout=4, trust_env=False)


class Prices:
    """Pricing, as a check wants it; a ride is known by its minutes."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, int]] = []
        self.broken: dict[int, int] = {}
        self.slow: Iterable[int] = ()
        self._gate = threading.Event()
        self._gate.set()

    def __call__(self, call: Call) -> tuple[int, Any]:
        """Answer a call."""
        minutes = int(call.query["minutes"])
        self.asked.append((time.monotonic(), minutes))
        self._gate.wait(GATE_SECONDS)
        if minutes in self.slow:
            threading.Event().wait(SLOW_SECONDS)
        if status := self.broken.get(minutes):
            return status, {"detail": TRICK}
        return 200, {"minutes": minutes, "cents": min(100 + 20 * minutes, 2000)}

    def hold(self) -> None:
        """Leave every call without an answer from now on."""
        self._gate.clear()

    def release(self) -> None:
        """Answer again, also those who wait."""
        self._gate.set()

    def tries(self) -> Counter[int]:
        """Count the calls by their minutes."""
        return Counter(minutes for _, minutes in tuple(self.asked))

    def rests(self) -> list[float]:
        """Return the seconds between two calls with the same minutes, for all of them."""
        moments: dict[int, list[float]] = {}
        for moment, minutes in tuple(self.asked):
            moments.setdefault(minutes, []).append(moment)
        return [later - sooner for each in moments.values() for sooner, later in pairwise(each)]


class Office:
    """The city with its prices and a spy at its broker."""

    def __init__(self, city: Any, prices: Prices, spy: Any) -> None:
        self.city, self.prices, self.spy = city, prices, spy
        self.kept: dict[str, int] = {}
        spy.hears("ride.ended")

    def end(self, *minutes: int, ride_id: str = "", rider_id: str = "ada", days_ago: int = 0) -> None:
        """End rides at the service rides, each of so many minutes; the ride of 7 minutes is r-7."""
        for each in minutes:
            name = ride_id or f"r-{each}"
            end = {"rider_id": rider_id, "bike_id": f"b-{name}", "minutes": each, "ended_at": moment(days_ago)}
            web.put(f"{self.city['rides'].url}/rides/{name}/ended", json=end).raise_for_status()

    def end_twins(self, minutes: int) -> None:
        """End two rides that differ in nothing but their ids."""
        for name in ("twin-1", "twin-2"):
            self.end(minutes, ride_id=name)

    def state(self) -> Any:
        """Return what the broker knows of the consumer."""
        return self.spy.consumer("RIDES", "billing")

    def count(self, when: str) -> None:
        """Note how many messages RIDES keeps, for a failure to tell."""
        stream = self.spy.stream("RIDES")
        self.kept[when] = stream.state.messages if stream else 0

    def quiet(self) -> bool:
        """Wait until no message waits for a hand, is in one, or waits for another try."""
        return bool(eventually(lambda: (c := self.state()) and c.num_pending + c.num_ack_pending == 0, DONE_SECONDS))

    def __repr__(self) -> str:
        """Say what a failure shows: who has not paid, what breaks the laws, what is left, letters and calls."""
        state, left = self.state(), "there is no consumer `billing`"
        if state:
            left = f"{state.num_pending} wait for a hand, {state.num_ack_pending} are in one or wait for another try"
        self.count("now")
        letters = [letter.headers.get("Reason", "no reason") for letter in self.letters()]
        parts = {
            "paid by nobody": sorted(self.unpaid())[:12],
            "laws": self.city.laws().broken[:3],
            "messages": left,
            "RIDES keeps": self.kept,
            f"{len(letters)} letters": letters,
            "calls of pricing by minutes": dict(self.prices.tries()),
        }
        return json.dumps(parts)

    def settled(self) -> bool:
        """Tell whether all becomes quiet, each ride is paid once, and no letter was written."""
        return self.quiet() and not self.unpaid() and self.city.laws().kept and not self.letters()

    def unpaid(self) -> set[str]:
        """Return the rides that have ended, and that nobody has paid."""
        ended, paid = (
            {row["ride_id"] for row in rows(self.city[name].data / file, f"SELECT ride_id FROM {table}")}
            for name, file, table in (("rides", "rides.db", "rides"), ("worker", "wallet.db", "holds"))
        )
        return ended - paid

    def letters(self) -> list[Any]:
        """Return the dead letters."""
        return list(self.spy.kept("DEAD"))

    def letters_are(self, *contents: bytes) -> bool:
        """Tell whether there is one letter of each of these contents, and no other."""
        return Counter(letter.data for letter in self.letters()) == Counter(contents)

    def reasons(self) -> dict[bytes, str]:
        """Return what may become a letter, with a word that its reason has."""
        words = {"r-1": "422", "r-2": "422", "r-3": "zoe", "r-4": "503"}
        return UNREADABLE | {content: word for ride_id, word in words.items() for content in self.said(ride_id)}

    def billed(self, *minutes: int) -> bool:
        """Wait until these rides are paid, and tell whether they are."""
        return bool(eventually(lambda: not self.unpaid() & {f"r-{each}" for each in minutes}, SEEN_SECONDS))

    def tried(self, times: int, *minutes: int) -> bool:
        """Wait until pricing was asked so often for each of these rides, and tell whether it was."""
        return bool(eventually(lambda: min(self.prices.tries()[each] for each in minutes) >= times, SEEN_SECONDS))

    def begin(self, *minutes: int, workers: int = WORKERS) -> None:
        """End rides while pricing hangs, and wait until all hands of so many workers have asked for a price."""
        self.prices.hold()
        full = len(self.prices.asked) + workers * HANDS
        self.end(*minutes)
        eventually(lambda: len(self.prices.asked) >= full, SEEN_SECONDS)

    def most_unacked(self) -> int:
        """Look on for some tries more; return the largest number of messages that were unacknowledged."""
        seen, enough = [0], self.state().delivered.consumer_seq + 2 * MOST_UNACKED

        def look() -> bool:
            state = self.state()
            seen.append(state.num_ack_pending)
            return bool(state.delivered.consumer_seq >= enough)

        eventually(look, SEEN_SECONDS)
        return max(seen)

    def again(self) -> None:
        """Kill all workers, and start them."""
        self.city.kill("worker")
        self.city.launch("worker")

    def copy(self, ride_id: str, times: int = 1) -> None:
        """Say again what was said of a ride, each time in other bytes and without a Nats-Msg-Id."""
        eventually(lambda: self.said(ride_id), SEEN_SECONDS)
        for number in range(times):
            copy = {"copy": number, **json.loads(self.said(ride_id)[0])}
            self.spy.keep("ride.ended", json.dumps(copy).encode())

    def said(self, *ride_ids: str) -> list[bytes]:
        """Return what was said of these rides, as it came."""
        return [m.data for m in self.spy.on("ride.ended") if any(f'"{each}"'.encode() in m.data for each in ride_ids)]

    def offer(self, content: bytes, subject: str = "ride.ended") -> bool:
        """Say something; tell whether it is kept."""
        try:
            self.spy.keep(subject, content)
        except Exception:  # refused by the stream, by the broker, or by the client's own limit
            return False
        return True

    def dead_takes(self, most_bytes: int) -> bool:
        """Let the stream DEAD refuse whatever is longer, and tell whether there is such a stream; -1 ends it."""
        if stream := self.spy.stream("DEAD"):
            self.spy.jetstream("update_stream", stream.config.evolve(max_msg_size=most_bytes))
        return bool(stream)

    def sizes(self) -> dict[str, Any]:
        """Return the longest message that each stream takes."""
        streams = {name: self.spy.stream(name) for name in ("RIDES", "DEAD")}
        return {name: stream and stream.config.max_msg_size for name, stream in streams.items()}

    def slow_books(self) -> None:
        """Give wallet.db tables that nobody needs: from now on each transaction takes some milliseconds to begin."""
        columns = ", ".join(f"column_{number}" for number in range(1000))
        with closing(sqlite3.connect(self.city["worker"].data / "wallet.db", timeout=2)) as db, db:
            for number in range(UNUSED_TABLES):
                db.execute(f"CREATE TABLE unused_{number}({columns})")


def moment(days_ago: int = 0) -> str:
    """Return a moment as it stands in a message."""
    return (NOW - timedelta(days=days_ago)).isoformat()


def event(data: Any, kind: str = "ride.ended", version: int = 1) -> bytes:
    """Return an event that the service rides has not said."""
    return json.dumps({"id": "e-1", "type": kind, "version": version, "time": moment(), "data": data}).encode()


def forgetful(stream: Any) -> list[str]:
    """Tell by what a stream loses messages, or never lets go of them."""
    if stream is None:
        return ["there is no such stream"]
    set_to, found = stream.config, []
    if set_to.storage != "file":
        found.append(f"storage {set_to.storage}")
    if set_to.max_age != KEEP_SECONDS:
        found.append(f"max_age {set_to.max_age or 0:g} s" + ("" if set_to.max_age else ", which is without end"))
    limits = {name: getattr(set_to, name) for name in ("max_msgs", "max_bytes", "max_msgs_per_subject")}
    found += [f"{name} {most}, discard old" for name, most in limits.items() if most > 0 and set_to.discard != "new"]
    return found


@pytest.fixture
def begin(city: Any, fake_service: Any, spy_on: Callable[[Any], Any]) -> Iterator[Callable[..., Office]]:
    """Start the city, without what is to be skipped; whoever still waits for a price is let go at the end."""
    prices = Prices()

    def start(*skip: str) -> Office:
        city.start(replace={"pricing": fake_service("pricing", prices).url}, skip=skip)
        return Office(city, prices, spy_on(city))

    yield start
    prices.release()


@pytest.fixture
def office(begin: Callable[..., Office]) -> Office:
    """A city with its workers: three, or two in the shape impatient."""
    return begin()


@pytest.fixture
def closed_office(begin: Callable[..., Office]) -> Office:
    """A city without workers."""
    return begin("worker")


RIDE = {"ride_id": "r-x", "rider_id": "ada", "bike_id": "b-x", "minutes": 7}
UNREADABLE = {  # what is said, and a word that its reason has
    b"": "bytes",
    b"\xff\xfe": "JSON",
    event(RIDE, version=2): "version",
    event(RIDE, kind="ride.melted"): "type",
    event({**RIDE, "minutes": "7"}): "minutes",
    event({**RIDE, "note": "x" * 70_000}): "bytes",
}


MANY_COPIES = (
    "10 rides, some of them days late, each with 3 copies of its event without a Nats-Msg-Id, and 2 rides that differ "
    "in nothing but their ids; 12 hands begin in the same moment"
)
LATE = "kill -9 of all workers, launch; pricing now refuses these rides (422), and each event comes once more"
WHY_ONCE = (
    "a stream says everything at least once: whoever bills once has to know what is billed, for all workers, after "
    "each restart, beyond the window in which the broker knows a copy, and in the same transaction as the money"
)


def all_billed(office: Office, sent: str, why: str, look: str = HANDLE) -> None:
    """Expect that all has become quiet, and that each ride is billed once."""
    expect(office.settled(), sent=sent, expected="each ride is billed once, no letter, no message left",
           came=office, why=why, look=look, service="worker")  # fmt: skip


def test_nothing_is_missed_while_nobody_works(closed_office: Office) -> None:
    """Rides that end before the first worker is there, and while the broker falls, are billed; the streams keep all."""
    office = closed_office
    office.end(*range(10))
    office.count("before the kill")
    office.city.kill("broker")
    office.city.launch("broker")
    office.count("after the kill, before the workers")
    office.city.launch("worker")
    sent = "10 rides before the first worker is there, kill -9 of the broker, then 3 workers"
    all_billed(office, sent, "a stream is there so that nobody has to be awake: at last each ride is billed", STREAMS)
    lost = {name: forgetful(office.spy.stream(name)) for name in ("RIDES", "DEAD")}
    expect(not any(lost.values()), sent="a look at the configuration of both streams",
           expected=f"on the disk, max_age {KEEP_SECONDS} s, and nothing is thrown away to make room", came=lost,
           why="a stream that forgets tells nobody, and a forgotten ride is never paid; one without end fills the disk",
           look=STREAMS, service="worker")  # fmt: skip
    state = office.state().config
    ends = {name: getattr(state, name) for name in ("max_deliver", "mem_storage", "inactive_threshold")}
    expect(all(end in (None, False, 0, -1) for end in ends.values()), sent="a look at the consumer", came=ends,
           expected="no end of its deliveries (max_deliver -1), of its memory, or of its life", look=STREAMS,
           why="at its limit the broker stops without a letter: the ride is in no hand, and nobody looks for it",
           service="worker")  # fmt: skip


def test_copies_are_billed_once(office: Office) -> None:
    """Copies of an event, all at once, in other bytes, late, and after a restart, bill nothing; twins are two rides."""
    office.slow_books()
    office.prices.hold()
    for minutes in range(10):
        office.end(minutes, days_ago=minutes % 3)
        office.copy(f"r-{minutes}", times=3)
    office.end_twins(50)
    office.prices.release()
    all_billed(office, MANY_COPIES, WHY_ONCE, BILL)
    made = office.state().created
    office.again()
    office.prices.broken = dict.fromkeys(range(10), 422)
    for minutes in range(10):
        office.copy(f"r-{minutes}")
    all_billed(office, f"{MANY_COPIES}; {LATE}", f"{WHY_ONCE}; and a copy of what is billed needs no price", HANDLE)
    expect(office.state().created == made, sent="the same", expected=f"the consumer that was made at {made}",
           came=f"one that was made at {office.state().created}", why="a consumer that is made anew begins with the "
           "first ride of the city after each restart", look=STREAMS, service="worker")  # fmt: skip


def test_whoever_dies_in_the_middle_loses_nothing(office: Office) -> None:
    """A worker is killed with messages in hand, then all of them and the broker: each ride is billed once."""
    office.begin(*range(16))
    office.city.kill("worker", replica=1)
    office.prices.release()
    sent = "16 rides, kill -9 of worker 1 while all hands wait for a price"
    all_billed(office, sent, "a message that is acknowledged before the money is booked dies with its worker")
    office.begin(*range(20, 32), workers=WORKERS - 1)
    office.city.kill("worker")
    office.city.kill("broker")
    office.city.launch("broker")
    office.city.launch("worker")
    office.prices.release()
    expect(office.settled(), sent="12 more rides, kill -9 of all workers and the broker in the middle, launch",
           expected="each ride is billed once, no letter, no message left", came=office,
           why="the next crash is certain, only its moment is not", look=STREAMS, service="worker")  # fmt: skip


def test_an_outage_is_waited_out(office: Office) -> None:
    """While pricing fails for some rides and is slow for others, all are tried with rests, and no ride is held up."""
    ill, well, slow, more = range(1, 17), range(101, 106), range(201, 205), range(17, 33)
    office.prices.broken, office.prices.slow = dict.fromkeys([*ill, *more], 503), slow
    office.end(*slow, *ill, *well)
    meanwhile = office.billed(*well)
    rested(office, *ill)  # first: on a busy machine those who ask without a rest may leave no time for the others
    expect(meanwhile, sent="4 slow rides, 16 for which pricing answers 503, then 5 for which it has a price",
           expected="the 5 are billed meanwhile", came=office, why="whoever waits with a message in hand, or "
           "lets a few fill the consumer, holds up the whole city", look=f"{HANDLE}; {STREAMS}",
           service="worker")  # fmt: skip
    tried_again(office, *ill)
    office.end(*more)
    most = office.most_unacked()
    expect(most <= MOST_UNACKED, came=most,
           sent="16 more such rides", expected=f"{MOST_UNACKED} unacknowledged at most",
           why="if the calls per second grow with every ride that piles up, pricing never gets up again", look=STREAMS,
           service="worker")  # fmt: skip
    office.prices.broken.clear()
    all_billed(office, "then pricing is well again", "an outage passes, and the riders have ridden")
    calls = sum(office.prices.tries()[each] for each in slow)
    expect(calls <= 6, sent=f"4 rides whose price takes {SLOW_SECONDS:g} s, with ACK_SECONDS {ACK_SECONDS:g}",
           expected="4 calls of pricing, 6 at most", came=calls, why="what is slow gets slower when other workers ask "
           "again: say to the broker that you are still at work", look=HANDLE, service="worker")  # fmt: skip


def rested(office: Office, *ill: int) -> None:
    """Expect a rest between two tries of a ride for which pricing fails."""
    rest = median(office.prices.rests() or [RETRY_SECONDS])
    expect(rest >= RETRY_SECONDS / 2, sent=f"{len(ill)} rides for which pricing answers 503",
           came=f"{rest:.3f} s",
           expected=f"about {RETRY_SECONDS:g} s between two tries of a ride (median)",
           why="without a rest three workers ask hundreds of times per second, and pricing does not get up again",
           look=HANDLE, service="worker")  # fmt: skip


def tried_again(office: Office, *ill: int) -> None:
    """Expect that rides for which pricing fails are tried as often as is patient, and not more often than is kind."""
    tried = office.tried(TRIES + 2, *ill)
    rested(office, *ill)
    expect(tried and not office.letters(), sent="the same", expected=f"{TRIES + 2} tries of each, no letter",
           came=office, look=f"{HANDLE}; {STREAMS}", service="worker",
           why="an outage is no reason to bill ten thousand rides by hand")  # fmt: skip


@pytest.mark.city(started=False, shape="impatient")
def test_what_never_gets_well_becomes_a_letter(office: Office) -> None:
    """What cannot be read is a letter at once, what keeps failing after its tries, with its reason; others go on."""
    office.prices.broken = {1: 422, 2: 422, 4: 503}
    kept = [office.offer(content) for content in UNREADABLE] + [office.offer(b"{}", "ride.started")]
    office.end(3, rider_id="zoe")
    office.end(1, 2, 4, 5)
    quiet, letters = office.quiet(), office.letters()
    expect(quiet and all(kept) and office.letters_are(*office.reasons()),
           sent="6 messages that nobody can read, 4 rides that keep failing, a ride.started, and a good ride",
           expected="10 letters, each as its message came, and nothing is left at the broker",
           came=office, look=HANDLE, service="worker", why="what never gets well "
           "has to be where somebody looks for it: not in an endless loop, and not gone")  # fmt: skip
    told_why(office, letters)
    tries, most = office.prices.tries(), {1: TRIES, 2: TRIES, 3: TRIES, 4: OUTAGE_TRIES, 5: 1}
    expect(all(each - (each > 1) <= tries[minutes] <= each for minutes, each in most.items()),
           sent="the same; OUTAGE_TRIES is 5 here", expected=f"calls of pricing by minutes: {most}", came=dict(tries),
           why="workers that each count for themselves try as often as there are workers, and again after each restart",
           look=HANDLE, service="worker")  # fmt: skip
    stuck = [most for most in (MOST_KEPT_BYTES, ONE_MB) if office.offer(b"x" * (most - 50)) and not office.quiet()]
    expect(not stuck, sent=f"messages of 50 bytes less than {MOST_KEPT_BYTES:,}, and than {ONE_MB:,}",
           expected="each is refused by RIDES, or becomes a letter", look=STREAMS,
           came=f"RIDES kept it, DEAD refused the letter: {stuck} bytes; max_msg_size is {office.sizes()} (-1: none)",
           why="a letter is longer than what it is about: this one never leaves the worker",
           service="worker")  # fmt: skip


def told_why(office: Office, letters: list[Any]) -> None:
    """Expect that each letter is where it belongs, with its reason; and at once where no second try can help."""
    reasons = office.reasons()
    told = [(letter.subject, letter.headers.get("Reason", ""), reasons[letter.data]) for letter in letters]
    expect(all(word in reason and subject == "dead.ride.ended" for subject, reason, word in told),
           sent="messages that nobody can read, and rides that keep failing",
           expected="their letters on dead.ride.ended, each with its Reason", came=told,
           why="who opens a letter without a reason has to find the mistake once more", look=HANDLE,
           service="worker")  # fmt: skip
    tries = [letter.headers["Tries"] for letter in letters if letter.data in UNREADABLE]
    expect(max(map(int, tries)) < TRIES, sent="messages that nobody can read", expected="letters after 1 try",
           came=f"Tries: {tries}", why="no second try makes them readable, it only holds up others", look=HANDLE,
           service="worker")  # fmt: skip


def test_a_letter_is_kept_before_its_message_is_given_up(office: Office) -> None:
    """While DEAD takes no letter, no message is given up, not even by a worker that dies; a replay bills once."""
    office.prices.broken = {1: 422}
    there = office.dead_takes(1)
    office.end(1)
    office.spy.keep("ride.ended", b"nonsense")
    eventually(lambda: office.state().delivered.consumer_seq >= TRIES + 3, SEEN_SECONDS)
    office.city.kill("worker")
    left = office.state().num_ack_pending
    office.dead_takes(-1)
    office.city.launch("worker")
    expect(there and left == 2 and office.quiet() and office.letters_are(b"nonsense", *office.said("r-1")),
           sent="a ride that pricing refuses, and nonsense, while DEAD takes no letter; kill -9 of all workers; DEAD "
           "takes letters again; launch", expected="2 messages are left at the broker; then 2 letters",
           came=f"{left} at the broker; {office}", why="who gives up a message before its letter is kept has "
           "lost both when the letter does not arrive", look=HANDLE, service="worker")  # fmt: skip
    office.prices.broken.clear()
    for number in 2 * [letter.sequence for letter in office.letters() if letter.data != b"nonsense"]:
        web.post(f"{office.city['worker'].url}/dead/{number}/replay").raise_for_status()
    expect(office.quiet() and not office.unpaid() and office.city.laws().kept, came=office,
           sent="pricing is mended, and the letter of the ride is replayed, twice", expected="the ride is billed once",
           why="a letter is work that still has to be done: once", look=BILL, service="worker")  # fmt: skip
