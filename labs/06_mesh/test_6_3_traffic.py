"""Checks of task 6.3: what becomes of calls when rides fails, hangs, is slow or has too many of them.

Every attempt stands in the ledger of rides, and rides does as it is ordered. An edge that takes the replicas in turn
leaves nothing to chance; for one that takes the least busy, a check is wrong less than once in a million times. No time
is measured against a limit that is shorter than twice what a right answer takes.
"""

import json
import os
import select
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from lab_services.checks import eventually, expect

ROUTES, CLUSTER, LIMIT = "traffic.py: ROUTES", "traffic.py: CLUSTER", "traffic.py: FILTERS, LOCAL_ROUTES"
SLOW_SECONDS = 0.6  # longer than the 0.3 s of an attempt, shorter than the 1.2 s of a call
PATIENCE_SECONDS = 2.5  # rides holds a call for 20 s
EVENTS = 15  # of a feed that tells ten a second: 1.4 s
FAILS, SLOW = {"status": 503}, {"seconds": SLOW_SECONDS}
ALL = (1, 2, 3)
ONCE, AGAIN = 1, 3
KEY = {"Idempotency-Key": "k-1"}
CROWD, UNDER_WAY, WAVE = 200, 20, 10
MANY = 60  # calls: one that chooses among three by chance leaves one out once in ten thousand million times
AT_ONCE, EACH_SECOND, RUSH = 120, 12, 150


class Call:
    """A call on a connection of its own, under way until it is read: its status, 0 when nothing came in time."""

    def __init__(self, url: str, method: str, path: str, **headers: str) -> None:
        self._end = time.monotonic() + PATIENCE_SECONDS
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_SECONDS)
        self._connection.request(method, path, headers=headers)
        self._response: HTTPResponse | None = None
        self.overloaded = False

    def is_answered(self) -> bool:
        """Tell whether there is something to read."""
        socket = self._connection.sock
        return self._response is not None or socket is None or bool(select.select([socket], [], [], 0)[0])

    def status(self) -> int:
        """Wait for the answer and return its status."""
        try:
            if self._response is None:
                self._connection.sock.settimeout(self._patience())
                self._response = self._connection.getresponse()
                self.overloaded = self._response.getheader("x-envoy-overloaded") == "true"
                if not self._response.getheader("content-type", "").startswith("text/event-stream"):
                    self._response.read()
                    self._connection.close()
        except (OSError, HTTPException):
            return 0
        return self._response.status

    def _patience(self) -> float:
        return max(0.01, self._end - time.monotonic())

    def hang_up(self) -> None:
        """Wait no longer for the rest."""
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def events(self, most: int) -> int:
        """Count what a feed tells before it is ended, at most so many."""
        found = 0
        with suppress(OSError, HTTPException):
            while self.status() == 200 and self._response and found < most and (line := self._response.readline()):
                found += line.startswith(b"event:")
        return found


class Town:
    """The edge, and rides with its orders and its ledger."""

    def __init__(self, city: Any) -> None:
        self.city, self.wave = city, 0
        self.folder: Path = city["rides"].data

    def orders(self, orders: Mapping[int, Mapping[str, Any]]) -> None:
        """Let these replicas do so from now on, the others work; what was held is let go."""
        self.wave += 1
        new = self.folder / "orders.new"
        new.write_text(json.dumps({"wave": self.wave, "replicas": dict(orders)}))
        os.replace(new, self.folder / "orders.json")

    def send(self, method: str, name: str = "", path: str = "/rides/r-1", **headers: str) -> Call:
        """Send a call, and do not wait for it; `name` stands in the ledger."""
        return Call(self.city["edge"].url, method, path, **{"X-Call": name}, **headers)

    def statuses(self, calls: int, method: str) -> Counter[int]:
        """Call one after the other, and count the statuses."""
        return Counter(self.send(method).status() for _ in range(calls))

    def attempts(self, name: str = "") -> list[int]:
        """Return at which replicas a call has arrived; without a name, every attempt of all calls."""
        return [line["replica"] for line in self._ledger() if line["came"] and name in ("", line["call"])]

    def under_way(self, name: str = "") -> int:
        """Count the attempts that have come and not gone: of a call, or of all."""
        return sum(1 if line["came"] else -1 for line in self._ledger() if name in ("", line["call"]))

    def most_under_way(self) -> int:
        """Return how many attempts were at rides at the same time, at most."""
        now = most = 0
        for line in sorted(self._ledger(), key=lambda line: line["at"]):
            now += 1 if line["came"] else -1
            most = max(most, now)
        return most

    def _ledger(self) -> Iterator[dict[str, Any]]:
        file = self.folder / "attempts.jsonl"
        return (json.loads(line) for line in (file.read_text() if file.exists() else "").splitlines())


