"""Checks of task 5.5: rides start and are refused without a leader, then all is quiet; facts are CloudEvents."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from lab_services.bikeshare.streams import token
from lab_services.checks import eventually, expect, rows

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with a spy at its broker

SERVICES = ("wallet", "stations", "locks", "rides")
CAUSES = {"money.held": "ride.wanted", "bike.reserved": "money.held", "dock.opened": "bike.reserved"}
CAUSES |= {"ride.started": "dock.opened"}
SAYS = {"ride": "rides", "money": "wallet", "bike": "stations", "dock": "locks"}
MEDIA = "application/cloudevents+json"
KEPT_BYTES, ONE_MB = 64 * 1024, 1024 * 1024
IDLE_LOOKS = 5  # that find nothing to do: nobody will do anything more
SEEN_SECONDS, FLOOD = 6.0, 150  # more messages than any check makes: whoever gets there does not stop
DEPOSIT, CENTS, STUCK = 100_000, 500, "b-20"
WALLET, STATIONS = "dance_wallet.py: release, REACTIONS", "dance_stations.py: reserve, free, REACTIONS"
WRITES, READS, VERSIONS = "envelope.py: attributes", "envelope.py: read", "versions.py: from_minutes, from_euros"
CIRCLE = (
    "who says what has not changed, or hears what it has caused, is answered by its own echo, for ever: "
    "follow the causationid of a fact that comes twice"
)
web = httpx.Client(timeout=4, trust_env=False)


def envelope(name: str, ride_id: str, data: Any, version: int = 1, **more: Any) -> dict[str, Any]:
    """Return a fact as the JSON of a CloudEvent that somebody else says; an attribute of None is left out."""
    fields = {
        "specversion": "1.0", "id": f"{name}.{ride_id}", "source": "/old/city", "type": f"{name}.v{version}",
        "subject": ride_id, "time": "2026-05-04T12:00:00Z", "data": data,
    } | more  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


def wish(bike_id: str, cents: Any = CENTS, rider_id: str = "ada") -> dict[str, Any]:
    """Return the data of a fact in the newest version."""
    return {"rider_id": rider_id, "bike_id": bike_id, "cents": cents}


def envelope_in(content: bytes) -> dict[str, Any]:
    """Return the fields of an envelope; none of what is no JSON object."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


