"""Each demonstration of chapter 06, in the shape `show` of its lab."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from lab_services.lab import Lab
from lab_services.mesh.chance import binomial_bounds
from lab_services.mesh.show import Answer, Show
from tests.running_labs import running_lab

CALLS = 120


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the shape."""
    with running_lab("06_mesh", tmp_path_factory.mktemp("show"), shape="show") as lab:
        yield lab


@pytest.fixture(scope="module")
def show(lab: Lab) -> Show:
    """Return the demonstrations."""
    return Show(lab)


def shares(answers: list[Answer]) -> list[int]:
    """Return how many calls each replica of pricing has answered, all with 200."""
    assert {one.status for one in answers} == {200}
    return [Counter(one.replica for one in answers)[str(number)] for number in (1, 2, 3)]


def test_in_turn_means_a_third_each(show: Show) -> None:
    """The slow replica has as many calls as the others."""
    assert shares(show.ask(CALLS, at_once=6, way="ROUND_ROBIN")) == [40, 40, 40]


def test_the_least_busy_is_seldom_the_slow_one(show: Show) -> None:
    """Replica 2 takes 50 ms for an answer, so it has calls under way when the others have none."""
    one, slow, three = shares(show.ask(CALLS, at_once=6, way="LEAST_REQUEST"))
    assert slow < one and slow < three


def test_by_chance_is_about_a_third_each(show: Show) -> None:
    """A right answer is called wrong three times in a thousand million runs, once for each share."""
    low, high = binomial_bounds(CALLS, 1 / 3)
    assert all(low <= share <= high for share in shares(show.ask(CALLS, at_once=6, way="RANDOM")))


def test_a_rider_stays_at_one_replica(show: Show) -> None:
    """A hash of the header decides; in turn, each of the ten riders has seen all three."""
    for way, seen in (("RING_HASH", 1), ("ROUND_ROBIN", 3)):
        places: dict[str, set[str]] = {}
        for one in show.ask(40, way=way):
            places.setdefault(one.rider, set()).add(one.replica)
        assert len(places) == 10 and {len(found) for found in places.values()} == {seen}


def test_who_asks_for_health_calls_no_ill_replica(show: Show) -> None:
    """At the same moment a third of the calls fails that are sent in turn; a replica that is well again gets calls."""
    show.make_ill(3)
    assert Counter(one.status for one in show.ask(30, way="ROUND_ROBIN")) == {200: 20, 503: 10}
    assert shares(show.ask(30, way="CHECKED")) == [15, 15, 0]
    show.make_ill(3, False)
    assert shares(show.ask(30, way="CHECKED")) == [10, 10, 10]


def test_faults_and_their_lines_in_the_log(show: Show) -> None:
    """Only who asks gets them; the flags say who has done what: FI and DI the callee's sidecar, UT the caller's."""
    expected = [({}, 200, ("-", "-")), ({"abort": 418}, 418, ("-", "FI")), ({"delay": 900}, 504, ("UT", "DI,DC"))]
    for headers, status, flags in expected:
        (answer,) = show.ask(**headers)  # type: ignore[arg-type]
        lines = {(line["sidecar"], line["path"]): line["flags"] or "-" for line in show.log(3)}
        assert answer.status == status
        assert (lines["rides", "/quote"], lines["pricing", "/quote"]) == flags


def test_the_gate_decides_before_the_application(show: Show) -> None:
    """Without a ticket its answer is the caller's; with one the application learns whose it is."""
    for ticket in ({}, {"ticket": "t-9"}):
        (refused,) = show.ask(path="/bargain", **ticket)  # type: ignore[arg-type]
        assert refused.status == 401 and "needs a ticket" in refused.body
    assert '"rider":"ada"' in show.ask(path="/bargain", ticket="t-1")[0].body
    assert '"rider":"r-0"' in show.ask()[0].body


def test_one_trace_goes_through_both_sidecars(show: Show) -> None:
    """Into rides, out of it, into pricing: six spans, each the parent of the next."""
    show.ask()
    spans = show.spans(6)
    assert [one["service"] for one in spans] == ["rides"] * 4 + ["pricing"] * 2
    assert [one["kind"] for one in spans] == ["SERVER", "CLIENT"] * 3
    assert [one["parent"] for one in spans[1:]] == [one["span"] for one in spans[:-1]]


def test_grpc_calls_are_spread_and_a_connection_is_not(show: Show) -> None:
    """Thirty calls on one connection: ten for each replica, or all for one."""
    assert Counter(show.ask_locks(30)) == {"1": 10, "2": 10, "3": 10}
    assert list(Counter(show.ask_locks(30, "desk")).values()) == [30]


@pytest.mark.parametrize(
    ("service", "method", "path", "status"),
    [
        ("spans", "POST", "/v1/traces", 400),
        ("rides", "GET", "/ask?calls=0", 422),
        ("rides", "GET", "/locks?calls=x", 422),
    ],
)
def test_what_makes_no_sense_is_refused(lab: Lab, service: str, method: str, path: str, status: int) -> None:
    """Bytes that are no message, and numbers that are none."""
    answer = httpx.request(method, lab[service].url + path, content=b"\xff\xff", trust_env=False)
    assert answer.status_code == status
