"""Checks of task 5.3: a map that is drawn from events, whatever comes, and drawn anew while it is read."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from itertools import permutations
from typing import Any

import httpx
import pytest

from lab_services.bikeshare.streams import RIDES, make
from lab_services.checks import eventually, expect, rows, together
from lab_services.checks.broker_floods import flood

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with notices that only keep a ledger

BRING, SHOW, FACTS = "map_projection.py: bring", "map_projection.py: show", "map_facts.py: newest"
REBUILD, REACHED = "map_pictures.py: rebuild", "map_pictures.py: reached"
FLEET = {"A1": 5000, "B2": 5000, "C3": 5000}  # as in lab.toml
DRAWN_SECONDS, ANSWER_SECONDS, SEEN_SECONDS, SAID_SECONDS, FREE_SECONDS, WIPED_SECONDS = 8.0, 8.0, 5.0, 4.0, 1.0, 0.3
LOOKS = 30
STEPS, MOST_REBUILDS = 5, 5
MOST_LIVE = 600  # rides that start while the map is drawn anew; then it is quiet
TIMES = {
    1: "2099-01-01T00:00:00Z",
    2: "2026-06-01T12:00:00Z",
    3: "1999-01-01T00:00:00Z",
}  # the clock of the bike is off
KINDS = {1: "ride.started", 2: "ride.ended", 3: "ride.corrected"}
VERSIONS = {1: 1, 2: 2, 3: 1}
web = httpx.Client(timeout=ANSWER_SECONDS, trust_env=False)
Event = dict[str, Any]


def event(ride_id: str, number: int, version: int = 0, event_id: str = "", **facts: Any) -> Event:
    """Return event 1, 2 or 3 of a ride: from A1 to B2 for 300 cents, corrected to C3 and 200 cents."""
    data = {"ride_id": ride_id, "number": number, "rider_id": "ada", "bike_id": "b-1", "from_station": "A1"}
    if number > 1:
        data |= {"to_station": "B2" if number == 2 else "C3", "cents": 300 if number == 2 else 200}
    data = {key: value for key, value in {**data, **facts}.items() if value is not None}
    said = {"id": event_id or f"{ride_id}.{number}", "type": KINDS[number], "time": TIMES[number], "data": data}
    return {**said, "version": version or VERSIONS[number]}


def message(said: Event) -> tuple[str, bytes]:
    """Return an event as subject and content."""
    return f"{said['type']}.{said['data']['ride_id']}", json.dumps(said).encode()


def pictured(*told: Event) -> dict[str, Any]:
    """Return what the map has to show when these events were told: of each ride, the one with the highest number."""
    newest: dict[str, Event] = {}
    for data in (each["data"] for each in told):
        if data["number"] > newest.get(data["ride_id"], {"number": 0})["number"]:
            newest[data["ride_id"]] = data
    stations = Counter(FLEET)
    for ride in newest.values():
        stations[ride["from_station"]] -= 1
        stations.update([ride["to_station"]] if "to_station" in ride else [])
    ended = [ride["cents"] for ride in newest.values() if "cents" in ride]
    return {"stations": dict(stations), "riding": len(newest) - len(ended), "ended": len(ended), "cents": sum(ended)}


class Street:
    """The city with a spy at its broker, and notices with a ledger; `position` is that of the last message."""

    def __init__(self, city: Any, spy: Any, notices: Any) -> None:
        self.city, self.spy, self.notices, self.position = city, spy, notices, 0

    @cached_property
    def url(self) -> str:
        """Return the address of the map."""
        return str(self.city["citymap"].url)

    def tell(self, *told: Event) -> None:
        """Say these events, all at once."""
        self.position = flood(self.spy, [message(each) for each in told])

    def say(self, content: bytes) -> None:
        """Say whatever it is."""
        self.position = self.spy.keep("ride.said.r-0", content).seq

    def map(self) -> dict[str, Any]:
        """Return the map as it is shown now, or what came in its place."""
        answer = web.get(f"{self.url}/map")
        return dict(answer.json()) if answer.is_success else {"status": answer.status_code, "text": answer.text}

    def drawn(self) -> dict[str, Any]:
        """Return the map when it has come to the last message, or as it is after DRAWN_SECONDS."""
        eventually(lambda: self.map().get("position", -1) >= self.position, DRAWN_SECONDS)
        return self.map()

    def shows(self, *told: Event, set_aside: int = 0) -> bool:
        """Wait for the last message, and tell whether the map shows these events, and nothing else."""
        return self.drawn() == {"position": self.position, "set_aside": set_aside, **pictured(*told)}

    def rebuilt(self) -> httpx.Response:
        """Have the map drawn anew."""
        return web.post(f"{self.url}/rebuild")

    def noticed(self, times: int) -> list[str]:
        """Wait for as many notices, and return all there are."""
        eventually(lambda: len(self.notices.calls) >= times, SEEN_SECONDS)
        return [call.path for call in self.notices.calls]

    def sqlite(self, seconds: float = SEEN_SECONDS) -> sqlite3.Connection:
        """Open the database of the map; whoever writes waits so long for another writer."""
        return sqlite3.connect(self.city["citymap"].data / "citymap.db", timeout=seconds, isolation_level=None)

    @contextmanager
    def standing_still(self, seconds: float = SEEN_SECONDS) -> Iterator[None]:
        """Keep everybody else from writing into the database of the map; reading goes on."""
        with closing(self.sqlite(seconds)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    def free(self) -> bool:
        """Tell whether somebody else can write into the database of the map."""
        try:
            with self.standing_still(FREE_SECONDS):
                return True
        except sqlite3.OperationalError:
            return False

    def __repr__(self) -> str:
        """Say what a failure shows."""
        return json.dumps({"map": self.map(), "last message": self.position})


@pytest.fixture
def begin(city: Any, fake_service: Any, spy_on: Callable[[Any], Any]) -> Callable[..., Street]:
    """Start the city, without what is to be skipped."""
    notices = fake_service("notices", lambda call: (201, {}))

    def start(*skip: str) -> Street:
        city.start(replace={"notices": notices.url}, skip=skip)
        spy = spy_on(city)
        spy.work(lambda client: make(client, RIDES.evolve(max_age=0)))  # in case nobody is there yet who makes it
        return Street(city, spy, notices)

    return start


@pytest.fixture
def street(begin: Callable[..., Street]) -> Street:
    """A city without the source of the events: whoever asks it about a ride is refused."""
    return begin("rides")


@pytest.fixture
def unmapped(begin: Callable[..., Street]) -> Street:
    """The same, and the map is not there yet."""
    return begin("rides", "citymap")


@pytest.fixture
def whole(begin: Callable[..., Street]) -> Street:
    """A city with the service rides."""
    return begin()


def in_all_orders(name: str, event_id: str = "") -> list[Event]:
    """Return six rides whose three events come in every order, each of them twice."""
    orders = enumerate(permutations((1, 2, 3)))
    return [event(f"{name}-{place}", n, event_id=event_id) for place, order in orders for n in (*order, *order)]


def test_late_double_and_early_events_change_nothing(street: Street) -> None:
    """Events in every order, twice, by wrong clocks, under one id, all at once and singly; rides that never started."""
    told = in_all_orders("many")
    street.tell(*told)
    sent = "6 rides: started, ended, corrected in every order, each event twice; the bike's clock runs backwards"
    why = (
        "a stream says it again and says it late: what a ride is follows from the numbers of its events, not from when "
    )
    why += "or how often they come; a late start opens no ended ride again, and no bike is counted twice"
    expect(street.shows(*told), sent=sent, expected=pictured(*told), came=street, why=why, look=SHOW,
           service="citymap")  # fmt: skip
    told += (singly := in_all_orders("one", event_id="same")[::2])
    for each in singly:
        street.tell(each)
    told += (early := [event("early", 2), event("riding", 1), event("new", 1, from_station="D4")])
    street.tell(*early)
    expect(street.shows(*told), sent=f"{sent}; then such events one by one, all with one id; a ride that never started",
           expected=pictured(*told), came=street, why=f"{why}; what a sender calls its events is not what they tell",
           look=SHOW, service="citymap")  # fmt: skip


def apart(street: Street, part: int) -> list[dict[str, Any]]:
    """Look at the map until it has come to a position; return the looks that found other rides than it tells of."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        now = street.map()
        if now.get("riding") != now.get("position"):
            found.append(now)
        return now.get("position", part) >= part

    eventually(look, DRAWN_SECONDS)
    return found