@pytest.fixture
def town(city: Any) -> Iterator[Town]:
    """The running city; at the end nothing is held, so that it can stop."""
    town = Town(city)
    yield town
    town.orders({})


def to_all(**order: Any) -> dict[int, Any]:
    """Return one order for every replica."""
    return {replica: order for replica in ALL}


def repeats(town: Town, method: str, status: int, **headers: str) -> int:
    """Let every replica fail one call; count its attempts. Then all work, and the errors are past."""
    name = f"{method} {status} {len(headers)}"
    town.orders(to_all(status=status))
    town.send(method, name, **headers).status()
    town.orders({})
    town.statuses(len(ALL), "GET")
    return len(town.attempts(name))


def torn(town: Town) -> dict[str, int]:
    """Let the connection of a POST break when rides has it; count its attempts."""
    town.orders(to_all(hold=True))
    call = town.send("POST", "torn")
    eventually(lambda: town.attempts("torn"))
    town.city.kill("rides_sidecar", town.attempts("torn")[0])
    eventually(lambda: call.is_answered() or len(town.attempts("torn")) > 1)
    return {"POST whose connection breaks": len(town.attempts("torn"))}


def failing(town: Town, failures: int, most: int = MANY) -> int:
    """Call until so many calls have failed, and `most` times at most; return how many have."""
    failed = calls = 0
    while failed < failures and calls < most:
        failed += town.send("POST").status() != 200
        calls += 1
    return failed


def serving(town: Town) -> set[int]:
    """Call until every replica has served, MANY times at most; return which have."""
    before, found = len(town.attempts()), set[int]()
    for _ in range(MANY):
        if len(found) < len(ALL):
            town.statuses(1, "POST")
            found = set(town.attempts()[before:])
    return found


def spared(town: Town, calls: int) -> tuple[Counter[int], int]:
    """Call until two ill replicas are to be spared, and so many times more; count statuses, and attempts at them."""
    for call in [town.send("GET") for _ in range(9)]:
        call.status()
    before, ill, came = len(town.attempts()), 0, Counter[int]()
    while came.total() < calls and ill <= 4:
        came += town.statuses(1, "GET")
        ill = sum(replica != 1 for replica in town.attempts()[before:])
    return came, ill


def outage(town: Town, waves: int) -> tuple[int, int]:
    """Let every attempt fail, with WAVE calls under way all the time; count the calls and their attempts.

    Attempts wait at rides until WAVE calls wait, then fail together; what is tried again waits for the next wave.
    """
    town.orders(to_all(hold=True, status=503))
    waiting: list[Call] = []
    calls, before = 0, len(town.attempts())
    for _ in range(waves):
        new = WAVE - len(waiting)
        calls += new
        waiting += [town.send("GET") for _ in range(new)]
        eventually(lambda: town.under_way() >= WAVE, 0.3)
        now = len(town.attempts())
        town.orders(to_all(hold=True, status=503))
        eventually(partial(is_over, town, waiting, now + WAVE), 1.0)
        waiting = [call for call in waiting if not call.is_answered()]
    return calls, len(town.attempts()) - before


def is_over(town: Town, calls: Sequence[Call], attempts: int) -> bool:
    """Tell whether each of these calls is answered, or has come to rides once more."""
    return len(town.attempts()) + sum(call.is_answered() for call in calls) >= attempts


