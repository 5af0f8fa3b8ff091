"""Checks of task 5.2: for each step of a ride the city is told of it: once, in order, whatever dies or hangs."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psutil
import pytest

from lab_services.checks import eventually, expect, rows, together
from lab_services.checks.broker_wire import BrokerWire

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with or without relays

RECORD, RUN = "outbox.py: record", "relay.py: run"
STEPS = ("started", "noted", "ended")
BATCH, BACKOFF_SECONDS, POLL_SECONDS = 4, 0.2, 30  # as in lab.toml, shape outbox
TOLD_SECONDS, WOKEN_SECONDS = 4.0, 3.0
PUT_SECONDS = 2.0  # LOCK_SECONDS of a database is 5
LOCK_SECONDS = 0.25  # in the shape outbox_wire a relay waits for a PubAck for 0.6 s
OUTAGE_SECONDS = 1.0
LOCKED_LOOKS = 8  # so many looks in a row that find a lock: somebody is in the middle of a transaction
SMALL, TOO_LONG = 600, "x" * 2000
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SLOW = """
    CREATE VIEW pages AS WITH RECURSIVE page(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM page WHERE n < 9000000)
        SELECT n FROM page;
    CREATE TRIGGER fault AFTER INSERT ON outbox BEGIN SELECT count(*) FROM pages; END