def test_position_and_rows_are_never_apart(unmapped: Street) -> None:
    """At each look, and after kill -9 in the middle, the map shows exactly what was told up to its position."""
    street, told = unmapped, [event(f"r-{number}", 1) for number in range(2000)]
    street.tell(*told)
    street.city.launch("citymap")
    sent = "2,000 rides that start, one message each; looks at GET /map all the time; kill -9 at 700, launch"
    why = "a position that is written before its rows loses them when the process dies between; rows before their "
    why += "position are there again: only one transaction has no moment between"
    found = apart(street, 700)
    with street.standing_still():  # whoever writes is between two transactions when it dies
        street.city.kill("citymap")
    street.city.launch("citymap")
    found += apart(street, 2000)
    expect(not found, sent=sent, expected="as many rides under way as messages in the position, at each look",
           came=found[:3], why=why, look=BRING, service="citymap")  # fmt: skip
    expect(street.shows(*told), sent=sent, expected=pictured(*told), came=street, why=why, look=BRING,
           service="citymap")  # fmt: skip


def bad(**changes: Any) -> bytes:
    """Return a ride.ended with changes, of its own fields or of its data."""
    said = event("bad", 2)
    facts = {key: changes.pop(key) for key in tuple(changes) if key not in said}
    return json.dumps({**said, **changes, "data": {**said["data"], **facts}}).encode()


