"""Traffic control, judged by what arrives at the applications: time limits, retries, budgets, breakers, ejection."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lab_services.mesh.resources import (
    Message,
    circuit_breakers,
    local_rate_limit,
    match,
    no_panic,
    outlier_detection,
    retry_budget,
    retry_policy,
    route,
)
from tests.mesh.builds import calling, guarding
from tests.mesh.envoys import Seen, Town, until

QUOTE = "http://pricing/quote"


@pytest.fixture
def three(make_town: Callable[..., Town]) -> Town:
    """A town with three replicas of pricing."""
    town = make_town()
    town.add("rides", calls=("pricing",))
    for number in (1, 2, 3):
        town.add("pricing", number)
    town.ready()
    return town


def use(town: Town, *routes: Message, **fields: Message) -> None:
    """Let rides call pricing so, and wait until it does."""
    town.use(calling(routes, **fields))
    until(town.settled)


def reply(town: Town, number: int, status: int, text: str = "", seconds: float = 0.0) -> None:
    """Let a replica of pricing answer so."""
    application = town.replicas[f"pricing-{number}"].application
    assert application is not None

    def answer(seen: Seen) -> tuple[int, str]:
        time.sleep(seconds)
        return status, text

    application.reply = answer


def attempts(town: Town) -> int:
    """Count what has arrived at all replicas of pricing."""
    return sum(len(replica.seen()) for node, replica in town.replicas.items() if node.startswith("pricing"))


def statuses(town: Town, calls: int, method: str = "GET") -> Counter[int]:
    """Call one after the other, and count the statuses."""
    with town.client("rides-1") as client:
        return Counter(client.request(method, QUOTE).status_code for _ in range(calls))


def at_once(town: Town, calls: int, threads: int) -> list[httpx.Response]:
    """Make calls from several threads, on as many connections."""
    with town.client("rides-1") as client, ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda _: client.get(QUOTE), range(calls)))


def test_a_time_limit_ends_a_call_that_takes_too_long(town: Town) -> None:
    """After the route's limit the caller has a 504, though the application still works on its answer."""
    for number in (1, 2):
        reply(town, number, 200, seconds=2.0)
    use(town, route("pricing", timeout="0.2s"))
    begin = time.monotonic()
    assert statuses(town, 1) == {504: 1} and 0.2 <= time.monotonic() - begin < 2.0
    assert attempts(town) == 1


def test_a_slow_attempt_is_made_again_elsewhere(town: Town) -> None:
    """A limit for each attempt leaves time for a second one at another replica."""
    reply(town, 1, 200, seconds=3.0)
    use(town, route("pricing", timeout="2s", retry_policy=retry_policy("5xx", 1, per_try="0.3s")))
    assert statuses(town, 4) == {200: 4}
    assert len(town.replicas["pricing-2"].seen()) == 4 and attempts(town) >= 5


def test_only_what_is_safe_is_tried_again(town: Town) -> None:
    """A read that failed is sent to the other replica; a POST arrives once, and its caller learns of the failure."""
    reply(town, 1, 503)
    read = route("pricing", when=match(method="GET"), retry_policy=retry_policy("5xx", 1))
    use(town, read, route("pricing"))
    assert statuses(town, 10) == {200: 10}
    failed = len(town.replicas["pricing-1"].seen())
    assert failed >= 5 and attempts(town) == 10 + failed
    found = statuses(town, 10, "POST")
    assert found == {200: 5, 503: 5} and attempts(town) == 20 + failed


def test_a_budget_keeps_retries_from_tripling_an_outage(three: Town) -> None:
    """With two retries each call of an outage becomes three; with a budget of 10 percent a ninth comes on top.

    Of twenty calls under way two may be retries, so eighteen first attempts carry two more: 1.11.
    """
    for number in (1, 2, 3):
        reply(three, number, 503, seconds=0.1)
    twice = retry_policy("5xx", 2)
    use(three, route("pricing", retry_policy=twice), circuit_breakers=circuit_breakers(max_retries=1000))
    assert {answer.status_code for answer in at_once(three, 100, 20)} == {503}
    assert attempts(three) == 300
    budget = circuit_breakers(retry_budget=retry_budget(10))
    use(three, route("pricing", retry_policy=twice), circuit_breakers=budget)
    at_once(three, 200, 20)
    assert 200 < attempts(three) - 300 <= 200 * 1.2


