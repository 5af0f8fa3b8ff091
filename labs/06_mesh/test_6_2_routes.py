"""Checks of task 6.2: who of three versions gets a call of rides, who gets it again, and who gets a copy.

Calls are made as rides makes them, at the port where its sidecar is its proxy; versions that have to fail are stood for
by the check. A share is held to bounds that a right answer leaves once in a million runs.
"""

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from lab_services.checks import eventually, expect
from lab_services.checks.mesh_routing import CALL_ID, Application, Asked, Version
from lab_services.mesh.chance import binomial_bounds
from lab_services.mesh.registry import read
from lab_services.mesh.statistics import read_mesh

stood_for = pytest.mark.city(started=False)  # the fixture `town` starts the city, with versions of the check

FALSE_ALARM = 1e-6
PERCENT = 10  # V2_PERCENT of the file as it is handed out
CALLS, RIDES = 1000, 200
CONNECTIONS, RETRIES_AT_ONCE = 4, 2  # Envoy tries no more than 3 calls again at the same time
OBEYED_SECONDS = 8.0
ARRIVED_SECONDS = 2.0
PAUSE_SECONDS = 0.03  # between calls that go on while something changes
LINE = re.compile(r"^V2_PERCENT *(:.*)?=.*$", re.M)
TESTER = {"x-pricing": "v2"}
LOOK = "routes.py: ROUTES"


class Town:
    """rides with its sidecar and three versions of pricing: the real ones, or those of the check."""

    def __init__(self, city: Any, versions: dict[str, Version]) -> None:
        self.city, self.versions = city, versions
        self.mesh_file = city["plane"].data / "mesh.json"
        self.rides = Application(self.mesh_file, "rides", "pricing")
        self.file = city.folder / "routes.py"

    def __getitem__(self, version: str) -> Version:
        return self.versions[version]

    def ask(self, asked: list[Asked], connections: int = CONNECTIONS) -> Counter[str]:
        """Make these calls, so many at once, and count by whom they are answered."""
        return Counter(self.rides.ask(asked, connections))

    def tried(self, asked: list[Asked]) -> tuple[Counter[str], dict[str, dict[int, int]]]:
        """Make these calls; return who answers, and for v1 and v2 how many of them came with so many attempts."""
        came = self.ask(asked, RETRIES_AT_ONCE)
        seen = {name: self[name].attempts() for name in ("v1", "v2")}
        tries = {name: Counter(found[one.id] for one in asked if one.id in found) for name, found in seen.items()}
        return came, {name: dict(each) for name, each in tries.items()}

    def hosts(self, cluster: str) -> tuple[int, int]:
        """Return the calls and the errors that the Envoy beside rides has counted for a cluster."""
        arrows = read_mesh(read(self.mesh_file)).arrows
        return next(((a.calls, a.errors) for a in arrows if (a.caller, a.cluster) == ("rides", cluster)), (-1, -1))

    def share(self, percent: str) -> None:
        """Save routes.py with another V2_PERCENT and nothing else, and return when the Envoy beside rides obeys."""
        before = self.told()
        self.file.write_text(LINE.sub(f"V2_PERCENT = {percent}", self.file.read_text()))
        eventually(lambda: self.told() not in ("", before), OBEYED_SECONDS)

    def told(self) -> str:
        """Return the version of the routes that the Envoy beside rides lives by, empty while it is on its way."""
        nodes = httpx.get(f"{self.city['plane'].url}/mesh", trust_env=False).json()["nodes"]
        found = [one for one in nodes["rides-1"]["subscriptions"] if one["kind"] == "routes"]
        return next((str(one["sent"]) for one in found if one["sent"] == one["confirmed"]), "")


@pytest.fixture
def town(city: Any, fake_service: Callable[..., Any]) -> Iterator[Town]:
    """A city in which the check stands for the three versions."""
    versions = {name: Version(name) for name in ("v1", "v2", "v3")}
    urls = {name: fake_service(name, version).url for name, version in versions.items()}
    city.start(replace={"pricing": urls["v1"], "pricing_v2": urls["v2"], "pricing_shadow": urls["v3"]})
    town = Town(city, versions)
    written = town.file.read_text()
    yield town
    for version in versions.values():
        version.go.set()
    town.file.write_text(written)


def gets(number: int, **headers: str) -> list[Asked]:
    """Return so many GETs with these headers, `_` for `-`."""
    return [Asked(headers={name.replace("_", "-"): value for name, value in headers.items()}) for _ in range(number)]


def writes(number: int, **headers: str) -> list[Asked]:
    """Return so many calls that write, POST and PUT in turn, with these headers."""
    kinds = ("POST", "/receipts"), ("PUT", "/receipts/r1")
    return [Asked(*kinds[place % 2], one.headers) for place, one in enumerate(gets(number, **headers))]