def without(field: str) -> bytes:
    """Return an event that lacks a field of its data."""
    return json.dumps(event("bad", 2, **{field: None})).encode()


BAD = {  # what is said, and a word that its reason has
    b"": "bytes",
    b"\xff\xfe": "JSON",
    b'{"id": "e-1", ': "JSON",
    b"[1, 2]": "object",
    bad(type="ride.melted"): "type",
    bad(version=3): "version",
    bad(version=0): "version",
    bad(number="7"): "number",
    bad(number=2**70): "number",
    bad(cents=-1): "cents",
    bad(cents=2.5): "cents",
    bad(rider_id="x" * 66_000): "bytes",
    bad(ride_id="../bad"): "ride_id",
    without("cents"): "cents",
    without("to_station"): "to_station",
    bad(version=1): "euros",
    bad(version=1, euros="three"): "euros",
    bad(version=1, euros="nan"): "euros",
    bad(version=1, euros="1e999"): "data.",  # more than fits anywhere, or than a ride can cost
    bad(version=1, euros=["3.40"]): "euros",
    json.dumps(event("r-0", 1, rider_id="eve")).encode(): "another",
}


def wrongly_aside(street: Street, positions: dict[int, bytes]) -> list[str]:
    """Tell what is set aside and should not be, what is missing there, and which reasons do not say why."""
    aside = {row["position"]: row for row in web.get(f"{street.url}/set_aside").json()}
    found = [f"not set aside: {content[:80]!r}" for place, content in positions.items() if place not in aside]
    found += [f"set aside: {row['content'][:80]}" for place, row in aside.items() if place not in positions]
    for place, row in aside.items():
        content = positions.get(place, b"")
        if row["content"] != content.decode(errors="backslashreplace"):
            found.append(f"{content[:80]!r} is kept as {row['content'][:80]}")
        if BAD.get(content, "") not in row["reason"]:
            found.append(f"{BAD[content]!r} is not in the reason of {content[:80]!r}: {row['reason']}")
    return found


def test_bad_messages_are_set_aside(street: Street) -> None:
    """What cannot be drawn is set aside, each with its reason, once; all others of 10,000 messages are on the map."""
    told = [event(f"r-{number % 2000}", 1) for number in range(10_000)]
    first, *others = (message(each) for each in told)
    *early, late = (("ride.said.r-0", content) for content in BAD)
    street.position = flood(street.spy, [first, *early, *others, late])
    sent = f"{len(BAD)} messages that cannot be drawn among 10,000 that can, one of them at the very end, all at once"
    why = "one bad message must not stop the map of the whole city, take others with it, or vanish without a trace"
    expect(street.shows(*told, set_aside=len(BAD)), sent=sent, came=street, look=BRING, service="citymap",
           expected={**pictured(*told), "set_aside": len(BAD)}, why=why)  # fmt: skip
    wrongly = wrongly_aside(street, {**dict(enumerate([*BAD][:-1], 2)), street.position: [*BAD][-1]})
    expect(not wrongly, sent=f"{sent}; GET /set_aside", expected="each of them as it came, with the reason",
           came=wrongly, why=why, look=f"{BRING}; {FACTS}", service="citymap")  # fmt: skip


EUROS = {"3.40": 340, "1.15": 115, "0.29": 29, "19.99": 1999, "4.35": 435, "0.00": 0, "1234.56": 123456}


