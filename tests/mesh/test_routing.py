"""Routing: shares by weight, a header that overrides, copies that nobody waits for, one change back.

Shares are held to bounds that a right proxy leaves once in a thousand million runs (binomial, FALSE_ALARM).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from lab_services.mesh.chance import binomial_bounds
from lab_services.mesh.resources import hash_on_header, match, mirror, retry_policy, route
from tests.mesh.builds import calling
from tests.mesh.envoys import Town, until

CALLS = 600


@pytest.fixture
def versions(make_town: Callable[..., Town]) -> Town:
    """A town with pricing v1 (two replicas) and v2 (one)."""
    town = make_town(build=calling([route({"pricing_v1": 90, "pricing_v2": 10})]))
    town.add("rides", calls=("pricing",))
    for number, version in ((1, "v1"), (2, "v1"), (3, "v2")):
        town.add("pricing", number, labels={"version": version})
    town.ready()
    return town


def count(town: Town, calls: int, **fields: dict[str, str]) -> Counter[str]:
    """Call pricing so often on one connection, and count the answers."""
    with town.client("rides-1") as client:
        found = [client.get("http://pricing/quote", **fields) for _ in range(calls)]
    return Counter(answer.text if answer.status_code == 200 else str(answer.status_code) for answer in found)


def rides_at_v2(town: Town, rides: int) -> set[int]:
    """Call pricing once for each ride, on a new connection, and return the rides that v2 has answered."""
    with town.client("rides-1") as client:
        found = [client.get("http://pricing/quote", headers={"x-ride": f"ride-{n}"}).text for n in range(rides)]
    return {ride for ride, text in enumerate(found) if text == "pricing-3"}


def test_a_canary_gets_its_share_and_is_rolled_back_by_one_change(versions: Town) -> None:
    """Ten percent of the calls on one connection reach v2, within the bounds; with weight 0 none does."""
    low, high = binomial_bounds(CALLS, 0.1)
    assert low <= count(versions, CALLS)["pricing-3"] <= high
    versions.use(calling([route({"pricing_v1": 100, "pricing_v2": 0})]))
    until(versions.settled)
    assert count(versions, 100) == {"pricing-1": 50, "pricing-2": 50}


def test_a_header_overrides_the_weights_and_survives_a_retry(versions: Town) -> None:
    """Who asks for v2 gets v2 alone, also when its first attempt has failed; another value changes nothing."""
    again = retry_policy("5xx", 1, other_host=False)
    tester = route("pricing_v2", when=match(headers={"x-pricing": "v2"}), retry_policy=again)
    versions.use(calling([tester, route("pricing_v1")]))
    until(versions.settled)
    assert count(versions, 10, headers={"x-pricing": "v2"}) == {"pricing-3": 10}
    assert count(versions, 10, headers={"x-pricing": "V2"}) == {"pricing-1": 5, "pricing-2": 5}
    v2 = versions.replicas["pricing-3"]
    assert v2.application is not None
    before = len(v2.seen())
    v2.application.reply = lambda seen: (200, "v2") if len(v2.seen()) % 2 == 0 else (503, "bad")
    assert count(versions, 5, headers={"x-pricing": "v2"}) == {"v2": 5} and len(v2.seen()) == before + 10


def test_a_mirror_gets_copies_and_its_answers_are_dropped(versions: Town) -> None:
    """Every call is answered by v1 as if there were no v2, which fails; v2 gets a copy of each, marked as such."""
    v2 = versions.replicas["pricing-3"]
    assert v2.application is not None
    v2.application.reply = lambda seen: (500, "bad")
    versions.use(calling([route("pricing_v1", request_mirror_policies=[mirror("pricing_v2")])]))
    until(versions.settled)
    assert count(versions, 50) == {"pricing-1": 25, "pricing-2": 25}
    until(lambda: len(v2.seen()) == 50)
    assert {seen.headers["host"] for seen in v2.seen()} == {"pricing-shadow"}


def test_half_a_mirror_copies_half(versions: Town) -> None:
    """A mirror of fifty percent copies as many calls as chance allows for a half."""
    versions.use(calling([route("pricing_v1", request_mirror_policies=[mirror("pricing_v2", 50)])]))
    until(versions.settled)
    count(versions, 200)
    low, high = binomial_bounds(200, 0.5)
    rides = versions.replicas["rides-1"]
    until(lambda: rides.stat("cluster.pricing_v2.upstream_rq_active") == 0)
    assert low <= len(versions.replicas["pricing-3"].seen()) <= high


def test_a_hash_keeps_a_ride_at_one_version(versions: Town) -> None:
    """With by_hash each value of the header stays at one version, on each connection, and the share stays."""
    stay = hash_on_header("x-ride")
    versions.use(calling([route({"pricing_v1": 90, "pricing_v2": 10}, by_hash=True, hash_policy=stay)]))
    until(versions.settled)
    first, again = rides_at_v2(versions, 300), rides_at_v2(versions, 300)
    low, high = binomial_bounds(300, 0.1)
    assert first == again and low <= len(first) <= high
    assert low <= count(versions, 300)["pricing-3"] <= high, "calls without the header are left to chance"


def test_a_hash_that_the_weights_do_not_ask_for_keeps_no_version(versions: Town) -> None:
    """A hash_policy alone chooses among the replicas of a cluster: the version of one ride is chance."""
    versions.use(calling([route({"pricing_v1": 50, "pricing_v2": 50}, hash_policy=hash_on_header("x-ride"))]))
    until(versions.settled)
    assert 0 < count(versions, 60, headers={"x-ride": "ride-1"})["pricing-3"] < 60


def test_a_retry_stays_at_the_version_of_its_first_attempt(versions: Town) -> None:
    """A weight is drawn once for a call: when v2 fails, its second attempt is not one more chance to reach v1."""
    again = retry_policy("5xx", 1)
    v2 = versions.replicas["pricing-3"]
    assert v2.application is not None
    v2.application.reply = lambda seen: (503, "bad")
    versions.use(calling([route({"pricing_v1": 50, "pricing_v2": 50}, retry_policy=again)]))
    until(versions.settled)
    failed = count(versions, 60)["503"]
    assert failed and len(v2.seen()) == 2 * failed
