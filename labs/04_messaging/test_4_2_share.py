"""Checks of task 4.2: each ride is work for one worker of each service, and every display hears the storm."""

import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from lab_services.bikeshare.messages import new_event, written
from lab_services.checks import eventually, expect, rows, together

SHARING, DISPLAYS = "sharing.py: sharing", "displays.py: hearing"
WORKERS, MOST_AT_ONCE = 3, 4  # as in lab.toml and sharing.py
ROOM = WORKERS * MOST_AT_ONCE
LONG_SECONDS, LEAVE_SECONDS, NEVER_SECONDS = 4.0, 8.0, 0.15
PAUSE_SECONDS = 0.06  # for each price, while a worker leaves: rides are in line when its program comes to its end
PANEL_SECONDS = 3.0  # less than the 5 for which a display waits for its panel
HEALTH_SECONDS = 2.0  # PRICE_SECONDS of billing are 9: who waits with its price answers too late
LINE_SECONDS = 0.1  # on the way to the broker, and as much on the way back; two launches take a second together
PROBE = "probe"
IN_LINE = "what waits for its turn waits: a limit is no reason to drop a ride"
NEXT = (
    "the next free place is for the next message: whoever waits for a whole batch, or gives each place a line of its "
    "own, holds up rides behind one that is slow"
)
AGAIN = "the client subscribes again by itself, in its group or in none: who does it as well hears everything twice"
DEAF = "subscribe() only notes what is to be sent: before the broker has read it, who says he is ready is deaf"
LAUNCHED = "display 1, on a slow line, is launched; as soon as it is ready, the warning deluge is said"
QUIET = "who waits for a message with a limit, and leaves when it is over, works on busy days alone"
NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)
RIDERS = ("ada", "bo", "chen", "dora")
MILLION = b"x" * 1_000_000  # the broker takes it, up to 1 MB
BAD = {
    "nothing": b"",
    "no JSON": b'{"id": "r-1", "type"',
    "no event": b'["ride.ended"]',
    "an event of another type": written(new_event("ride.started", NOW, {"ride_id": "r-1"})),
    "an event of version 2": written(new_event("ride.ended", NOW, {"ride_id": "r-1"}, version=2)),
    "a million bytes": MILLION,
    "a ride without a rider": written(new_event("ride.ended", NOW, {"ride_id": "r-1", "minutes": 1})),
    "a rider without a wallet": written(
        new_event("ride.ended", NOW, {"ride_id": "r-1", "minutes": 1, "rider_id": "zoe"})
    ),
    "a ride that pricing refuses": written(
        new_event("ride.ended", NOW, {"ride_id": "r-1", "minutes": -1, "rider_id": "ada"})
    ),
}
REASONS = {"Unreadable", "KeyError", "LookupError", "HTTPStatusError"}
web = httpx.Client(timeout=HEALTH_SECONDS, trust_env=False)