def test_old_events_tell_what_they_told(street: Street) -> None:
    """Events of version 1, in euros, are drawn to the cent, at the price of their day, while their source is down."""
    old = [event(f"old-{n}", 2, version=1, cents=None, euros=euros) for n, euros in enumerate(EUROS)]
    told = [event(f"old-{n}", 2, cents=cents) for n, cents in enumerate(EUROS.values())]
    told += (new := [event(f"new-{cents}", 2, cents=cents) for cents in (7, 4999)])
    street.tell(*old, *new)
    drawn = street.shows(*told)
    costs = {name: web.get(f"{street.url}/rides/{name}").json().get("cents") for name in ("old-1", "old-2", "new-7")}
    sent = f"ride.ended of version 1 with {list(EUROS)}, of version 2 with 7 and 4,999 cents; the service rides is down"
    why = (
        "the stream keeps what was written years ago: whoever cannot read it any more, asks its source, or computes it "
    )
    why += "anew by today's tariff, draws another past"
    expect(drawn and costs == {"old-1": 115, "old-2": 29, "new-7": 7}, sent=sent, expected=pictured(*told),
           came=f"{costs}, {street}", why=why, look=FACTS, service="citymap")  # fmt: skip
    street.say(b"?")
    drawn, answer = street.shows(*told, set_aside=1), street.rebuilt()
    expect(drawn and answer.is_success and street.shows(*told, set_aside=1), sent=f"{sent}; one that is no JSON; POST "
           "/rebuild", expected={**pictured(*told), "set_aside": 1}, came=f"{answer.status_code}, {street}",
           why="what was drawn once is drawn again in the same way: a map follows from the events alone",
           look=f"{FACTS}; {REBUILD}", service="citymap")  # fmt: skip


class Riders:
    """They start rides while the map is drawn anew, and somebody looks at it all the time."""

    def __init__(self, street: Street, told: list[Event]) -> None:
        self.street, self.told, self.riding, self.over = street, list(told), threading.Event(), threading.Event()
        self.answer: httpx.Response | None = None
        self.seen: list[dict[str, Any]] = []
        self.base, self.first, self.looks_before = pictured(*told), street.position, 0

    def ride(self) -> None:
        """Start rides, a few at a time, until the rebuild is over, MOST_LIVE of them at most."""
        while not self.over.is_set() and len(self.told) < self.first + MOST_LIVE:
            few = [event(f"live-{len(self.told) + number}", 1) for number in range(4)]
            self.told += few
            self.street.tell(*few)
            self.riding.set()

    def rebuild(self) -> None:
        """Have the map drawn anew, when the first ride has started."""
        self.riding.wait(ANSWER_SECONDS)
        self.looks_before = len(self.seen)
        try:
            self.answer = self.street.rebuilt()
        finally:
            self.over.set()

    def look(self) -> None:
        """Look at the map until the rebuild is over, and once more."""
        while not self.over.is_set():
            self.seen.append(self.street.map())
        self.seen.append(self.street.map())

    def picture(self, position: int, spoiled: bool) -> dict[str, Any]:
        """Return the map as it has to be at a position; the old one has a cent too much."""
        new, stations = position - self.first, self.base["stations"]
        totals = {"riding": self.base["riding"] + new, "cents": self.base["cents"] + spoiled, "set_aside": 0}
        return {**self.base, **totals, "position": position, "stations": {**stations, "A1": stations["A1"] - new}}

    def odd(self) -> list[dict[str, Any]]:
        """Return the looks that saw no whole picture, one that is older than the look before, or the old one again."""
        found, before, spoiled = [], 0, True
        for each in self.seen:
            position = each.get("position", 0)
            if spoiled and each == self.picture(position, spoiled=False):
                spoiled = False
            if position < before or each != self.picture(position, spoiled):
                found.append(each)
            before = position
        return found

    def steps(self) -> int:
        """Return how many positions of the old picture were seen since the rebuild was asked for."""
        looks = self.seen[self.looks_before :]
        return len({each["position"] for each in looks if each.get("cents") == self.base["cents"] + 1})