def test_only_what_may_come_twice_does(town: Town) -> None:
    """A failed call that may come twice is tried three times; every other arrives once, whatever fails."""
    kinds = [("GET", 503), ("PUT", 500), ("DELETE", 503)]
    came = {f"{method}, {status}": repeats(town, method, status) for method, status in kinds}
    came["POST with a key, 503"] = repeats(town, "POST", 503, **KEY)
    expect(set(came.values()) == {AGAIN}, sent=", ".join(came), expected="three attempts each", came=came, look=ROUTES,
           service="edge",
           why="a rider sees a failure that the next replica would have hidden")  # fmt: skip
    came = {f"{method}, {status}": repeats(town, method, status) for method, status in [("POST", 503), ("GET", 429)]}
    came["PATCH with a key, 500"] = repeats(town, "PATCH", 500, **KEY)
    if set(came.values()) == {ONCE}:
        came |= torn(town)
    expect(set(came.values()) == {ONCE}, sent=", ".join(came), expected="one attempt each", came=came, look=ROUTES,
           service="edge", why="a ride that began before the failure begins a second time, and is paid twice; and who "
           "is told to come later (429) is not helped by coming at once")  # fmt: skip


def test_a_call_has_an_end_and_a_feed_has_none(town: Town) -> None:
    """A call ends after 1.2 s, not sooner; a feed goes on for longer, and ends when it is silent."""
    live = town.send("GET", path="/feed")
    live.status()
    town.orders(to_all(**SLOW))
    slow = town.send("POST", "slow")
    eventually(lambda: town.attempts("slow"))
    town.orders(to_all(hold=True))
    hung = {method: town.send(method, method) for method in ("POST", "PATCH", "GET", "PUT")}
    silent = town.send("GET", "silent", "/feed")
    told = live.events(EVENTS)
    expect(told == EVENTS, sent="GET /feed, which tells ten a second", expected=f"{EVENTS} events, and more", came=told,
           why="a limit for a whole call cuts off everybody who listens", look=ROUTES, service="edge")  # fmt: skip
    came = {f"{method}, nobody answers": call.status() for method, call in hung.items()}
    expect(set(came.values()) == {504} and slow.status() == 200, sent="calls that no replica answers; a POST that "
           f"takes {SLOW_SECONDS} s", expected="504 for each after 1.2 s; 200", came=f"{came} (0: nothing after "
           f"{PATIENCE_SECONDS} s); {slow.status()}", why="whoever waits without an end holds what others need",
           look=ROUTES, service="edge")  # fmt: skip
    ended = silent.status() == 200 and eventually(lambda: town.under_way("silent") == 0)
    expect(ended and len(town.attempts("POST")) == ONCE, sent="GET /feed, silent after its first event; a POST that "
           "nobody answers", expected="the feed is ended after 1 s; one attempt of the POST",
           came=f"feed ended: {ended}; {len(town.attempts('POST'))} attempts",
           why="no limit for the whole is no reason to wait for ever at a place that is dead", look=ROUTES,
           service="edge")  # fmt: skip


def test_ill_replicas_are_spared_and_an_outage_is_not_tripled(town: Town) -> None:
    """One replica fails, a second is slow: the third has their calls. All fail: few attempts more than calls."""
    town.orders({2: FAILS})
    failed = failing(town, 3)
    spares = eventually(lambda: failing(town, 1, 12) == 0, 1.5)
    expect(spares, sent="POSTs until three have failed, and more; replica 2 answers 503", expected="then 12 in a row "
           "with 200, within 1 s", came=f"{failed} have failed, {town.attempts().count(2)} in all; never 12 in a row "
           "were well", look=CLUSTER, service="edge",
           why="one of three is more than Envoy's 10 percent: none is spared, and every third rider fails")  # fmt: skip
    town.orders({2: FAILS, 3: SLOW})
    came, ill = spared(town, 28)
    expect(ill <= 4 and came[200] >= 26, sent=f"28 GETs; replica 2 answers 503, replica 3 answers 200 after "
           f"{SLOW_SECONDS} s, both for a while", expected="200 for 26 or more, at most 4 attempts at these two",
           came=f"{came}, {ill} attempts (a fifth ends the check)", look=f"{ROUTES}; {CLUSTER}", service="edge",
           why="a right answer that comes too late is a failure; and with fewer than half left Envoy panics and calls "
           "those too that it has spared")  # fmt: skip
    calls, attempts = outage(town, 3)
    expect(attempts <= 1.2 * calls, sent=f"{calls} GETs, {WAVE} at a time, every attempt fails", expected="1.2 "
           f"attempts for each at most: {1.2 * calls:.0f}", came=attempts, look=CLUSTER, service="edge",
           why="retries of everybody at once are two outages more, and rides does not get up under them")  # fmt: skip
    town.orders({})
    then = town.statuses(10, "POST")
    expect(then == {200: 10} and attempts >= calls, sent="10 POSTs after the outage", expected="200 for all; all calls "
           "of the outage at rides", came=f"{then}; {attempts} attempts of {calls} calls", look=CLUSTER, service="edge",
           why="who spares all three asks nobody, and does not learn that they are well again")  # fmt: skip