class Pricing:
    """The service that billing asks: it can let rides wait, and counts who does. Ride 7 takes 7 minutes."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.waiting: list[int] = []
        self.most = 0  # that waited at the same time
        self.pause = 0.0  # of each price, once the gate is open
        self._held: Callable[[int], bool] = lambda ride: False
        self._open, self._guard = threading.Event(), threading.Lock()
        self.url = make("pricing", self.quote).url

    def quote(self, call: Any) -> tuple[int, Any]:
        """Answer as the pricing service does, when the gate is open."""
        if (ride := int(call.query["minutes"])) < 0:
            return 422, {"detail": "no ride takes so long"}
        with self._guard:
            self.waiting.append(ride)
            self.most = max(self.most, len(self.waiting))
        if self._held(ride):
            self._open.wait(2 * LONG_SECONDS)
        threading.Event().wait(self.pause)
        with self._guard:
            self.waiting.remove(ride)
        return 200, {"minutes": ride, "cents": cents(ride)}

    @contextmanager
    def holding(self, held: Callable[[int], bool] = lambda ride: True) -> Iterator[None]:
        """Let these rides wait for their price until the end."""
        self._held = held
        self._open.clear()
        try:
            yield
        finally:
            self.go_on()

    def go_on(self) -> None:
        """Let no ride wait any longer."""
        self._open.set()


@pytest.fixture
def prices(fake_service: Any) -> Pricing:
    """A pricing service with a gate."""
    return Pricing(fake_service)


def cents(ride: int) -> int:
    """Return what a ride costs."""
    return 100 + ride


def rider(ride: int) -> str:
    """Return whose ride it is."""
    return RIDERS[ride % len(RIDERS)]


def end_rides(spy: Any, numbers: Iterable[int]) -> None:
    """Say that these rides have ended."""
    for n in numbers:
        ride = {"ride_id": f"r-{n}", "rider_id": rider(n), "minutes": n}
        spy.publish("ride.ended", written(new_event("ride.ended", NOW, ride)))


def warn(spy: Any, *texts: str) -> None:
    """Say storm warnings, in this order."""
    for text in texts:
        spy.publish("storm.warning", written(new_event("storm.warning", NOW, {"text": text})))


class Books:
    """What the services of a city have written and tell."""

    def __init__(self, city: Any) -> None:
        self.city = city
        self.probes: set[int] = set()  # rides that may be billed, or not
        self.data = {name: city[name].data for name in ("billing", "displays")}
        self.urls = {name: city[name].replica_urls for name in ("billing", "counting", "displays")}

    def bills(self) -> Counter[int]:
        """Return how often each ride was billed."""
        found = rows(self.data["billing"] / "wallet.db", "SELECT ride_id FROM holds")
        return Counter(int(row["ride_id"][2:]) for row in found)

    def work(self, name: str) -> list[dict[str, Any]]:
        """Return what each replica tells of its work; one that is silent has done nothing."""
        return [work(url) for url in self.urls[name]]

    def shares(self) -> list[int]:
        """Return how many messages each worker of billing has done."""
        return [each["done"] for each in self.work("billing")]

    def told(self, name: str, what: str = "done") -> int:
        """Return how many messages the replicas of a service have done, all together."""
        return sum(each[what] for each in self.work(name))

    def drawn(self, panel: int) -> list[str]:
        """Return everything that a display shows, in its order."""
        found = rows(self.data["displays"] / f"panel-{panel}.db", "SELECT text FROM shown ORDER BY rowid")
        return [row["text"] for row in found]

    def shown(self, panel: int) -> list[str]:
        """Return what a display shows, without the probes of a check."""
        return [text for text in self.drawn(panel) if text != PROBE]

    def health(self, name: str) -> list[Any]:
        """Ask each replica whether it is alive, all at once."""
        return together([lambda url=url: health(url) for url in self.urls[name]])

    def broken(self, ended: Iterable[int]) -> list[str]:
        """Audit the laws, given the rides that have ended; of the probes nobody knows."""
        folder = self.data["billing"].parent / "rides"
        folder.mkdir(exist_ok=True)
        states = {**dict.fromkeys(self.probes, "started"), **dict.fromkeys(ended, "ended")}
        with closing(sqlite3.connect(folder / "rides.db")) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS rides(ride_id PRIMARY KEY, rider_id, bike_id, state, cents)")
            ride = "INSERT OR IGNORE INTO rides VALUES (?, ?, 'b-1', ?, ?)"
            db.executemany(ride, [(f"r-{n}", rider(n), state, cents(n)) for n, state in states.items()])
        return list(self.city.laws().broken)


def expect_bills(books: Books, rides: Iterable[int], sent: str, why: str) -> None:
    """Expect that each of these rides is billed once, and no other but probes, and that the law of money is kept."""
    rides = list(rides)
    eventually(lambda: all(books.bills()[n] for n in rides), LONG_SECONDS)
    bills, broken = books.bills(), books.broken(rides)
    missing, doubled = [n for n in rides if not bills[n]], [n for n in bills if bills[n] > 1]
    others = bills.keys() - set(rides) - books.probes
    came = f"not billed: {missing}; more than once: {doubled}; others: {sorted(others)}; laws broken: {broken[:3]}"
    expect(not (missing or doubled or others or broken), sent=sent, expected=f"each of {len(rides)} rides is billed "
           f"once, {min(rides)} to {max(rides)}", came=came, why=why, look=SHARING, service="billing")  # fmt: skip


def expect_health(answers: list[Any], sent: str, look: str, service: str) -> None:
    """Expect that each replica has answered."""
    expect(
        answers == [200] * len(answers),
        sent=f"{sent}; GET /health/live",
        expected="200 from each",
        came=[str(answer) for answer in answers],
        look=look,
        service=service,
        why="a callback that blocks stops the whole client: no health, no PONG, and the broker hangs up",
    )


def expect_panels(books: Books, panels: Iterable[int], texts: list[str], sent: str, why: str) -> None:
    """Expect that these displays show these warnings, in this order."""
    panels = list(panels)
    eventually(lambda: all(len(books.shown(n)) >= len(texts) for n in panels), PANEL_SECONDS)
    shown = {n: books.shown(n) for n in panels}
    expect(all(each == texts for each in shown.values()), sent=sent, expected=f"on panels {panels}: {texts}",
           came=shown, why=why, look=DISPLAYS, service="displays")  # fmt: skip


def work(url: str) -> dict[str, Any]:
    """Ask a replica for its work."""
    try:
        told: dict[str, Any] = web.get(f"{url}/work").raise_for_status().json()
    except httpx.HTTPError as error:
        return {"done": 0, "failed": 0, "reasons": [f"no answer: {type(error).__name__}"]}
    return told


def health(url: str) -> Any:
    """Ask a replica whether it is alive; silence is its exception."""
    try:
        return web.get(f"{url}/health/live").status_code
    except httpx.HTTPError as error:
        return error


@contextmanager
def busy_panel(books: Books, panel: int) -> Iterator[None]:
    """Keep a display from drawing: somebody else writes into its file."""
    with closing(sqlite3.connect(books.data["displays"] / f"panel-{panel}.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            db.execute("ROLLBACK")


def broker_comes_back(city: Any, books: Books, spy: Any) -> None:
    """Kill the broker, launch it, and say probes until each display has shown one, and one was billed and counted."""

    def back() -> bool:
        books.probes.add(probe := 1000 + len(books.probes))
        end_rides(spy, [probe])
        warn(spy, PROBE)
        return bool(all(books.drawn(n) for n in (1, 2, 3)) and books.bills() and books.told("counting"))

    city.kill("broker")
    city.launch("broker")
    eventually(back, LONG_SECONDS)


def counted_by(books: Books, rides: int) -> int:
    """Return how many rides were counted, once there are so many."""
    eventually(lambda: books.told("counting") >= rides, LONG_SECONDS / 2)
    return books.told("counting")


@contextmanager
def launched_on_a_slow_line(city: Any, books: Books, name: str) -> Iterator[None]:
    """Kill the first replica of a service and launch it on a slow line to the broker; go on as soon as it is ready."""
    city.kill(name, replica=1)
    city.edge(name, "broker").latency(LINE_SECONDS)
    launching = threading.Thread(target=city.launch, args=(name,), daemon=True)
    launching.start()
    # Asked early, it answers in the moment in which it begins to serve: no supervisor has to notice it first.
    eventually(lambda: web.get(f"{books.urls[name][0]}/health/ready").status_code == 200, LEAVE_SECONDS)
    yield
    launching.join(LEAVE_SECONDS)


@contextmanager
def leaving(city: Any, url: str) -> Iterator[None]:
    """Take the last worker away, and return when it has begun to leave; at the end, wait until it has gone."""
    address = (urlsplit(url).hostname, urlsplit(url).port)
    with socket.create_connection(address, LONG_SECONDS) as line:
        line.sendall(b"GET /health/live HTTP/1.1\r\nHost: billing\r\n\r\n")
        line.recv(4096)
        scaling = threading.Thread(target=city.scale, args=("billing", WORKERS - 1), daemon=True)
        scaling.start()
        with suppress(TimeoutError):
            while line.recv(4096):  # nothing more comes: who leaves closes the lines that are idle
                pass
        yield
    scaling.join(LEAVE_SECONDS)


@pytest.mark.city(replace={"pricing": "prices"}, skip=["displays"])
def test_each_service_gets_each_ride_once(city: Any, spy_on: Any) -> None:
    """Forty rides end: each is billed by one of three workers, and each is counted."""
    books, sent = Books(city), "40 rides end"
    end_rides(spy_on(city), range(40))
    eventually(lambda: books.told("billing") + books.told("counting") >= 80, LONG_SECONDS)
    bills, counted, shares = sum(books.bills().values()), books.told("counting"), books.shares()
    expect(bills + counted != 40, sent=sent, expected="40 bills, and 40 rides counted", look=SHARING,
           came=f"{bills} bills, and {counted} rides counted", service="billing",
           why="two services in one group steal from each other: what counting gets is never billed")  # fmt: skip
    expect_bills(books, range(40), sent, "in a group each message goes to one member: workers that have a group of "
                 "their own, or none, all take the money")  # fmt: skip
    expect(counted == 40, sent=sent, expected="40 rides counted", came=f"{counted} rides counted", look=SHARING,
           service="counting", why="each service gets each message, whoever else does")  # fmt: skip
    expect(min(shares) > 0 and sum(shares) == 40, sent=f"{sent}; GET /work at each replica of billing",
           expected="each of three has done some, 40 together", came=shares, look=SHARING, service="billing",
           why="a worker that gets nothing helps nobody; one that does not tell is not missed")  # fmt: skip


@pytest.mark.city(replace={"pricing": "prices"}, skip=["counting", "displays"])
def test_slow_prices_hold_up_what_they_must(city: Any, spy_on: Any, prices: Pricing) -> None:
    """Pricing hangs: each replica has four rides in work and answers HTTP; three slow rides hold up no other."""
    books, spy, sent = Books(city), spy_on(city), "60 rides end while pricing hangs"
    with prices.holding():
        end_rides(spy, range(60))
        eventually(lambda: len(prices.waiting) >= ROOM, LONG_SECONDS)
        reached = len(prices.waiting)
        expect_health(books.health("billing"), sent, SHARING, "billing")
        expect(reached >= ROOM, sent=sent, expected=f"{ROOM} in work: {MOST_AT_ONCE} at each of {WORKERS} replicas",
               came=f"{reached} in work", look=SHARING, service="billing",
               why="a worker that waits for one price does nothing else meanwhile")  # fmt: skip
        eventually(lambda: len(prices.waiting) > ROOM, NEVER_SECONDS)
    expect_bills(books, range(60), f"{sent}; then pricing goes on", IN_LINE)
    expect(prices.most <= ROOM, sent=f"{sent}; then pricing goes on", expected=f"never more than {ROOM} in work",
           came=f"{prices.most} in work", look=SHARING, service="billing",
           why="work without a bound: a service that is slow becomes one that is out of memory")  # fmt: skip
    with prices.holding(lambda ride: ride in (60, 61, 62)):
        end_rides(spy, range(60, 103))
        expect_bills(books, [*range(60), *range(63, 103)], "three rides end and get no price; 40 others end", NEXT)
    expect_bills(books, range(103), "then the three get their price", "slow is not failed")


@pytest.mark.city(replace={"pricing": "prices"}, skip=["counting", "displays"])
def test_no_failure_vanishes(city: Any, spy_on: Any) -> None:
    """What cannot be read or done is counted, with its reason, and the rides behind it are billed."""
    books, spy, sent = Books(city), spy_on(city), f"twelve times {list(BAD)}; then 30 rides"
    for content in [*BAD.values()] * 12:
        spy.publish("ride.ended", content)
    end_rides(spy, range(30))
    expect_bills(books, range(30), sent, "a message that fails gives its place back: else a handful of bad ones stops "
                 "the worker for good")  # fmt: skip
    eventually(lambda: (books.told("billing", "failed"), books.told("billing")) == (108, 30), LONG_SECONDS / 2)
    failed, done = books.told("billing", "failed"), books.told("billing")
    expect((failed, done) == (108, 30), sent=sent, expected="GET /work of billing: 108 failed, 30 done",
           came=f"{failed} failed, {done} done", look=SHARING, service="billing", why="an exception of a task or of "
           "a callback stops nobody and reaches nobody: money is missing, and no number says so")  # fmt: skip
    reasons = {reason.split(":")[0] for each in books.work("billing") for reason in each["reasons"]}
    expect(reasons >= REASONS, sent=sent, came=sorted(reasons), look=SHARING,
           expected=f"the reasons at GET /work: {sorted(REASONS)}", service="billing",
           why="who looks for the missing money asks for the reason")  # fmt: skip


@pytest.mark.city(replace={"pricing": "prices"}, skip=["counting", "displays"])
def test_who_leaves_ends_what_had_arrived(city: Any, spy_on: Any, prices: Pricing) -> None:
    """One of three workers is taken away with rides in work and in line: each ride is billed all the same."""
    books, spy = Books(city), spy_on(city)
    with prices.holding():
        end_rides(spy, range(60))
        eventually(lambda: len(prices.waiting) >= ROOM, LONG_SECONDS)
        with leaving(city, books.urls["billing"][-1]):
            prices.pause = PAUSE_SECONDS
            prices.go_on()
    workers = len(city["billing"].replica_urls)
    expect(workers == WORKERS - 1, sent='city.scale("billing", 2)', expected="2 workers", came=workers, look=SHARING,
           service="billing", why="who does not leave is in the way of the next version")  # fmt: skip
    expect_bills(books, range(60), 'city.scale("billing", 2) while 60 rides are in work and in line; as soon as the '
                 "third worker begins to leave, pricing goes on", "the broker has forgotten these rides: "
                 "who leaves without what is in line loses rides, or without what is in work")  # fmt: skip


@pytest.mark.city(skip=["billing", "pricing", "counting"])
def test_every_display_shows_the_storm(city: Any, spy_on: Any) -> None:
    """Thirty warnings: each display shows all in their order; one with a busy panel holds up none, and answers HTTP."""
    books, spy, texts = Books(city), spy_on(city), [f"storm {n % 7}" for n in range(30)]  # two events may say the same
    sent = "three bad events, then 30 warnings, while panel 2 is busy"
    with busy_panel(books, 2):
        for content in (b"", MILLION, written(new_event("storm.warning", NOW, {}))):
            spy.publish("storm.warning", content)
        warn(spy, *texts)
        expect_panels(books, [1, 3], texts, sent, "a warning is for everybody: in a group, one display would show it "
                      "and the others sunshine; and what was said last is what holds")  # fmt: skip
        expect_health([health(books.urls["displays"][1])], f"{sent}, at display 2", DISPLAYS, "displays")
    expect_panels(books, [2], texts, f"{sent}; then it is free", "what was said last is what holds: a warning that is "
                  "drawn on top of its end sends people into cellars")  # fmt: skip
    eventually(lambda: books.told("displays") == 90, LONG_SECONDS / 2)
    told = [(each["failed"], each["done"]) for each in books.work("displays")]
    expect(told == [(3, 30)] * 3, sent=f"{sent}; GET /work of each display", expected="3 failed, 30 done, three times",
           came=told, look=DISPLAYS, service="displays", why="an exception of a callback stops nobody and reaches "
           "nobody: the panel stays dark, and no number says so")  # fmt: skip


@pytest.mark.city(replace={"pricing": "prices"}, weather="calm")
def test_nobody_is_deaf_or_hears_twice(city: Any, spy_on: Any) -> None:
    """The broker is killed and launched, services are launched on a slow line: what they hear, they hear once."""
    books, spy, sent = Books(city), spy_on(city), "kill -9 of the broker, launch; when all are back"
    broker_comes_back(city, books, spy)
    warn(spy, "storm", "calm")
    end_rides(spy, range(30))
    expect_panels(books, (1, 2, 3), ["storm", "calm"], f"{sent}, the warnings storm and calm", AGAIN)
    expect_bills(books, range(30), f"{sent}, 30 rides end", AGAIN)
    with launched_on_a_slow_line(city, books, "displays"):
        warn(spy, "deluge")
    with launched_on_a_slow_line(city, books, "counting"):
        end_rides(spy, range(30, 33))
    sent = "counting, on a slow line, is launched; as soon as it is ready, 3 rides end"
    counted = counted_by(books, 3)
    expect(counted == 3, sent=sent, expected="3 rides counted", came=f"{counted} counted", why=DEAF, look=SHARING,
           service="counting")  # fmt: skip
    expect_bills(books, range(33), sent, QUIET)
    expect_panels(books, (1, 2, 3), ["storm", "calm", "deluge"], LAUNCHED, DEAF)