"""
FULL = "CREATE TRIGGER fault BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
Told = tuple[str, str]  # the ride and the step that an event tells of


class Town:
    """The city with its book and a spy at its broker; ride r-3 has bike b3."""

    def __init__(self, city: Any, spy: Any) -> None:
        self.city, self.spy = city, spy
        self.book = city["rides"].data / "rides.db"
        self.web = httpx.Client(timeout=PUT_SECONDS, trust_env=False)
        self._messages: list[Any] = []
        spy.hears("ride.*.*")

    def put(self, ride: int, what: str, note: str = "", **other: Any) -> int:
        """Write a step; return the status, 504 when no answer comes `within` seconds.

        Other things can be its `bike`, the `url` of a replica, and by how many hours the clock is `late`.
        """
        at = NOON - timedelta(hours=other.get("late", 0))
        facts = {"rider_id": "ada", "bike_id": f"b{other.get('bike', ride)}", "note": note, "at": at.isoformat()}
        where = f"{other.get('url') or self.city['rides'].url}/rides/r-{ride}/{what}"
        try:
            return self.web.put(where, json=facts, timeout=other.get("within", PUT_SECONDS)).status_code
        except httpx.TransportError:
            return 504

    def ride(self, ride: int, note: str = "") -> None:
        """Write the three steps of a ride."""
        for what in STEPS:
            self.put(ride, what, note if what == "noted" else "")

    def steps(self) -> list[Told]:
        """Return the steps in the book."""
        return [(row["ride_id"], row["what"]) for row in rows(self.book, "SELECT * FROM steps ORDER BY rowid")]

    def waiting(self) -> list[Told]:
        """Return what the outbox holds."""
        return [told_by(bytes(row["content"])) for row in rows(self.book, "SELECT content FROM outbox ORDER BY seq")]

    def messages(self) -> list[Any]:
        """Return what the stream keeps, oldest first; what was read before is not read again."""
        last = self.spy.stream("RIDES").state.last_seq
        for number in range(len(self._messages) + 1, last + 1):
            self._messages.append(self.spy.jetstream("get_msg", "RIDES", number))
        return self._messages

    def told(self) -> list[Told]:
        """Return what the stream tells, oldest first."""
        return [told_by(message.data) for message in self.messages()]

    def copies(self) -> Counter[Told]:
        """Count what was published, whatever the stream has made of it."""
        return Counter(told_by(message.data) for message in tuple(self.spy.heard))

    def all_told(self, within: float = TOLD_SECONDS) -> bool:
        """Wait until the outbox is empty; tell whether the stream then has one event of each step, in order."""
        eventually(lambda: not self.waiting() and len(self.told()) >= len(self.steps()), within)
        return not self.faults()

    def has_told(self, *told: Told, within: float = TOLD_SECONDS) -> bool:
        """Wait until the stream has these events, and tell whether it has."""
        return bool(eventually(lambda: set(told) <= set(self.told()), within))

    def faults(self) -> dict[str, Any]:
        """Return what is wrong with the book, the outbox and the stream together."""
        steps, told, messages = Counter(self.steps()), self.told(), self.messages()
        bytes_of = {message.subject: message.data for message in messages}
        heard = tuple(self.spy.heard)
        found = {
            "steps that the city was not told of": sorted((steps - Counter(told)).elements())[:6],
            "told, and not in the book": sorted(set(told) - set(steps))[:6],
            "more than once in the stream": sorted(each for each, n in Counter(told).items() if n > 1)[:6],
            "rides out of order": disordered(told)[:6],
            "Nats-Msg-Id is not the event's id": [
                m.subject for m in heard if id_of(m.data) != m.headers.get("Nats-Msg-Id")
            ][:6],
            "copies that differ": [m.subject for m in heard if bytes_of.get(m.subject, m.data) != m.data][:6],
            "still in the outbox": rows(self.book, "SELECT event_id, tries, reason FROM outbox ORDER BY seq LIMIT 4"),
            "laws": self.city.laws().broken[:3],
        }
        return {name: fault for name, fault in found.items() if fault}

    def __repr__(self) -> str:
        """Say what a failure shows."""
        return json.dumps(self.faults() or "one event of each step")

    @contextmanager
    def lock(self, seconds: float = PUT_SECONDS) -> Iterator[None]:
        """Be the one writer of the book; raise OperationalError when another one is for longer than `seconds`."""
        with closing(sqlite3.connect(self.book, seconds, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                db.execute("ROLLBACK")

    def is_locked(self, seconds: float = 0) -> bool:
        """Tell whether somebody else is in the middle of a transaction that writes."""
        try:
            with self.lock(seconds):
                return False
        except sqlite3.OperationalError:
            return True

    def stays_locked(self) -> bool:
        """Wait until somebody is in the middle of a long transaction."""
        looks: list[bool] = []

        def look() -> bool:
            looks.append(self.is_locked())
            return len(looks) >= LOCKED_LOOKS and all(looks[-LOCKED_LOOKS:])

        return eventually(look, PUT_SECONDS)

    def change(self, *sql: str) -> None:
        """Change the book as nobody else would."""
        with closing(sqlite3.connect(self.book, PUT_SECONDS)) as db, db:
            db.executescript(";".join(sql))

    def dozes(self, service: str, replica: int) -> None:
        """Freeze a replica, and return when it does nothing any more: one that is stopped later may hold the lock."""
        process = psutil.Process(self.city[service].pids[replica - 1])
        self.city.pause(service, replica)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, TOLD_SECONDS)

    def stream_takes(self, most_bytes: int) -> int:
        """Let the stream refuse whatever is longer; return what it took before."""
        config = self.spy.stream("RIDES").config
        self.spy.jetstream("update_stream", config.evolve(max_msg_size=most_bytes))
        return int(config.max_msg_size)

    def outbox(self) -> dict[str, str]:
        """Ask the relay what waits, and return the reason by event."""
        listed = self.web.get(f"{self.city['relay'].url}/outbox").json()["rows"]
        return {row["event_id"]: str(row["reason"]) for row in listed}


def told_by(content: bytes) -> Told:
    """Return what an event tells of."""
    event = json.loads(content)
    return str(event["data"]["ride_id"]), str(event["type"]).removeprefix("ride.")


def id_of(content: bytes) -> str:
    """Return the id of an event."""
    return str(json.loads(content)["id"])


def disordered(told: list[Told]) -> list[str]:
    """Return the rides whose events are not in the order of their steps."""
    places: dict[str, list[int]] = {}
    for ride_id, what in told:
        places.setdefault(ride_id, []).append(STEPS.index(what))
    return sorted(ride_id for ride_id, each in places.items() if each != sorted(each))


@pytest.fixture
def begin(city: Any, spy_on: Callable[[Any], Any]) -> Iterator[Callable[..., Town]]:
    """Start the city, without what is to be skipped."""
    towns: list[Town] = []

    def start(*skip: str, **replace: str) -> Town:
        city.start(skip=skip, replace=replace)
        towns.append(Town(city, spy_on(city)))
        return towns[-1]

    yield start
    for town in towns:
        town.web.close()


@pytest.fixture
def town(begin: Callable[..., Town]) -> Town:
    """A city with its two relays."""
    return begin()


@pytest.fixture
def quiet_town(begin: Callable[..., Town]) -> Town:
    """A city without relays."""
    return begin("relay")


@pytest.fixture
def wire() -> Iterator[BrokerWire]:
    """A wire between the relays and the broker."""
    made = BrokerWire()
    yield made
    made.close()


@pytest.fixture
def wired_town(begin: Callable[..., Town], wire: BrokerWire) -> Town:
    """A city whose relays reach the broker by this wire."""
    town = begin("relay", wire=wire.url)
    wire.broker = town.city["broker"].url
    town.city.launch("relay")
    return town


def in_hand(town: Town, wire: BrokerWire) -> int:
    """Write the start of r-1, hold its event up on the wire, and return which relay has it in hand."""
    wire.hold("ride.started.")
    status, caught = town.put(1, "started"), wire.caught()
    expect(caught, sent="the start of ride r-1", expected="201, and a relay publishes its event", came=f"{status}, and "
           f"within 3 s no relay does; {town!r}", look=f"{RECORD}; {RUN}", service="relay", why="POLL_SECONDS is "
           f"{POLL_SECONDS}: a relay that is not woken tells of a ride when its rider is long gone")  # fmt: skip
    return int(caught.removeprefix("relay-"))


def cut_short(town: Town, ride: int) -> tuple[bool, int]:
    """Kill rides while it writes the start of a ride; tell whether it was in the middle, and what has been answered."""
    town.change("DROP TRIGGER fault", SLOW)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(town.put, ride, "started")
        in_the_middle = town.stays_locked()
        town.city.kill("rides")
        status = answer.result()
    town.change("DROP TRIGGER fault")
    return in_the_middle, status


def test_a_step_and_its_event_are_one(quiet_town: Town) -> None:
    """A step that is refused half-way, or that a full disk or a crash cuts short, has no event; each other has one."""
    town = quiet_town
    came = [town.put(1, "started"), town.put(1, "started"), town.put(2, "started", bike=1), town.put(3, "ended")]
    town.change(FULL)
    came += [town.put(4, "started")]
    in_the_middle, status = cut_short(town, 5)
    came += [status]
    left = Counter(town.steps()), Counter(town.waiting() + town.told())
    expect(in_the_middle and left == (Counter({("r-1", "started"): 1}),) * 2 and came == [201, 200, 409, 409, 503, 504],
           sent="one step, twice; a bike that is taken; an end without a start; a step while the disk has no room for "
           "its event; one with kill -9 while its event is written", expected="201, 200, 409, 409, 503, no answer; one "
           "step and one event", came=f"{came}; steps: {sorted(left[0])}; events: {sorted(left[1].elements())}",
           why="a step without an event is a ride that nobody bills, an event without a step one that never was, and a "
           "second event one that is billed twice", look=RECORD, service="rides")  # fmt: skip
    town.city.launch("rides")
    came = [town.put(4, "started"), town.put(5, "started"), town.put(5, "started")]
    town.city.launch("relay")
    expect(town.all_told() and came == [201, 201, 200], sent="those two again, then the relays",
           expected="201, 201, 200; one event of each of 3 steps", came=f"{came}; {town!r}", look=f"{RECORD}; {RUN}",
           service="rides", why="what left nothing behind can be done again")  # fmt: skip


@pytest.mark.city(started=False, shape="outbox_outage")
def test_a_put_needs_no_broker(town: Town) -> None:
    """While the broker hangs, steps are written and answered; then everything is killed, and nothing is lost."""
    came = [town.put(1, "started")]
    town.all_told()
    town.city.pause("broker")
    with closing(sqlite3.connect(town.book, isolation_level=None)) as db:
        came += together([lambda ride=ride: town.put(ride, "started") for ride in range(2, 6)])
        before = db.execute("PRAGMA data_version").fetchone()
        eventually(lambda: db.execute("PRAGMA data_version").fetchone() != before, within=1.0)
    for name in ("rides", "relay", "broker"):
        town.city.kill(name)
    expect(came == [201] * 5, sent="5 steps, the last 4 while the broker hangs", came=came,
           expected=f"201 for each, within {PUT_SECONDS:g} s", look=RECORD, service="rides",
           why="a rider at a dock does not wait for a broker, and no transaction of the book does")  # fmt: skip
    town.city.launch("broker")
    town.city.launch("relay")
    expect(town.all_told() and len(town.steps()) == 5, sent="then kill -9 of rides, relays and broker; broker and "
           "relays are launched", expected="one event of each of the 5 steps", came=town, look=f"{RECORD}; {RUN}",
           service="relay", why="what is not yet told has to be in the book: neither in the memory of rides, nor "
           "deleted before its PubAck")  # fmt: skip


@pytest.mark.city(started=False, shape="outbox_outage")
def test_an_outage_is_waited_out(town: Town) -> None:
    """The broker is away for a while in which rides go on; when it is back, the city is told of everything."""
    came, over = [], time.monotonic() + OUTAGE_SECONDS
    town.city.kill("broker")

    def go_on() -> bool:
        came.append(town.put(1 + len(came) // 3, STEPS[len(came) % 3], late=len(came)))
        return time.monotonic() > over

    eventually(go_on, within=2 * OUTAGE_SECONDS)
    town.city.launch("broker")
    expect(town.all_told() and set(came) == {201}, sent=f"{len(came)} steps while the broker is away for "
           f"{OUTAGE_SECONDS:g} s; then it is back", expected="201 for each; then one event of each step, in order",
           came=f"{dict(Counter(came))}; {town!r}", look=RUN, service="relay", why="a row that is parked after some "
           "tries is lost without a word: an outage ends, and nobody looks for the row")  # fmt: skip


@pytest.mark.city(started=False, shape="outbox_wire")
def test_a_crash_before_the_mark_is_a_copy(wired_town: Town, wire: BrokerWire) -> None:
    """A relay is killed when the stream has the event and the row is still there: the copy has the same id."""
    town = wired_town
    in_hand(town, wire)
    locked = town.is_locked(LOCK_SECONDS)
    expect(not locked, sent="a step, whose event is on its way to the broker", look=RUN, service="relay",
           expected="others can write into the book meanwhile", came="the book is locked",
           why="the book has one writer: a transaction that is open while a relay waits for the broker stops every "
           "ride of the city")  # fmt: skip
    with town.lock():
        wire.let_go()
        kept = town.has_told(("r-1", "started"))
        town.city.kill("relay")
    town.put(1, "ended")
    town.city.launch("relay")
    expect(town.all_told() and kept, sent="kill -9 of the relays when the stream has the event, before they can write "
           "that it has; then the end of the ride; launch", expected="two events in the stream; each copy with the "
           "same id and the same bytes", came=f"{town!r}; {sum(town.copies().values())} publications", look=RUN,
           why="the id is all by which the stream and those who listen know a copy", service="relay")  # fmt: skip


@pytest.mark.city(started=False, shape="outbox_wire")
def test_a_relay_that_sleeps_is_overtaken(wired_town: Town, wire: BrokerWire) -> None:
    """While one relay sleeps with an event in hand, the other goes on, and takes that event over; order is kept."""
    town = wired_town
    sleeper = in_hand(town, wire)
    town.dozes("relay", sleeper)
    town.put(1, "noted")
    town.put(2, "started")
    others = town.has_told(("r-2", "started"))
    taken_over = town.has_told(("r-1", "started"), ("r-1", "noted"))
    town.city.resume("relay", sleeper)
    wire.let_go()
    town.put(1, "ended")
    expect(others and taken_over and town.all_told(), sent="the start of ride r-1, whose relay falls asleep before the "
           "broker has it; a note of r-1, a start of r-2; the relay wakes up; the end of r-1", look=RUN,
           expected="the other relay tells of r-2, and of r-1 LEASE_SECONDS later; r-1 in order, each event once",
           came=f"r-2 meanwhile: {others}; r-1 taken over: {taken_over}; {town!r}", service="relay",
           why="two relays are there so that one may die: not to tell everything twice, and not to overtake each other "
           "within a ride")  # fmt: skip


def test_a_refused_event_holds_up_its_ride_alone(town: Town) -> None:
    """Events that the stream refuses wait, with their reason, and their rides with them; all others go on."""
    ill, well = range(1, BATCH + 3), range(101, 107)
    town.all_told()
    took, began = town.stream_takes(SMALL), time.monotonic()
    for ride in (*ill, *well):
        town.ride(ride, TOO_LONG if ride in ill else "")
    all_others = {(f"r-{ride}", what) for ride in well for what in STEPS} | {(f"r-{ride}", "started") for ride in ill}
    expect(town.has_told(*all_others) and set(town.told()) == all_others,
           sent=f"{len(ill)} rides whose note is too long for the stream, then 6 other rides; BATCH is {BATCH}",
           expected="all events of the others; of these rides the start alone", came=f"{len(town.told())} events, "
           f"{len(all_others)} expected; {town!r}", look=RUN, service="relay", why="what one ride cannot say must not "
           "silence the city; and who hears of the end before the note bills the wrong ride")  # fmt: skip
    again = eventually(lambda: min(town.copies()[f"r-{ride}", "noted"] for ride in ill) >= 3, TOLD_SECONDS)
    most, allowed = max(town.copies().values()), 2 + (time.monotonic() - began) / BACKOFF_SECONDS
    reasons = list(town.outbox().values())
    expect(again and most <= allowed, sent="the same", expected=f"each is tried again, every {BACKOFF_SECONDS:g} s",
           came=f"{most} tries of one; 3 or more of each: {again}", look=RUN,
           service="relay", why="without a rest a few rows are a storm for the broker; with no second try they are "
           "lost when the cause is mended")  # fmt: skip
    expect(sum("message size exceeds" in reason for reason in reasons) == len(ill), sent="GET /outbox of the relay",
           expected=f"{len(ill)} rows with the stream's reason", came=reasons, look=RUN, service="relay",
           why="somebody has to see what waits, and why")  # fmt: skip
    town.stream_takes(took)
    expect(town.all_told(), sent="then the stream takes longer messages", expected="one event of each step, in order",
           came=town, look=RUN, service="relay", why="the cause is mended, and the rides have happened")  # fmt: skip


def test_two_relays_tell_once_and_in_order(quiet_town: Town) -> None:
    """Two relays find a full outbox, with times by clocks that go wrong: each event is published once, in order."""
    town = quiet_town
    for number, what in enumerate(STEPS):
        for ride in range(1, 13):
            town.put(ride, what, late=number * (ride % 3))
    town.city.launch("relay")
    expect(town.all_told(), sent="12 rides of 3 steps whose clocks stand still or go back, then two relays", look=RUN,
           expected="one event of each step, in the order of the commits; an empty outbox", came=town, service="relay",
           why="clocks differ, and an outbox that keeps what is told fills the disk")  # fmt: skip
    for ride in range(13, 31):
        town.put(ride, "started")
    town.all_told()
    twice = {"/".join(told): times for told, times in town.copies().items() if times > 1}
    expect(not twice, sent="then 18 more steps, one after the other", expected="54 publications in all", look=RUN,
           came=f"{town.copies().total()}: {twice}", service="relay", why="two relays that do the same work are "
           "slower than one, and only the stream's memory keeps the city from hearing it twice")  # fmt: skip


def test_a_late_commit_is_told_at_once(town: Town) -> None:
    """A step that began before another and is committed after it is told as soon as it is there."""
    town.city.scale("rides", 2)
    slow, fast = town.city["rides"].replica_urls
    with ThreadPoolExecutor(1) as pool:
        with town.lock():
            late = pool.submit(town.put, 1, "started", url=slow, within=2 * TOLD_SECONDS)
            asked = [town.web.get(f"{slow}/health/live").status_code for _ in range(3)]
            town.dozes("rides", 1)
        came = [town.put(2, "started", url=fast)]
        woken = town.has_told(("r-2", "started"), within=WOKEN_SECONDS)
        town.city.resume("rides", 1)
        came += [late.result()]
    expect(woken and town.all_told(WOKEN_SECONDS) and came == [201] * 2 and asked == [200] * 3,
           sent="a step at one replica of rides, which falls asleep before its commit; a step at the other one; the "
           "first wakes up", expected=f"201 for both, and each is told within {WOKEN_SECONDS:g} s; POLL_SECONDS is "
           f"{POLL_SECONDS}", came=f"{came}; r-2 in time: {woken}; {town!r}", look=f"{RECORD}; {RUN}", service="relay",
           why="what is committed late stands behind what is told already: whoever looks only ahead never sees it; and "
           "a bell that rings before the commit wakes nobody")  # fmt: skip