def names(rides: int) -> list[str]:
    """Return the names of so many rides, the same in each run."""
    return [f"{random.Random(ride).getrandbits(48):012x}" for ride in range(rides)]


def bounds(calls: int) -> tuple[int, int]:
    """Return between which numbers of calls v2 gets, at ten percent."""
    return binomial_bounds(calls, PERCENT / 100, FALSE_ALARM)


def fails_once(call: Any, attempt: int) -> int:
    """Answer the first attempt of each call with 503, or for every other one with a connection that breaks (0)."""
    return 200 if attempt > 1 else 503 * (int(call.headers[CALL_ID][-1]) % 2)


def test_a_canary_gets_one_call_in_ten(city: Any) -> None:
    """Of 1,000 calls v2 in TypeScript answers a tenth and v1 in Python the others; no other answer comes."""
    town = Town(city, {})
    came = town.ask(gets(CALLS))
    low, high = bounds(CALLS)
    expect(set(came) == {"v1", "v2"} and low <= came["v2"] <= high, sent=f"{CALLS} times GET /quote, V2_PERCENT is 10",
           expected=f"v2 answers {low} to {high}, v1 all others", came=dict(came), look=LOOK, service="rides",
           why="a new version meets few riders first: as many as you can afford to disappoint")  # fmt: skip
    counted = {cluster: town.hosts(cluster) for cluster in ("pricing_v1", "pricing_v2")}
    expect(counted == {"pricing_v1": (came["v1"], 0), "pricing_v2": (came["v2"], 0)}, sent="a look at the statistics "
           "of the Envoy beside rides", expected=f"as many calls as each version has answered, {dict(came)}, no error",
           came=f"(calls, errors): {counted}", look="routes.py: VERSIONS", service="rides",
           why="a cluster that holds another version, too, mixes the numbers of both")  # fmt: skip


@stood_for
def test_one_ride_is_priced_by_one_version(town: Town) -> None:
    """Quote, receipt and quote of a ride, on several connections, meet one version; a tenth of the rides meets v2."""
    asked = [one for make in (gets, writes, gets) for name in names(RIDES) for one in make(1, x_ride=name)]
    came = town.rides.ask(asked, CONNECTIONS)
    met = Counter(tuple(came[ride::RIDES]) for ride in range(RIDES))
    low, high = bounds(RIDES)
    mixed = {" ".join(each): rides for each, rides in met.items() if len(set(each)) > 1}
    expect(not mixed, sent=f"for each of {RIDES} rides (header x-ride) GET, POST or PUT, GET",
           expected="one version answers all three", came=f"so many rides met: {mixed}", look=LOOK, service="rides",
           why="a rider who was promised one tariff is charged by another")  # fmt: skip
    expect(low <= met[("v2",) * 3] <= high, sent="the same", expected=f"v2 for {low} to {high} of the rides, v1 for "
           "the others", came={" ".join(each): rides for each, rides in met.items()}, look=LOOK, service="rides",
           why="the canary would be larger or smaller than the number says")  # fmt: skip


@stood_for
def test_a_tester_gets_v2_also_when_it_fails(town: Town) -> None:
    """x-pricing: v2 leads to v2, what only looks like it does not. A GET that fails is tried once more there."""
    rides = [{}, *({"x_ride": f"r{ride}"} for ride in range(9))]
    came = town.ask([one for ride in rides for make in (gets, writes) for one in make(2, x_pricing="v2", **ride)])
    expect(came == {"v2": 40}, sent="20 GETs, 10 POSTs and 10 PUTs with x-pricing: v2, of several rides",
           expected="v2 answers", came=dict(came), look=LOOK, service="rides",
           why="a tester who meets v1 now and then finds no fault of v2")  # fmt: skip
    others = {value: town.ask(gets(10, x_pricing=value)) for value in ("V2", "v22", "xv2", "v1", "")}
    expect(all(each["v1"] and set(each) <= {"v1", "v2"} for each in others.values()), sent="10 GETs with each of "
           f"{list(others)} as x-pricing", expected="riders' calls: v1 answers most", service="rides",
           came=json.dumps(others), look=LOOK, why="who did not ask for v2 was made a tester")  # fmt: skip
    town["v1"].status = town["v2"].status = fails_once
    came, tries = town.tried(gets(10, x_pricing="v2") + gets(30))
    expect(set(came) == {"v1", "v2"} and tries == {"v1": {2: came["v1"]}, "v2": {2: came["v2"]}}, look=LOOK,
           sent="10 testers' and 30 riders' GETs; the first attempt of each is answered with 503, or its connection "
           "breaks", expected="200 for each, after two attempts at one version", came=f"{dict(came)}; calls by their "
           f"attempts: {tries}", service="rides", why="one attempt fails by chance; a second one at another version "
           "hides which of them is bad")  # fmt: skip
    town["v2"].status = lambda call, attempt: 500
    came, tries = town.tried(gets(10, x_pricing="v2"))
    expect(came == {"v2 500": 10} and tries == {"v1": {}, "v2": {2: 10}}, sent="10 testers' GETs while v2 fails each "
           "time", expected="v2's 500 for each, after two attempts, none at v1", service="rides", look=LOOK,
           came=f"{dict(came)}; calls by their attempts: {tries}", why="an answer of v1 tells a tester that v2 is "
           "well")  # fmt: skip


