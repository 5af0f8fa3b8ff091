"""Checks of task 7.1: GET /metrics, held to what riders have asked and what they have got.

The check stands in for the docks, so it knows how long each of them took. What riders saw is the ledger: each request
by its method, its route and its status, and how long it took at most. A duration that rides tells lies between the
two, whatever else the machine does.
"""

import http.client
import itertools
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from lab_services.checks import eventually, expect, together

COUNTER, HISTOGRAM = "http_requests_total", "http_request_duration_seconds"
METRICS, MIDDLEWARE = "red_metrics.py: answer", "red_middleware.py: measured"
BUCKETS = "red_metrics.py: DURATION"
OBJECTIVE_SECONDS, MOST_BUCKETS, PRECISION = 0.5, 40, 0.15
FAST, SLOW = 0.2, 1.0  # between them quantiles are held to the precision
SETTLE_SECONDS, ANSWER_SECONDS = 2.0, 8.0
SCRAPE_SECONDS = 0.1  # between two looks at the totals
STRANGERS, TOGETHER, AT_ONCE = 400, 20, 4  # so many of them one after the other, in so many rows
WAITS = {0.24: 10, 0.36: 8, 0.64: 12}  # so many docks take so many seconds
SURELY_KEPT = 0.48  # a rider who saw no more than this was served within 0.5 s, whatever a clock rounds
FAR_SECONDS = 0.31
TEXTS = ("text/plain", "application/openmetrics-text")
hasty = pytest.mark.city(started=False, shape="red_hasty")  # rides waits for a dock for 0.25 s
pytestmark = pytest.mark.city(started=False)  # the fixture `town` starts it
QUIET = ("/metrics", "/health/live", "/health/ready")
ROUTES = {"/rides": r"/rides", "/rides/{ride_id}": r"/rides/[^/]+", "/rides/{ride_id}/track": r"/rides/[^/]+/track"}
STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
Asked = tuple[str, str, Any]  # method, path and content
Kind = tuple[str, str, str]  # method, route and status, as rides has to count a request
Series = tuple[str, frozenset[tuple[str, str]]]


class Docks:
    """Stands in for the docks: a bike's name begins with what its dock does."""

    def __init__(self) -> None:
        self.go, self.asked, self.took = threading.Event(), Counter[str](), dict[str, float]()

    def __call__(self, call: Any) -> tuple[int, Any]:
        began, bike = time.perf_counter(), call.path.split("/")[2]
        what, _, seconds = bike.partition("-")
        self.asked[bike] += 1
        opening = call.method == "POST"
        if what == ("held" if opening else "away"):
            self.go.wait(ANSWER_SECONDS)
        if what == ("slow" if opening else "far"):
            threading.Event().wait(float(seconds.split("-")[0]))
        self.took[f"{call.method} {bike}"] = time.perf_counter() - began
        if opening and what in ("gone", "jammed"):
            return {"gone": 409, "jammed": 503}[what], {}
        return 200, {} if what == ("broken" if opening else "lost") else {"dock": "ulm-3"}