def rebuilt_while_riding(street: Street, told: list[Event], sent: str) -> Riders:
    """Have the map drawn anew, and expect that nobody sees more of it than that a mistake has gone."""
    street.drawn()
    with closing(street.sqlite()) as db:
        db.execute("UPDATE drawn_rides SET cents = cents + 1 WHERE ride_id = 'r-1'")
    riders = Riders(street, told)
    together([riders.ride, riders.rebuild, riders.look], ANSWER_SECONDS)
    expect(not riders.odd(), sent=f"{sent}, and {len(riders.seen)} looks at the map", came=riders.odd()[:3],
           expected="each look finds all up to its position, first with the cent, then without, and never goes back",
           why="whoever wipes the map to draw it anew shows riders a city without bikes, and whoever swaps too early "
           "forgets those who rode meanwhile", look=REBUILD, service="citymap")  # fmt: skip
    expect(riders.answer is not None and riders.answer.is_success and street.shows(*riders.told), sent=sent,
           expected=pictured(*riders.told), came=f"{riders.answer!r}, {street}", look=REBUILD, service="citymap",
           why="drawn anew from the first message, the map is what it was, without the mistake, and with all who rode "
           "meanwhile")  # fmt: skip
    return riders


def test_nobody_notices_a_rebuild(unmapped: Street) -> None:
    """While the map is drawn anew riders ride on, and whoever looks sees the whole old picture or the whole new one."""
    street, steps = unmapped, 0
    told = [*(event(f"r-{n}", 1) for n in range(1500)), *(event(f"r-{n}", 2) for n in range(10))]
    street.tell(*told)
    street.city.launch("citymap")
    sent = "1,510 messages; in the table drawn_rides a ride gets a cent too much; POST /rebuild while rides start"
    for _ in range(MOST_REBUILDS):  # one can be over before a look has come between
        riders = rebuilt_while_riding(street, told, sent)
        told, steps = riders.told, max(steps, riders.steps())
        if steps >= STEPS:
            break
    expect(steps >= STEPS, sent=f"{sent}, {MOST_REBUILDS} times", came=f"{steps} positions", look=REBUILD,
           expected=f"the old picture goes on: {STEPS} positions of it are seen, at least", service="citymap",
           why="a rebuild can take an hour, and a map of an hour ago shows bikes that have gone")  # fmt: skip
    one_picture(street, sent)
    only_news(street, sent)


def only_news(street: Street, sent: str) -> None:
    """Expect that a ride that ends now is the only one of which a rider was told."""
    street.tell(event("last", 2))
    street.drawn()
    expect(street.noticed(1) == ["/notices/last.2"], sent=f"{sent}; then one ride ends", came=street.noticed(1)[:5],
           expected="a notice for the ride that ends now, and for no other", look=REBUILD, why="a replay is not news: "
           "whoever gives it to all handlers writes to every rider of the last year", service="citymap")  # fmt: skip


def one_picture(street: Street, sent: str) -> None:
    """Expect that the database has no remains of a rebuild."""
    left = rows(street.city["citymap"].data / "citymap.db", "SELECT DISTINCT picture FROM drawn_rides")
    expect(len(left) == 1, sent=sent, expected="one picture in the database", came=left, look=REBUILD,
           why="a picture that nobody looks at any more is a copy of the whole city", service="citymap")  # fmt: skip


def test_a_rebuild_that_fails_changes_nothing(street: Street) -> None:
    """The broker hangs, the map is killed in the middle, the stream has lost its beginning: the old picture stays."""
    street.tell(*(told := [event(f"r-{number}", 1) for number in range(100)]))
    old, sent = street.drawn(), "100 messages; the broker hangs; POST /rebuild"
    why = "a rebuild is begun when something is wrong already: whatever happens to it, the city keeps its map"
    street.city.pause("broker")
    rebuilding = threading.Thread(target=lambda: together([street.rebuilt], ANSWER_SECONDS))
    rebuilding.start()
    changed = eventually(lambda: street.map() != old, WIPED_SECONDS)
    expect(not changed, sent=sent, expected=old, came=street, why=why, look=REBUILD, service="citymap")
    expect(street.free(), sent=f"{sent}; somebody else writes into citymap.db", came="the database is locked",
           expected="the database is free", look=REBUILD, service="citymap", why="a transaction that is open while the "
           "broker is waited for stops whoever draws what happens now")  # fmt: skip
    street.city.kill("citymap")
    street.city.resume("broker")
    street.city.launch("citymap")
    rebuilding.join(ANSWER_SECONDS)
    stays(street, told, f"{sent}; kill -9 in the middle, launch", why)