def test_a_circuit_breaker_refuses_at_once(town: Town) -> None:
    """Two calls may be under way; the third has its 503 while they still wait, and says why."""
    release = threading.Event()
    for number in (1, 2):
        application = town.replicas[f"pricing-{number}"].application
        assert application is not None
        application.reply = lambda seen: (200, str(release.wait(20)))
    use(town, route("pricing"), circuit_breakers=circuit_breakers(max_requests=2))
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(town.call, "rides-1", QUOTE) for _ in range(2)]
        until(lambda: attempts(town) == 2)
        refused = town.call("rides-1", QUOTE)
        release.set()
        assert [call.result().status_code for call in waiting] == [200, 200]
    assert refused.status_code == 503 and refused.headers["x-envoy-overloaded"] == "true"
    assert attempts(town) == 2
    assert town.replicas["rides-1"].stat("cluster.pricing.upstream_rq_active_overflow") == 1


def test_a_replica_that_fails_is_spared(three: Town) -> None:
    """After three failures in a row one of three replicas gets nothing, and no further call fails."""
    reply(three, 2, 500)
    use(three, route("pricing"), outlier_detection=outlier_detection(3))
    assert statuses(three, 60)[500] == 3 and len(three.replicas["pricing-2"].seen()) == 3
    assert three.replicas["rides-1"].stat("cluster.pricing.outlier_detection.ejections_active") == 1


def test_a_spared_replica_comes_back(three: Town) -> None:
    """When its time is over a mended replica gets its part again."""
    reply(three, 2, 500)
    use(three, route("pricing"), outlier_detection=outlier_detection(1, for_="0.5s"))
    until(lambda: three.replicas["pricing-2"].seen() or statuses(three, 3))
    reply(three, 2, 200)
    before = len(three.replicas["pricing-2"].seen())
    until(lambda: statuses(three, 3)[200] == 3 and len(three.replicas["pricing-2"].seen()) > before)


def test_two_of_three_are_spared_only_without_panic(three: Town) -> None:
    """With two of three spared, Envoy by default calls all of them again; with no_panic() the third serves alone."""
    reply(three, 1, 500)
    reply(three, 2, 500)
    use(three, route("pricing"), outlier_detection=outlier_detection(3))
    until(lambda: statuses(three, 30)[500] == 20)
    assert three.replicas["rides-1"].stat("cluster.pricing.outlier_detection.ejections_active") == 2
    use(three, route("pricing"), outlier_detection=outlier_detection(3), common_lb_config=no_panic())
    statuses(three, 30)
    assert statuses(three, 30) == {200: 30}


def test_envoys_own_limit_spares_none_of_three(three: Town) -> None:
    """The default of 10 percent is less than one of three: nobody is spared, however often it fails."""
    reply(three, 2, 500)
    use(three, route("pricing"), outlier_detection=outlier_detection(3, most=10))
    assert statuses(three, 60)[500] == 20


def test_a_slow_replica_is_spared_when_slowness_is_an_error(three: Town) -> None:
    """A limit for each attempt turns slow answers into failures, which are retried elsewhere and counted."""
    reply(three, 2, 200, seconds=1.0)
    again = retry_policy("5xx", 1, per_try="0.15s")
    use(three, route("pricing", retry_policy=again), outlier_detection=outlier_detection(3))
    assert statuses(three, 40) == {200: 40}
    assert len(three.replicas["pricing-2"].seen()) == 3


def test_a_rate_limit_answers_for_the_application(town: Town) -> None:
    """Each sidecar lets five calls through, answers the others with 429, and the application never sees them."""
    town.use(guarding([local_rate_limit(5, "60s")]))
    until(town.settled)
    assert statuses(town, 16) == {200: 10, 429: 6} and attempts(town) == 10