@stood_for
def test_a_write_happens_once_and_a_copy_holds_nobody_up(town: Town) -> None:
    """A write that fails is neither sent again nor copied. A rider's GET is copied, and the shadow may hang."""
    town["v3"].go.clear()
    quotes, written = gets(30) + gets(30, x_ride="ada-1"), writes(40) + writes(20, x_pricing="v2")
    came = town.ask(quotes)
    expect(set(came) <= {"v1", "v2"}, sent="60 GETs while v3 does not answer", came=dict(came),
           expected="v1 or v2 answers each", look=LOOK, service="rides", why="a shadow is watched; whoever waits for "
           "it, or gets its answer, is a rider of a version that is on trial")  # fmt: skip
    town["v1"].status = town["v2"].status = lambda call, attempt: 503
    came, wanted = town.ask(written), Counter(one.id for one in quotes)
    eventually(lambda: town["v3"].attempts("GET") == wanted, ARRIVED_SECONDS)
    copies, books = town["v3"].attempts("GET"), [town[name].book for name in ("v1", "v2", "v3")]
    rows = Counter(sum(book.count(one.id) for book in books) for one in written)
    expect(rows == {1: 60} and set(came) == {"v1 503", "v2 503"}, sent="40 riders' and 20 testers' POSTs and PUTs; "
           "each version writes, and answers 503", expected="503 for each, and one row in the book", look=LOOK,
           came=f"{dict(came)}; receipts by their rows: {dict(rows)}; rows of v1, v2, v3: {[len(b) for b in books]}",
           service="rides", why="who does not know whether a receipt was written must not have it written a second "
           "time, by an attempt or by a copy")  # fmt: skip
    expect(copies == wanted, sent="those 60 GETs", expected="each once at v3", look=LOOK, service="rides",
           came=f"{copies.total()} GETs at v3, {len(copies & wanted)} of the 60", why="what is copied in part, or "
           "twice, says little of what riders would have met")  # fmt: skip


@stood_for
def test_a_bad_version_is_seen_and_rolled_back_by_one_number(town: Town) -> None:
    """v2 fails: its cluster shows it, and no other. V2_PERCENT = 0, saved: v1 answers all, and nothing fails for it."""
    town["v2"].status = lambda call, attempt: 500
    asked = [one for name in names(60) for one in gets(1, x_ride=name)] + gets(75)
    came = town.ask(asked)
    counted = {name: town.hosts(f"pricing_{name}") for name in ("v1", "v2")}
    bad = came["v2 500"]
    expect(bad and counted == {"v1": (135 - bad, 0), "v2": (bad, bad)}, sent="135 GETs while v2 fails; a look at the "
           "statistics of the Envoy beside rides", expected="errors of pricing_v2 alone, as many as it has answered",
           came=f"{dict(came)}; (calls, errors): {counted}", look="routes.py: VERSIONS", service="rides",
           why="ten percent of all calls fail: whose they are, is what you have to know at once")  # fmt: skip
    meanwhile = during(town, lambda: town.share("0"))
    came = town.ask([one for name in names(60) for make in (gets, writes) for one in make(1, x_ride=name)])
    expect(came == {"v1": 120} and set(meanwhile) <= {"v1", "v2 500"}, sent="V2_PERCENT = 0, saved while calls go on; "
           "then 60 GETs and 60 POSTs", expected="v1 answers each; meanwhile v1, or v2 with its 500", look=LOOK,
           came=f"{dict(came)}; meanwhile: {dict(meanwhile)}", service="plane", why="at night there is time for one "
           "change, and what it forgets goes on failing")  # fmt: skip
    town["v2"].status = lambda call, attempt: 200
    town.share("100")
    came = town.ask(gets(30) + writes(30))
    expect(came == {"v2": 60}, sent="v2 is mended, V2_PERCENT = 100, saved; then 60 calls", expected="v2 for each",
           came=dict(came), look=LOOK, service="plane", why="weights that do not add up to a hundred are no "
           "percent")  # fmt: skip


def during(town: Town, change: Callable[[], None]) -> Counter[str]:
    """Count who answers the calls that are made while something changes."""
    over, found = threading.Event(), Counter[str]()

    def go_on() -> None:
        while not over.wait(PAUSE_SECONDS):
            found.update(town.rides.ask(gets(2) + writes(2), RETRIES_AT_ONCE))

    calling = threading.Thread(target=go_on)
    calling.start()
    try:
        change()
    finally:
        over.set()
        calling.join()
    return found