def test_a_crowd_is_refused_at_once(town: Town) -> None:
    """Of 200 feeds at once 20 are under way; the others are told so while these go on, and nobody is spared for it."""
    calls = [town.send("GET", path="/feed") for _ in range(CROWD)]
    came = Counter(call.status() for call in calls)
    going_on, most = town.under_way(), town.most_under_way()
    expect((going_on, most) == (UNDER_WAY, UNDER_WAY), sent=f"{CROWD} times GET /feed at once", expected=f"{UNDER_WAY} "
           "under way at rides, for as long as they tell", came=f"{going_on} under way, {most} at most; {came} (0: "
           f"nothing in {PATIENCE_SECONDS} s)", look=CLUSTER, service="edge", why="a service that takes everybody "
           "serves nobody: connections are not calls, and Envoy's own limit is 1024")  # fmt: skip
    overloaded = sum(call.overloaded for call in calls)
    expect(came == {200: UNDER_WAY, 503: CROWD - UNDER_WAY} and overloaded == came[503], sent="the same",
           expected=f"{UNDER_WAY} times 200, 503 with x-envoy-overloaded for all others", came=f"{came}, {overloaded} "
           "with x-envoy-overloaded", look=CLUSTER, service="edge",
           why="a call that waits in a queue is late for all behind it")  # fmt: skip
    for call in calls:
        call.hang_up()
    eventually(lambda: town.under_way() == 0)
    serve = serving(town)
    expect(serve == set(ALL), sent=f"they hang up; {MANY} POSTs or fewer", expected="all three replicas serve",
           came=serve, look=CLUSTER, service="edge",
           why="what the edge refused is no failure of a replica")  # fmt: skip


def test_a_rush_is_limited_and_health_is_not(town: Town) -> None:
    """A replica takes 120 calls at once and 12 more a second; it is asked for its health all the same."""
    replica, began = town.city["rides"].replica_urls[0], time.monotonic()
    came = Counter(call.status() for call in [Call(replica, "GET", "/rides/r-1") for _ in range(RUSH)])
    most = AT_ONCE + EACH_SECOND * (time.monotonic() - began) + 1
    health = Counter(Call(replica, "GET", f"/health/{what}").status() for what in ("ready", "live") * 10)
    expect(AT_ONCE <= came[200] <= most and came.total() == came[200] + came[429], sent=f"{RUSH} GETs at replica 1",
           expected=f"{AT_ONCE} to {most:.0f} times 200, else 429", came=came, look=LIMIT, service="rides_sidecar",
           why="each Envoy counts for itself: what is meant for all three together is another number")  # fmt: skip
    expect(health == {200: 20}, sent="20 times GET /health/... of that replica, in the rush", expected="200",
           came=health, look=LIMIT, service="rides_sidecar",
           why="a replica that may not say that it is well is taken away in the moment when it is needed")  # fmt: skip
    others = Counter(town.send("GET").status() for _ in range(3))
    expect(others[200] >= 2, sent="3 GETs by way of the edge", expected="200 from the other two", came=others,
           look=LIMIT, service="edge", why="one replica's rush is not the others'")  # fmt: skip