class Scrape:
    """One answer to GET /metrics, as Prometheus reads it."""

    def __init__(self, status: int, content_type: str, text: str) -> None:
        self.status, self.content_type, self.text = status, content_type, text
        reader = openmetrics if "openmetrics" in content_type else parser
        try:
            families = list(reader.text_string_to_metric_families(text))
        except Exception:
            families = []
        self.types = {sample.name: family.type for family in families for sample in family.samples}
        samples = [each for family in families for each in family.samples if not each.name.endswith("_created")]
        self.series: dict[Series, float] = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
        self.twice = len(samples) - len(self.series)

    def of(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series of this name."""
        return [(dict(labels), value) for (found, labels), value in self.series.items() if found == name]

    def kinds(self) -> Counter[Kind]:
        """Return how many requests of each kind were counted."""
        found = Counter[Kind]()
        for labels, value in self.of(COUNTER):
            kind = labels.get("method", "no method"), labels.get("route", "no route"), labels.get("status", "no status")
            found[told(kind)] += int(value)
        return found

    def timed(self) -> Counter[tuple[str, str]]:
        """Return for how many requests of each method and route a duration was counted."""
        found = Counter[tuple[str, str]]()
        for labels, value in self.of(f"{HISTOGRAM}_count"):
            found[labels.get("method", "no method"), labels.get("route", "no route")] += int(value)
        return found

    def buckets(self, route: str) -> dict[float, float]:
        """Return how many requests of a route took so many seconds at most."""
        found = Counter[float]()
        for labels, value in self.of(f"{HISTOGRAM}_bucket"):
            found[float(labels["le"])] += value * (labels.get("route") == route)
        return dict(sorted(found.items()))

    def fallen(self, before: "Scrape") -> list[str]:
        """Return the totals that are lower than in a scrape before, or not there any more."""
        totals = [key for key in before.series if before.types[key[0]] in ("counter", "histogram")]
        lower = [key for key in totals if self.series.get(key, -1) < before.series[key]]
        return sorted(f"{name} {dict(sorted(labels))}" for name, labels in lower)


def told(kind: Kind) -> Kind:
    """Return a kind as it is compared: of a 405 the route is left open."""
    return (kind[0], "any", kind[2]) if kind[2] == "405" else kind


def kind_of(method: str, path: str, status: int | str) -> Kind:
    """Return how a request has to be counted."""
    route = next((route for route, form in ROUTES.items() if re.fullmatch(form, path)), "unknown")
    return told((method if method in ("GET", "POST") else "other", route, str(status)))


@dataclass(frozen=True)
class Answer:
    """What a rider has got, and after how many seconds; the status of an answer that broke off is 500."""

    status: int
    content: bytes
    seconds: float

    @property
    def path(self) -> str:
        """The path of the ride that was started."""
        return f"/rides/{json.loads(self.content)['ride_id']}" if self.status == 201 else "/rides/none"


class Town:
    """rides with two replicas, docks of the check, and the ledger of what riders have asked."""

    def __init__(self, city: Any, docks: Docks) -> None:
        self.city, self.docks = city, docks
        self.ledger, self._guard = Counter[Kind](), threading.Lock()
        self._traces = itertools.count(1)

    def line(self, replica: int) -> http.client.HTTPConnection:
        """Return a new connection to a replica, 1 or 2."""
        address = urlsplit(self.city["rides"].replica_urls[replica - 1])
        return http.client.HTTPConnection(str(address.hostname), address.port, timeout=ANSWER_SECONDS)

    def ask(self, method: str, path: str, wish: Any = None, line: Any = None, **headers: str) -> Answer:
        """Ask, replica 1 where no line is given, and note in the ledger what has come."""
        connection, began = line or self.line(1), time.perf_counter()
        body = None if wish is None else json.dumps(wish)
        connection.request(method, path, body, headers | ({"content-type": "application/json"} if body else {}))
        answer = connection.getresponse()
        try:
            got = Answer(answer.status, answer.read(), time.perf_counter() - began)
        except http.client.HTTPException:
            got = Answer(500, b"", time.perf_counter() - began)
        if not line or got.status == 500:  # behind an exception the web server hangs up
            connection.close()
        with self._guard:
            self.ledger[kind_of(method, path, got.status)] += path not in QUIET
        return got

    def start(self, bike: str, line: Any = None) -> Answer:
        """Start a ride."""
        return self.ask("POST", "/rides", {"bike_id": bike, "rider_id": f"rider of {bike}"}, line)

    def rush(self, asked: list[Asked], replica: int) -> None:
        """Ask for all of this on one connection, without a wait for an answer before the next, and note what comes."""
        heads = "host: rides\r\ncontent-type: application/json\r\n"
        with closing(self.line(replica)) as line:
            line.connect()
            for method, path, wish in asked:
                body = "" if wish is None else json.dumps(wish)
                trace = f"traceparent: 00-{next(self._traces):032x}-{1:016x}-01"
                head = f"{method} {path} HTTP/1.1\r\n{heads}{trace}\r\ncontent-length: {len(body)}\r\n\r\n"
                line.send((head + body).encode())
            came = b""
            while len(STATUS.findall(came)) < len(asked) and (piece := line.sock.recv(65536)):
                came += piece
        statuses = [found.decode() for found in STATUS.findall(came)] + ["none"] * len(asked)
        with self._guard:
            for (method, path, _), status in zip(asked, statuses, strict=False):
                self.ledger[kind_of(method, path, status)] += 1

    def leave(self, method: str, path: str, bike: str) -> None:
        """Ask, and hang up while the dock of this bike does nothing; return when rides has had time to see it."""
        line, before = self.line(1), self.docks.asked[bike]
        body = json.dumps({"bike_id": bike, "rider_id": "bob"}) if method == "POST" else None
        line.request(method, path, body, {"content-type": "application/json"})
        eventually(lambda: self.docks.asked[bike] > before, SETTLE_SECONDS)
        line.close()
        for _ in range(3):  # one event loop reads both, and what came first, first
            self.ask("GET", "/health/live")
        self.ledger[kind_of(method, path, 499)] += 1

    def scrape(self, replica: int = 1) -> Scrape:
        """Ask a replica for its metrics."""
        line = self.line(replica)
        line.request("GET", "/metrics")
        answer = line.getresponse()
        text = answer.read().decode(errors="replace")
        line.close()
        return Scrape(answer.status, answer.getheader("content-type", ""), text)

    def settled(self, replica: int = 1) -> Scrape:
        """Return what a replica tells as soon as it is the ledger, or what it tells when time is up."""
        found: list[Scrape] = []

        def agrees() -> bool:
            found[:] = [self.scrape(replica)]
            return not self.difference(found[0])

        eventually(agrees, SETTLE_SECONDS)
        return found[0]

    def difference(self, scrape: Scrape) -> dict[str, Any]:
        """Return where the metrics are not what riders saw."""
        kinds, timed, sent = scrape.kinds(), scrape.timed(), Counter[tuple[str, str]]()
        for (method, route, _), times in self.ledger.items():
            sent[method, route] += times
        found = {
            "not counted": said(self.ledger - kinds),
            "counted, and not asked": said(kinds - self.ledger),
            "requests without a duration": said(sent - timed - sent_to("any", sent)),
            "more durations than requests": max(0, timed.total() - sent.total()),
        }
        return {name: what for name, what in found.items() if what}


def sent_to(route: str, sent: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Return the part of a ledger that belongs to one route."""
    return Counter({kind: times for kind, times in sent.items() if kind[1] == route})


def said_all(kinds: Counter[Kind]) -> str:
    """Return a whole ledger in words."""
    return ", ".join(f"{times} x {' '.join(kind)}" for kind, times in sorted(kinds.items()) if times)


def example(series: Iterable[Series]) -> str:
    """Return one of some series in words."""
    return next((f"{name} {dict(sorted(labels))}" for name, labels in sorted(series, key=str)), "none")


def said(kinds: Counter[Any]) -> dict[str, int]:
    """Return the first kinds of a ledger in words."""
    return {" ".join(kind): kinds[kind] for kind in sorted(+kinds)[:6]}


@dataclass(frozen=True)
class Waits:
    """How long some requests took: `least`, as their docks took so long, and `most`, as their riders waited so long."""

    least: list[float]
    most: list[float]

    def kept(self) -> tuple[int, int]:
        """Return between which numbers of them took OBJECTIVE_SECONDS at most."""
        return sum(each <= SURELY_KEPT for each in self.most), sum(each <= OBJECTIVE_SECONDS for each in self.least)

    def off(self, share: float, buckets: dict[float, float]) -> str:
        """Return what is wrong with a quantile that these buckets tell, empty when it is as precise as it has to be."""
        place = math.ceil(share * len(self.least)) - 1
        low, high = sorted(self.least)[place], sorted(self.most)[place]
        most = high * (1 + PRECISION) if high <= SLOW else math.inf  # of what took longer nothing is promised
        found = quantile(share, buckets)
        fine = low * (1 - PRECISION) <= found <= most
        return "" if fine else f"p{100 * share:g} is {found:.3g} s; it was between {low:.2f} and {high:.2f} s"


def quantile(share: float, buckets: dict[float, float]) -> float:
    """Estimate a quantile as Prometheus's histogram_quantile does: linear within a bucket, from 0 in the first."""
    edges, rank = sorted(buckets), share * max(buckets.values(), default=0)
    place = next((place for place, edge in enumerate(edges) if buckets[edge] >= rank), 0)
    if not edges or edges[place] == math.inf:
        return edges[-2] if len(edges) > 1 else math.nan
    low, below = (edges[place - 1], buckets[edges[place - 1]]) if place else (0.0, 0.0)
    return low + (edges[place] - low) * (rank - below) / max(buckets[edges[place]] - below, 1)


def worst_estimate(edges: list[float]) -> tuple[float, str]:
    """Return by how much these edges can mislead, where all durations are the same; and for which one they do."""
    found = []
    for duration in (FAST + step * (SLOW - FAST) / 400 for step in range(1, 400)):
        buckets = {edge: 1000.0 * (duration <= edge) for edge in edges}
        for share in (0.01, 0.5, 0.99):
            estimate = quantile(share, buckets)
            wrong = abs(estimate / duration - 1)
            found.append((wrong, f"of 1,000 rides that take {duration:.3f} s, p{100 * share:g} is {estimate:.3f} s"))
    return max(found)


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make these calls at the same time, return what they return, and raise what one of them raises."""
    found = together(calls)
    for each in found:
        if isinstance(each, Exception):
            raise each
    return found


@pytest.fixture
def docks() -> Iterator[Docks]:
    """The docks of the check."""
    docks = Docks()
    yield docks
    docks.go.set()


@pytest.fixture
def town(city: Any, docks: Docks, fake_service: Callable[..., Any]) -> Town:
    """A city with these docks."""
    city.start(replace={"docks": fake_service("docks", docks).url})
    return Town(city, docks)


def stranger(number: int) -> list[Asked]:
    """Return what somebody asks for whom nobody has seen before."""
    name = f"{number:05d}"
    paths = [("GET", f"/wp-login-{name}"), ("GET", f"/.env-{name}"), ("PROPFIND", f"/x{name}?rider={name}")]
    wishes = [("POST", "/rides", {"rider_id": name}), ("PUT", f"/rides/x{name}", {"rider_id": name})]
    return [(method, path, None) for method, path in paths] + wishes


def one_of_each(town: Town, line: Any = None, number: int = 0) -> None:
    """Ask once for everything that ends at once."""
    for bike in ("gone", "jammed", "broken"):
        town.start(f"{bike}-{number:05d}", line)
    ride = town.start(f"fine-{number:05d}", line).path
    for path in (ride, f"{ride}/track", f"/rides/x{number:05d}", f"/rides/x{number:05d}/track"):
        town.ask("GET", path, line=line)
    for method, path, wish in stranger(number):
        town.ask(method, path, wish, line)


def rush(town: Town, before: Scrape) -> tuple[list[str], Scrape]:
    """Let strangers come, as long as series have not doubled; return what has fallen, and the last scrape."""
    over, fallen, last = threading.Event(), list[str](), before

    def ride(first: int) -> None:
        replica = 1 + first % 2
        for number in range(first, STRANGERS, TOGETHER * AT_ONCE):
            if not over.is_set():
                one_of_each(town, town.line(replica), number + 1)
                strangers = range(number + 1 + AT_ONCE, number + 1 + TOGETHER * AT_ONCE, AT_ONCE)
                town.rush([asked for each in strangers for asked in stranger(each)], replica)

    def watch() -> None:
        nonlocal last
        while not over.wait(SCRAPE_SECONDS) and len(last.series) < 2 * len(before.series):
            new = town.scrape(2)
            fallen.extend(new.fallen(last))
            last = new
        over.set()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        at_once([lambda first=first: ride(first) for first in range(AT_ONCE)])
    finally:
        over.set()
        watching.join()
    return fallen, last


@hasty
def test_every_request_is_counted_once(town: Town) -> None:
    """Whatever a request ends with, it is counted once, with its route; the city's own questions are not."""
    slow = threading.Thread(target=town.start, args=("held-1",))
    slow.start()
    one_of_each(town)
    for path in ("/health", "/healthy", "/rides/metrics", "/rides/health", "/metrics/x", *QUIET):
        town.ask("GET", path)
    slow.join()
    scrape, sent = town.settled(), said_all(town.ledger)
    expect(scrape.status == 200 and scrape.content_type.startswith(TEXTS) and scrape.series and not scrape.twice,
           sent="GET /metrics", expected="200, text as Prometheus reads it, with its Content-Type, each series once",
           came=f"{scrape.status}, {scrape.content_type}, {scrape.twice} series are there twice: {scrape.text[:200]}",
           look=METRICS, service="rides", why="Prometheus keeps nothing of what it cannot read")  # fmt: skip
    types = {name: scrape.types.get(name) for name in (COUNTER, f"{HISTOGRAM}_count")}
    expect(types == {COUNTER: "counter", f"{HISTOGRAM}_count": "histogram"}, sent="GET /metrics", look="red_metrics.py",
           expected=f"{COUNTER} is a counter, {HISTOGRAM} a histogram", came=types, service="rides",
           why="of a gauge nobody takes a rate: it may fall, so what was counted cannot be told from it")  # fmt: skip
    expect(not town.difference(scrape), sent=f"{sent}; and {', '.join(QUIET)}", expected="each of them once, and "
           "nothing for the last three", came=town.difference(scrape), look=MIDDLEWARE, service="rides",
           why="what is not counted did not happen, and a health check that is counted makes every hour look "
           "good")  # fmt: skip


def test_broken_and_given_up_is_no_success(town: Town) -> None:
    """An answer that breaks off is a 500, one that nobody waits for any more a 499, whatever its first line says."""
    lost, away, fine = (town.start(bike).path for bike in ("lost-1", "away-1", "fine-1"))
    town.ask("GET", f"{lost}/track")
    town.ask("GET", f"{fine}/track")
    town.leave("POST", "/rides", "held-1")
    town.leave("GET", f"{away}/track", "away-1")
    patient = threading.Thread(target=town.start, args=("held-2",))
    patient.start()
    eventually(lambda: town.docks.asked["held-2"], SETTLE_SECONDS)
    town.docks.go.set()
    patient.join()
    scrape = town.settled()
    expect(not town.difference(scrape), sent=f"rides and tracks; one track broke off, the riders of one ride and "
           f"of one track hung up while the dock was slow, and one rider waited: {said_all(town.ledger)}",
           expected="each of them once", came=town.difference(scrape), look=MIDDLEWARE, service="rides",
           why="riders who got half an answer, or went home, are the ones that an objective is about")  # fmt: skip


def test_riders_make_no_series(town: Town) -> None:
    """2,000 requests with names, bikes, paths and traces of their own make no new series; no total falls meanwhile."""
    one_of_each(town)
    before = town.settled()
    fallen, last = rush(town, before)
    after = last if len(last.series) > len(before.series) else town.settled()
    more = after.series.keys() - before.series.keys()
    expect(not more, sent=f"a request of each kind, then {town.ledger.total()} of others", look=MIDDLEWARE,
           expected=f"{len(before.series)} series, as before", came=f"{len(after.series)}, for example {example(more)}",
           service="rides", why="each series is kept in memory, here and in Prometheus: a scanner that tries paths "
           "brings both down")  # fmt: skip
    expect(not fallen, sent="GET /metrics again and again meanwhile", expected="no total is lower than before",
           came=fallen[:3], look="red_metrics.py", service="rides", why="Prometheus takes a total that falls for a "
           "restart, and counts everything anew")  # fmt: skip
    expect(not town.difference(after), sent=f"{town.ledger.total()} requests, at both replicas, four at once",
           expected="each is counted", came=town.difference(after), look=MIDDLEWARE, service="rides",
           why="a rate that misses requests when there are many is wrong when it is needed")  # fmt: skip


def test_the_buckets_fit_the_objective(town: Town) -> None:
    """A bucket ends at 0.5 s, and no quantile between 0.2 and 1 s can be estimated wrong by more than 15 %."""
    town.start("fine-1")
    buckets = town.settled().buckets("/rides")
    edges = [edge for edge in buckets if edge < math.inf]
    expect(OBJECTIVE_SECONDS in edges and len(buckets) <= MOST_BUCKETS, sent="GET /metrics", expected=f"{MOST_BUCKETS} "
           f"buckets at most, one of which ends at {OBJECTIVE_SECONDS:g}", came=edges, look=BUCKETS, service="rides",
           why="how many rides kept the objective is then a number that was counted, and no estimate")  # fmt: skip
    wrong, case = worst_estimate([*edges, math.inf])
    expect(wrong <= PRECISION, sent=f"GET /metrics; its edges are {edges}", expected=f"no quantile between {FAST:g} "
           f"and {SLOW:g} s that is estimated wrong by more than 15 %", came=f"{wrong:.0%}: {case}", look=BUCKETS,
           service="rides", why="an estimate between 0.25 and 0.5 s says nothing about a day on which rides become "
           "slower by a third")  # fmt: skip


def test_durations_are_what_riders_waited(town: Town) -> None:
    """Thirty rides wait for their docks, and four tracks in the middle of their body: the histogram tells how long."""
    bikes = [f"slow-{seconds}-{n}" for seconds, rides in WAITS.items() for n in range(rides)]
    far = [f"far-{FAR_SECONDS}-{n}" for n in range(4)]
    started = at_once([lambda bike=bike: town.start(bike) for bike in far])
    asked = [lambda ride=ride: town.ask("GET", f"{ride.path}/track") for ride in started]
    answers = at_once([*asked, *(lambda bike=bike: town.start(bike) for bike in bikes)])
    tracks, started = answers[: len(far)], started + answers[len(far) :]
    scrape, took = town.settled(), town.docks.took
    waits = Waits([took[f"POST {bike}"] for bike in far + bikes], [ride.seconds for ride in started])
    kept, wanted = scrape.buckets("/rides").get(OBJECTIVE_SECONDS, math.nan), waits.kept()
    expect(wanted[0] <= kept <= wanted[1], sent=f"{len(started)} rides; so many docks take so long: {WAITS}, the "
           "others no time", look=BUCKETS, expected=f"{min(wanted)} to {max(wanted)} of them took 0.5 s at most",
           came=f"{kept:g}; buckets: {scrape.buckets('/rides')}", service="rides", why="the share that kept the "
           "objective is what you answer for")  # fmt: skip
    off = [each for share in (0.25, 0.5, 0.9) if (each := waits.off(share, scrape.buckets("/rides")))]
    expect(not off, sent="the same rides", expected="quantiles in seconds, wrong by 15 % at most", came=off,
           look=MIDDLEWARE, service="rides", why="a slow dock is seen here, or by the riders alone")  # fmt: skip
    waits = Waits([took[f"GET {bike}"] for bike in far], [track.seconds for track in tracks])
    off = waits.off(0.5, scrape.buckets("/rides/{ride_id}/track"))
    expect(not off, sent=f"4 tracks: one line at once, and one when the dock has taken {FAR_SECONDS:g} s",
           expected="the time until the last line", came=off, look=MIDDLEWARE, service="rides",
           why="a track whose first line is quick is no use to who waits for the second")  # fmt: skip


def test_replicas_add_up_and_nothing_falls(town: Town) -> None:
    """Either replica tells the sum of both, also after one was killed and both were replaced; no total ever falls."""
    lines = town.line(1), town.line(2)
    for number, line in enumerate((*lines, lines[1])):
        one_of_each(town, line, number)
    for replica in (1, 2):
        scrape = town.settled(replica)
        expect(not town.difference(scrape), sent="13 requests to replica 1, 26 to replica 2, GET /metrics of replica "
               f"{replica}", expected="the sum", came=town.difference(scrape), look=METRICS, service="rides",
               why="who asks rides gets now this replica, now that one: totals go up and down")  # fmt: skip
    for what, do in (("kill -9 of replica 1", lambda: town.city.kill("rides", 1)),
                     ("replica 1 is launched again", lambda: town.city.launch("rides")),
                     ("both are replaced by new processes", lambda: town.city.restart("rides"))):  # fmt: skip
        do()
        replicas = (2,) if what.startswith("kill") else (1, 2)
        one_of_each(town, town.line(2), len(what))
        new = [town.settled(replica) for replica in replicas]
        expect(not any(map(town.difference, new)), sent=f"{what}; then 13 more requests to replica 2",
               expected=f"{town.ledger.total()} requests in all", came=[town.difference(each) for each in new],
               look=METRICS, service="rides", why="what has been counted has happened: a total that falls is taken for "
               "a restart, and the rate is wrong")  # fmt: skip