class Floor:
    """The city, a spy at its broker who hears every fact, and what a failure shows of them."""

    def __init__(self, city: Any, spy: Any) -> None:
        self.city, self.spy = city, spy
        self.bikes = count(1)
        spy.hears("fact.>")

    def want(self, ride_id: str, bike_id: str = "", rider_id: str = "ada", cents: int = CENTS) -> None:
        """Let a rider want a ride, with a bike of its own unless one is named."""
        body = wish(bike_id or f"b-{next(self.bikes):02}", cents, rider_id)
        web.put(f"{self.city['rides'].url}/rides/{ride_id}", json=body).raise_for_status()

    def withdraw(self, ride_id: str) -> None:
        """Let the rider go away."""
        web.put(f"{self.city['rides'].url}/rides/{ride_id}/withdrawn").raise_for_status()

    def say(self, content: Any, subject: str = "", media: str = MEDIA) -> bool:
        """Say a fact in the stream, and tell whether the stream took it."""
        whole = content if isinstance(content, bytes) else json.dumps(content).encode()
        if not subject:
            subject = f"fact.{content['type'].rpartition('.v')[0]}.{token(content['subject'])}"
        try:
            return bool(self.spy.keep(subject, whole, {"content-type": media}))
        except Exception:
            return False

    def say_good(self) -> bool:
        """Say three facts that have to be read: two of one id and different sources, one ahead of our clock."""
        ahead = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
        one, other = ({"source": source, "id": "ride.wanted.once"} for source in ("/old/city", "/new/city"))
        good = (("once", "b-01", one), ("twin", "b-05", other), ("ahead", "b-04", {"time": ahead}))
        return all(self.say(envelope("ride.wanted", ride, wish(bike), 3, **more)) for ride, bike, more in good)

    def rows(self, service: str, sql: str) -> list[dict[str, Any]]:
        """Return rows of a service's database."""
        return rows(self.city[service].data / f"{service}.db", sql)

    def states(self) -> dict[str, str]:
        """Return the state of each ride."""
        return {row["ride_id"]: row["state"] for row in self.rows("rides", "SELECT ride_id, state FROM rides")}

    def facts(self, ride_id: str = "") -> list[tuple[str, dict[str, Any]]]:
        """Return the facts that were heard, of one ride or of all: name and envelope."""
        heard = [(message.subject.split("."), message.data) for message in self.messages()]
        mine = [(parts, data) for parts, data in heard if not ride_id or parts[3] == token(ride_id)]
        return [(f"{parts[1]}.{parts[2]}", envelope_in(data)) for parts, data in mine]

    def messages(self) -> list[Any]:
        """Return the messages that the stream keeps; of a flood, those that were heard."""
        return list(self.spy.heard) if len(self.spy.heard) > FLOOD else self.spy.kept("FACTS")

    def counts(self) -> dict[str, int]:
        """Return how many messages each ride has cost."""
        return dict(Counter(message.subject.split(".")[3] for message in self.messages()))

    def idle(self, *services: str) -> bool:
        """Tell whether these services have nothing to hear, to do or to say."""
        before = self.spy.stream("FACTS").state.last_seq
        boxes = [self.spy.consumer("FACTS", service) for service in services]
        unsaid = [row for service in services for row in self.rows(service, "SELECT seq FROM outbox")]
        open_ones = sum(box.num_pending + box.num_ack_pending for box in boxes)
        return not open_ones and not unsaid and self.spy.stream("FACTS").state.last_seq == before

    def ends(self, **states: str) -> bool:
        """Wait until all is quiet, and tell whether rides have come to these states, as the laws want it."""
        still: Counter[int] = Counter()  # how often all was found idle behind the same message

        def ended() -> str:
            if len(self.spy.heard) > FLOOD:
                return "flood"
            if not self.idle(*SERVICES):
                return ""
            if self.states() == states and not self.leftovers() and self.city.laws().kept:
                return "well"
            last = self.spy.stream("FACTS").state.last_seq
            still[last] += 1
            return "quiet" if still[last] > IDLE_LOOKS else ""

        return eventually(ended, SEEN_SECONDS) == "well"

    def leftovers(self) -> list[str]:
        """Name what a refused ride still has: money or a bike; and what a started one lacks."""
        held = {row["ride_id"] for row in self.rows("wallet", "SELECT ride_id FROM holds WHERE state = 'open'")}
        bikes = self.rows("stations", "SELECT ride_id, reserved_for FROM bikes")
        out, kept = {bike["ride_id"] for bike in bikes}, {bike["reserved_for"] for bike in bikes} - {None}
        found = [f"a bike is still kept for {ride_id}" for ride_id in sorted(kept)]
        for ride_id, state in self.states().items():
            if state == "refused" and ride_id in held:
                found.append(f"money is still held for {ride_id}, which is refused")
            if state == "started" and not (ride_id in held and ride_id in out):
                found.append(f"{ride_id} is started without money or without a bike")
        return found

    def letters(self) -> list[Any]:
        """Return what lies in DEAD."""
        return self.spy.kept("DEAD")

    def dies_with_a_fact_in_hand(self, service: str) -> bool:
        """Kill a service that has a message in hand and has not acknowledged it; False when none came to it."""
        there = eventually(lambda: self.spy.consumer("FACTS", service).num_ack_pending, SEEN_SECONDS)
        self.city.kill(service)
        return bool(there)

    def killed_with_a_fact_in_hand(self) -> bool:
        """Let two rides be wanted, kill wallet and stations in the middle of them, and the broker; launch them."""
        with self.held_up("wallet"):
            self.want("well")
            self.want("ill", STUCK, "bo")
            wallet = self.dies_with_a_fact_in_hand("wallet")
        with self.held_up("stations"):
            self.city.launch("wallet")
            stations = self.dies_with_a_fact_in_hand("stations")
        self.city.kill("broker")
        for service in ("broker", "stations"):
            self.city.launch(service)
        return wallet and stations

    @contextmanager
    def held_up(self, service: str) -> Iterator[None]:
        """Keep a service from writing: whatever it has in hand, it has to wait."""
        with closing(sqlite3.connect(self.city[service].data / f"{service}.db", 5, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    def __repr__(self) -> str:
        """Say what a failure shows."""
        heard = self.counts()
        parts = {
            "states": self.states(),
            "messages of each ride": heard,
            "left": self.leftovers()[:4],
            "laws": self.city.laws().broken[:2],
            "of the longest": [name for name, _ in self.facts(max(heard, key=heard.__getitem__))][:12] if heard else [],
            "letters": [letter.headers.get("Reason") for letter in self.letters()][:4],
        }
        return json.dumps(parts)


@pytest.fixture
def begin(city: Any, spy_on: Callable[[Any], Any]) -> Callable[..., Floor]:
    """Start the city, without what is to be skipped."""

    def start(*skip: str) -> Floor:
        city.start(skip=skip)
        floor = Floor(city, spy_on(city))
        there = [service for service in SERVICES if service not in skip]
        eventually(lambda: all(floor.spy.consumer("FACTS", service) for service in there), SEEN_SECONDS)
        return floor

    return start


@pytest.fixture
def floor(begin: Callable[..., Floor]) -> Floor:
    """A city in which all four services listen."""
    return begin()


@pytest.fixture
def early_floor(begin: Callable[..., Floor]) -> Floor:
    """A city whose wallet is not there yet."""
    return begin("wallet")


def flaws(ride_id: str, name: str, story: Mapping[str, dict[str, Any]]) -> list[str]:
    """Name what is wrong with the envelope of a fact; `story` are the envelopes of its ride by name."""
    fields = story[name]
    cause, root = story.get(CAUSES.get(name, ""), {}), story.get("ride.wanted", {})
    wanted = {
        "specversion": "1.0", "source": f"/city/{SAYS[name.partition('.')[0]]}", "subject": ride_id,
        "type": f"{name}.v{3 if name == 'ride.wanted' else 1}", "datacontenttype": "application/json",
        "causationid": cause.get("id"), "correlationid": root.get("id"),
    }  # fmt: skip
    wrong = [key for key, value in wanted.items() if fields.get(key) != value]
    found = [f"{key} is {fields.get(key)!r}, not {wanted[key]!r}" for key in wrong]
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(fields["time"])
        found += [] if timedelta() <= age < timedelta(minutes=10) else [f"time is {fields['time']}"]
    except (KeyError, TypeError, ValueError):
        found.append(f"time is {fields.get('time')!r}, not a time with its zone")
    return [f"{name}: {flaw}" for flaw in found]


def test_a_start_is_five_facts_that_say_why(floor: Floor) -> None:
    """Rides start with five facts each, and no more; each is a CloudEvent that says who, what, when and why."""
    for ride_id, bike_id in (("r1", "b-01"), ("r.2", "b-02"), ("r1", "b-01")):
        floor.want(ride_id, bike_id)
    ended = floor.ends(**{"r1": "started", "r.2": "started"})
    expect(ended and floor.counts() == {"r1": 5, "r%2E2": 5}, sent="two rides are wanted, one of them twice",
           expected="started, 5 messages each, the laws are kept, then nothing more", came=floor, why=CIRCLE,
           look=f"{STATIONS}; {WALLET}", service="stations")  # fmt: skip
    stories = {ride_id: dict(floor.facts(ride_id)) for ride_id in ("r1", "r.2")}
    wrong = [flaw for ride_id, story in stories.items() for name in story for flaw in flaws(ride_id, name, story)]
    expect(not wrong, sent="the same", expected="ten envelopes as envelope.py wants them", came=wrong,
           why="who looks for the cause of a bill in a year has the envelopes, and nothing else: who said it, when, of "
           "which ride, and the chain of causes back to the rider", look=WRITES, service="wallet")  # fmt: skip
    ids = Counter((fields.get("source"), fields.get("id")) for _, fields in floor.facts())
    media = {message.headers.get("content-type") for message in floor.messages()}
    expect(len(ids) == 10 and media == {MEDIA}, sent="the same", came=[*ids, *media],
           expected=f"no source says an id twice, and each is {MEDIA}", why="two facts with one source and id are "
           "copies of one fact: the second is not heard", look=WRITES, service="wallet")  # fmt: skip


def test_what_is_refused_is_undone_and_then_all_is_quiet(floor: Floor) -> None:
    """No money, no bike, a stuck bolt: the ride is refused, what was done for it is undone, and the messages end."""
    floor.want("poor", "b-01", "poor")
    floor.want("first", "b-02")
    floor.want("second", "b-02", "bo")
    floor.want("stuck", STUCK, "chen")
    ended = floor.ends(poor="refused", first="started", second="refused", stuck="refused")
    sent = "ada and bo want the same bike, poor has no money, chen's bolt is stuck"
    expect(len(floor.spy.heard) <= FLOOD, sent=sent, expected="20 messages in all, at most", came=floor, why=CIRCLE,
           look=f"{STATIONS}; {WALLET}", service="stations")  # fmt: skip
    expect(ended, sent=sent, expected="one ride is started, three are refused, and keep neither money nor a bike",
           came=floor, why="there is no leader who would undo what is left: each service undoes its own part when it "
           "hears that the ride comes to nothing", look=f"{STATIONS}; {WALLET}", service="wallet")  # fmt: skip
    costs = floor.counts()
    most = {"poor": 3, "first": 5, "second": 5, "stuck": 7}
    expect(all(costs[ride_id] <= most[ride_id] for ride_id in most), sent=sent,
           expected="at most 3 messages without money, 5 without a bike, 7 without a bolt", came=floor, why=CIRCLE,
           look=f"{STATIONS}; {WALLET}", service="stations")  # fmt: skip
    floor.want("again", "b-02")
    floor.withdraw("first")
    rest = {"poor": "refused", "first": "started", "second": "refused", "stuck": "refused", "again": "refused"}
    expect(floor.ends(**rest), sent="b-02, which is away, is wanted again; ada withdraws, with the bolt open",
           expected="refused; her ride goes on", came=floor, why="what is open stays open: behind the pivot nothing is "
           "undone", look=STATIONS, service="stations")  # fmt: skip


def test_what_is_undone_first_is_not_done_later(floor: Floor) -> None:
    """Compensations that come before what they undo are remembered, also by services that are killed meanwhile."""
    floor.say(envelope("bike.freed", "early", wish("b-01")))
    floor.say(envelope("dock.refused", "soon", wish("b-02", rider_id="bo")))
    idle = eventually(lambda: floor.idle("wallet", "stations") or len(floor.spy.heard) > FLOOD, SEEN_SECONDS)
    silent = idle and len(floor.messages()) == 2
    expect(silent, sent="bike.freed and dock.refused of rides that nobody has wanted yet", came=floor,
           expected="nothing is said: nothing has changed", why=CIRCLE, look=f"{STATIONS}; {WALLET}",
           service="wallet")  # fmt: skip
    for service in ("wallet", "stations"):
        floor.city.kill(service)
    for ride_id, bike_id, rider_id in (("early", "b-01", "ada"), ("soon", "b-02", "bo"), ("gone", "b-03", "chen")):
        floor.want(ride_id, bike_id, rider_id)
    floor.withdraw("gone")
    for service in ("stations", "wallet"):
        floor.city.launch(service)
    expect(floor.ends(early="refused", soon="refused", gone="refused"), came=floor,
           sent="kill -9 of wallet and stations; the rides are wanted, a third one too, whose rider withdraws; launch",
           expected="all three are refused, and keep neither money nor a bike",
           why="nobody undoes twice: what is done after it was undone stays for ever. Who gives something up has to "
           "remember it, for longer than its process lives", look=f"{STATIONS}; {WALLET}",
           service="wallet")  # fmt: skip
    costs = floor.counts()
    expect(costs["early"] <= 4 and costs["soon"] <= 6 and costs["gone"] <= 8, sent="the same", came=floor,
           expected="at most 4 messages of early, 6 of soon and 8 of gone", why=CIRCLE,
           look=f"{STATIONS}; {WALLET}", service="wallet")  # fmt: skip


def test_whoever_dies_in_the_middle_dances_on(floor: Floor) -> None:
    """Wallet and stations are killed with a fact in hand, then the broker; each fact comes twice: no echo, no loss."""
    held = floor.killed_with_a_fact_in_hand()
    ended = floor.ends(well="started", ill="refused")
    expect(held and ended and floor.counts()["ill"] <= 7, came=floor,
           sent="kill -9 of wallet and stations, each with a fact in hand, and of the broker; launch",
           expected="one ride is started and one refused, with 7 messages at most",
           why="a crash is no reason to stop in the middle: the fact comes again, and the next service goes on",
           look=f"{STATIONS}; {WALLET}", service="stations")  # fmt: skip
    before = floor.messages()
    for message in before:
        floor.say(json.dumps(dict(reversed(json.loads(message.data).items())), indent=1).encode(), message.subject)
    ended = floor.ends(well="started", ill="refused")
    expect(ended and len(floor.messages()) == 2 * len(before) and not floor.letters(), came=floor,
           sent="each of the facts once more, its fields in another order", expected="no other message, no letter",
           why="a stream says everything at least once: a copy has the same source and id, and says nothing new",
           look=f"{READS}; {WRITES}", service="wallet")  # fmt: skip


OLD = {  # the data of a fact, its version, its time, and what it has to cost
    "spring": ({"rider": "ada", "bike": "b-01", "minutes": 7}, 1, "2024-05-04T12:00:00Z", 185),
    "summer": ({"rider": "bo", "bike": "b-02", "minutes": 7}, 1, "2025-07-01T12:00:00+02:00", 247),
    "winter": ({"rider": "bo", "bike": "b-03", "minutes": 7, "tariff": "student"}, 1, "2026-03-01T00:00:00Z", 305),
    "short": ({"rider_id": "ada", "bike_id": "b-04", "euros": 0.29}, 2, "2026-04-01T08:00:00Z", 29),
    "middle": ({"rider_id": "bo", "bike_id": "b-05", "euros": 4.35}, 2, "2026-04-01T08:00:00Z", 435),
    "long": ({"rider_id": "chen", "bike_id": "b-06", "euros": 16.1}, 2, "2026-04-01T08:00:00Z", 1610),
    "today": ({"rider_id": "chen", "bike_id": "b-07", "cents": 77}, 3, "2026-05-01T08:00:00Z", 77),
}


def test_old_facts_still_count(early_floor: Floor) -> None:
    """Facts in the forms of former years start rides at the prices of their time, whatever else their envelopes say."""
    floor = early_floor
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "priority": 3, "replayed": True}
    for ride_id, (data, version, time, _) in OLD.items():
        floor.say(envelope("ride.wanted", ride_id, data, version, time=time, **trace))
    floor.city.launch("wallet")
    ended = floor.ends(**dict.fromkeys(OLD, "started"))
    expect(ended and not floor.letters(), sent="seven facts ride.wanted, of versions 1, 2 and 3, from 2024 on",
           expected="seven rides are started", came=floor, why="a stream is a memory: whoever renames a field has to "
           "read what was written before, or the past is lost", look=f"{VERSIONS}; {READS}",
           service="wallet")  # fmt: skip
    paid = {row["ride_id"]: row["cents"] for row in floor.rows("wallet", "SELECT ride_id, cents FROM holds")}
    prices = {ride_id: cents for ride_id, (*_, cents) in OLD.items()}
    expect(paid == prices, sent="the same", expected=prices, came=paid, why="a replay must not change a price: the "
           "tariff is that of the day, and 4.35 euros are 435 cents", look=VERSIONS, service="wallet")  # fmt: skip
    told = [fields for name, fields in floor.facts() if name != "ride.wanted"]
    lost = [fields for fields in told if fields.get("correlationid") != f"ride.wanted.{fields.get('subject')}"]
    expect(told and not lost, sent="the same, in envelopes without a correlationid", came=lost[:2],
           expected="what follows, to the end, has the id of the old fact as its correlationid", look=WRITES,
           why="what was said before there was a correlationid is the root of its story", service="wallet")  # fmt: skip


def unreadable() -> dict[bytes, str]:
    """Return contents that nobody can read, each with a word that the reason has to have."""
    good = envelope("ride.wanted", "bad", wish("b-09"), 3)
    late = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    changes: list[tuple[str, Any, str]] = [
        ("id", None, "id"), ("id", "", "id"), ("id", 7, "id"), ("source", None, "source"), ("type", None, "type"),
        ("specversion", None, "specversion"), ("specversion", "0.3", "specversion"), ("subject", None, "subject"),
        ("specversion", "2.0", "specversion"), ("subject", "r.*.>", ""), ("data", None, "data"), ("data", [1], "data"),
        ("time", None, "time"), ("time", "2026-05-04T12:00:00", "time"), ("time", late, "time"), ("time", 5, ""),
        ("time", "noon", ""), ("type", "ride.melted.v1", "type"), ("type", "ride.wanted", "type"),
        ("type", "ride.wanted.v4", "version"), ("type", "ride.wanted.v1", "rider"), ("type", "ride.wanted.v2", "euros"),
        ("type", "money.held.v1", "subject"), ("data", wish("b-09", "77"), "cents"), ("data", {}, "rider_id"),
    ]  # fmt: skip
    fields = [({**good, name: value}, word) for name, value, word in changes]
    bad = {json.dumps({k: v for k, v in each.items() if v is not None}).encode(): word for each, word in fields}
    bad |= dict.fromkeys([b"\xff\xfe", b"{", b"null", b"[]", b'"id"', b"7", b"[" * 50_000], "")
    return bad | {b"": "bytes", b"x" * (KEPT_BYTES + 1): "bytes"}


def test_what_nobody_can_read_is_a_letter(floor: Floor) -> None:
    """What is no fact of ours lies in DEAD, as it came, with the reason; the rides behind it start."""
    bad, twice = unreadable(), envelope("ride.wanted", "once", wish("b-02"), 3)
    took = [floor.say(content, "fact.ride.wanted.bad") for content in bad]
    took += [floor.say(b"{}", "fact.ride.wanted.bad", media="application/json"), floor.say_good(), floor.say(twice)]
    refused = [floor.say(b"x" * size, "fact.ride.wanted.bad") for size in (ONE_MB // 2, ONE_MB + 1)]
    bad |= {b"{}": "content-type", json.dumps(twice).encode(): "id"}
    ended, letters = floor.ends(once="started", ahead="started", twin="started"), floor.letters()
    reasons = [(letter.data, letter.headers.get("Reason", "")) for letter in letters]
    missing = list(Counter(bad.keys()) - Counter(content for content, _ in reasons))
    expect(len(letters) == len(bad) and not missing, sent=f"{len(bad)} messages that are no facts",
           expected=f"{len(bad)} letters, word for word", came={"without a letter": missing[:3], "all": floor},
           look=READS, service="wallet", why="who takes a message for what it is not starts rides that nobody wanted, "
           "and who can neither read it nor set it aside gets it again and again")  # fmt: skip
    silent = [(content[:300], reason) for content, reason in reasons if bad.get(content, "") not in reason]
    expect(not silent, sent="the same", expected="each reason names what is wrong", came=silent[:2], look=READS,
           why="who opens a letter without a reason has to find the mistake once more", service="wallet")  # fmt: skip
    expect(ended and all(took) and not any(refused), sent="the same, then 3 facts, and 2 messages that are too long",
           expected="the 3 rides start, and the stream refuses the 2", came=floor, look=READS, service="wallet",
           why="what nobody can read must not hold up what is behind it")  # fmt: skip