def stays(street: Street, told: list[Event], sent: str, why: str) -> None:
    """Expect the picture of these events: after a rebuild that was killed, a whole one, and one that is refused."""
    expect(street.shows(*told), sent=sent, expected=pictured(*told), came=street, why=why, look=REBUILD,
           service="citymap")  # fmt: skip
    answer = street.rebuilt()
    expect(answer.is_success and street.shows(*told), sent=f"{sent}; POST /rebuild", expected=pictured(*told),
           came=f"{answer.status_code}, {street}", why=why, look=REBUILD, service="citymap")  # fmt: skip
    one_picture(street, f"{sent}; POST /rebuild")
    street.spy.jetstream("purge_stream", "RIDES", seq=2)
    answer = street.rebuilt()
    expect(answer.status_code == 409 and street.shows(*told), sent=f"{sent}; the first message is lost; POST /rebuild",
           expected=f"409, and {pictured(*told)}", came=f"{answer.status_code}, {street}", why=why, look=REBUILD,
           service="citymap")  # fmt: skip


def put(street: Street, ride_id: str) -> int:
    """Start a ride at the service rides, and return the position of its event."""
    start = {"rider_id": "ada", "bike_id": "b-1", "from_station": "A1"}
    answer = web.put(f"{street.city['rides'].url}/rides/{ride_id}/started", json=start)
    return int(answer.raise_for_status().json()["position"])


def ask(street: Street, at_least: int) -> httpx.Response:
    """Ask for a map that has this position at least."""
    return web.get(f"{street.url}/map", params={"at_least": at_least})


def stale(answer: Any, at_least: int) -> bool:
    """Tell whether an answer is no map, or one that does not have this position."""
    return not (isinstance(answer, httpx.Response) and answer.is_success and answer.json()["position"] >= at_least)


WHY_OWN = (
    "who has just started a ride and does not find it on the map starts another one: whoever asks for a position "
    "gets it, a little later, or hears that it is not there"
)


def test_a_reader_sees_its_own_write(whole: Street) -> None:
    """Whoever asks for the position of its own ride waits until the map has it; the others are served meanwhile."""
    street = whole
    answers = {position: ask(street, position) for position in (put(street, f"r-{number}") for number in range(10))}
    missed = [str(answer.text) for position, answer in answers.items() if stale(answer, position)]
    expect(not missed, sent="10 times PUT /rides/r-N/started, then GET /map?at_least=<position of the answer>",
           expected="200, with that position or a later one", came=missed[:3], why=WHY_OWN, look=REACHED,
           service="citymap")  # fmt: skip
    waiting: list[Any] = []
    with street.standing_still():
        position = put(street, "late")
        readers = threading.Thread(target=lambda: waiting.extend(together([lambda: ask(street, position)] * 6)))
        readers.start()
        others = together([lambda: [street.map() for _ in range(LOOKS)]], SAID_SECONDS)[0]
    readers.join(ANSWER_SECONDS)
    came = {"the 6": [str(getattr(answer, "text", answer)) for answer in waiting], "the other": repr(others)[:200]}
    kept_waiting = len(waiting) == 6 and not any(stale(answer, position) for answer in waiting)
    expect(kept_waiting and isinstance(others, list), came=came, look=REACHED, sent="nobody can write into citymap.db; "
           f"PUT /rides/late/started; 6 ask for its position; {LOOKS} looks at the map; now it can be written again",
           expected="the 6 wait for it, and nobody else waits with them", why=WHY_OWN, service="citymap")  # fmt: skip


@pytest.mark.city(started=False, shape="projection_hasty")
def test_a_map_that_is_not_there_yet_says_so(whole: Street) -> None:
    """A map that does not come to a position in time answers 503 with the position that it has, never an older map."""
    street = whole
    before = put(street, "r-1")
    first = ask(street, before)
    with street.standing_still():
        position = put(street, "r-2")
        answer, now = together([lambda: ask(street, position), lambda: ask(street, 0)], SAID_SECONDS)
    said = answer.json() if isinstance(answer, httpx.Response) and answer.status_code == 503 else {}
    expect(said.get("position") == before, sent="nobody can write into citymap.db; PUT /rides/r-2/started; GET "
           f"/map?at_least={position}", expected=f"503 after 0.3 s, with the position {before}", came=answer,
           why=WHY_OWN, look=REACHED, service="citymap")  # fmt: skip
    as_it_is = not stale(first, before) and not stale(now, before) and now.json()["position"] == before
    expect(as_it_is, sent="the same; GET /map", came=now, expected="the map as it is, for all who ask for no position",
           why=WHY_OWN, look=REACHED,
           service="citymap")  # fmt: skip
    expect(eventually(lambda: not stale(ask(street, position), position), SEEN_SECONDS), came=street, look=REACHED,
           sent="now it can be written; GET /map with the same position", expected="200", why=WHY_OWN,
           service="citymap")  # fmt: skip
