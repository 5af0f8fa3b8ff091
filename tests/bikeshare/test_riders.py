"""The riders and the open loop: what they send, when a latency begins, and what a report says."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import warnings
from dataclasses import FrozenInstanceError
from itertools import pairwise

import httpx
import pytest

from lab_services.bikeshare.latency_picture import LatencyPicture
from lab_services.bikeshare.laws import audit
from lab_services.bikeshare.load import LoadReport, arrive, measure, run_in_thread
from lab_services.bikeshare.riders import STATIONS, RideReport, Trip, plan_trips, send_requests, send_riders
from tests.bikeshare.town import Town, listening, url_of


def test_riders_ride_through_the_city(city: Town, lawful_city: None) -> None:
    """Forty riders a second are all served: each starts and ends one ride, and the laws hold."""
    before = len(city.client.get("/rides", params={"state": "ended", "limit": 500}).json()["rides"])
    report = send_riders(city.urls["gateway"], rate=40, seconds=0.5, seed=3)
    after = len(city.client.get("/rides", params={"state": "ended", "limit": 500}).json()["rides"])
    assert isinstance(report, RideReport)
    assert (report.sent, report.succeeded, report.failed, report.success_share) == (20, 20, 0, 1.0)
    assert report.by_status == {"200": 20}
    assert after - before == 20
    assert 0 < report.p50_ms <= report.p90_ms <= report.p99_ms
    assert audit(city.folder, fleet=64).kept


def test_requests_go_to_one_address(town: Town) -> None:
    """A hundred quotes a second to one service are all answered."""
    report = send_requests(town.urls["pricing_v2"], rate=100, seconds=0.3)
    assert (report.sent, report.by_status) == (30, {"200": 30})
    refused = send_requests(town.urls["wallet"], path="/wallets/eve", method="PUT", body={}, rate=50, seconds=0.1)
    assert (refused.succeeded, refused.by_status) == (0, {"422": 5})


def test_the_arrivals_keep_their_rate_whatever_the_city_does() -> None:
    """A city that stalls for 0.3 s is seen by every arrival that was due in that time, not by one alone."""

    async def stalled() -> list[float]:
        begin = asyncio.get_running_loop().time()
        busy = asyncio.Lock()

        async def send(number: int) -> int:
            async with busy:  # one at a time, and the first takes 0.3 s
                if asyncio.get_running_loop().time() - begin < 0.3:
                    await asyncio.sleep(0.3)
            return 200

        return [each.seconds for each in await arrive(50, 100.0, send)]

    seconds = run_in_thread(stalled())
    assert seconds[0] > 0.28
    assert sum(each > 0.1 for each in seconds) >= 15
    assert all(later <= earlier + 0.05 for earlier, later in pairwise(seconds[:25]))


def test_a_sender_that_is_late_says_so() -> None:
    """When the sending machine itself stands still for 0.2 s, the latencies count it, and the report warns."""

    async def send(number: int) -> int:
        if number == 0:
            time.sleep(0.2)
        return 200

    fields = measure(asyncio.run(arrive(10, 100.0, send)))
    assert fields["milliseconds"][1] > 150
    assert "the sender itself was up to" in repr(LoadReport(title="t", rate=100, **fields))


def test_the_wait_for_a_turn_belongs_to_the_latency() -> None:
    """With one in flight at a time, each waits for those before it, and that time is counted."""

    async def one_by_one() -> list[float]:
        under_way, most = 0, 0

        async def send(number: int) -> int:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.02)
            under_way -= 1
            return 200

        arrived = await arrive(10, 1000.0, send, in_flight=1)
        assert most == 1
        return [each.seconds for each in arrived]

    seconds = run_in_thread(one_by_one())
    assert seconds[9] > 0.15 > 0.1 > seconds[0]


def test_no_answer_is_a_failure_with_its_name() -> None:
    """A city that is silent, away or talks nonsense gives failures named by what happened, within the limit."""
    begin = time.monotonic()
    with listening() as silent:
        report = send_requests(url_of(silent), rate=20, seconds=0.2, limit=0.3)
        riders = send_riders(url_of(silent), rate=20, seconds=0.2, limit=0.3)
    assert set(report.by_status) <= {"time-out", "ReadTimeout"} and report.failed == report.sent == 4
    assert riders.failed == 4
    away = send_riders("http://127.0.0.1:1", rate=20, seconds=0.2)
    assert away.by_status == {"ConnectError": 4}
    assert time.monotonic() - begin < 5


def test_a_ride_of_ones_own() -> None:
    """`ride` decides what a rider does; its mistakes are failures under the name of the error."""
    seen: list[Trip] = []

    async def ride(city: httpx.AsyncClient, trip: Trip) -> int:
        seen.append(trip)
        if trip.number == 2:
            raise KeyError("ride_id")
        return 503 if trip.number == 1 else 201

    report = send_riders("http://127.0.0.1:1", rate=100, seconds=0.04, seed=7, ride=ride)
    assert report.by_status == {"201": 2, "503": 1, "KeyError": 1}
    assert [trip.number for trip in sorted(seen, key=lambda trip: trip.number)] == [0, 1, 2, 3]


def test_the_same_seed_plans_the_same_trips() -> None:
    """A seed is a plan; another seed is another plan."""
    assert plan_trips(50, 1, STATIONS) == plan_trips(50, 1, STATIONS) != plan_trips(50, 2, STATIONS)


def test_planned_trips_never_empty_or_overfill_a_station() -> None:
    """Followed one after the other, a thousand trips find a bike and a free dock each time."""
    bikes = {name: there for name, (there, _) in STATIONS.items()}
    for trip in plan_trips(1000, random.Random(5).randint(0, 999), STATIONS):
        assert trip.start != trip.end
        bikes[trip.start] -= 1
        bikes[trip.end] += 1
        assert bikes[trip.start] >= 0 and bikes[trip.end] <= 8


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-5, 1), (10, 0), (0.1, 1), (1e9, 10), (float("nan"), 1)])
def test_a_load_that_cannot_be_is_refused(rate: float, seconds: float) -> None:
    """No arrivals, and more than a machine can send, are refused before anything is sent."""
    with pytest.raises(ValueError, match="rate"):
        send_requests("http://127.0.0.1:1", rate=rate, seconds=seconds)


def test_the_load_runs_inside_a_running_event_loop(town: Town) -> None:
    """A notebook's thread has an event loop already; the riders do not mind, and leave no thread behind."""

    async def cell() -> LoadReport:
        return send_requests(town.urls["pricing"], rate=50, seconds=0.1)

    assert asyncio.run(cell()).succeeded == 5
    assert not [thread for thread in threading.enumerate() if thread.name == "load"]


def test_an_interrupted_load_leaves_nothing_behind() -> None:
    """When the work fails in the middle, its tasks are cancelled and its thread has ended."""

    async def broken() -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        assert not task.done()
        raise RuntimeError("in the middle")

    with warnings.catch_warnings(), pytest.raises(RuntimeError):
        warnings.simplefilter("error")
        run_in_thread(broken())
    assert not [thread for thread in threading.enumerate() if thread.name == "load"]


def report_of(statuses: list[int]) -> LoadReport:
    async def send(number: int) -> int:
        return statuses[number]

    return LoadReport(title="<quotes>", rate=1000, **measure(asyncio.run(arrive(len(statuses), 1000, send))))


def test_a_report_says_the_same_in_every_form() -> None:
    """Plain text, HTML and picture carry the same figures; 999 of 1000 is not 100 %."""
    report = report_of([200] * 999 + [503])
    for form in (repr(report), report._repr_html_()):
        for fact in ("1000 at 1000 a second", "999 (99.9 %)", "answered 503", "p99", f"{report.p99_ms:.1f} ms"):
            assert fact in form
    html = report._repr_html_()
    assert "<caption>&lt;quotes&gt;</caption>" in html and 'scope="row"' in html and "var(--jp-" in html
    picture = report.picture()
    assert isinstance(picture, LatencyPicture)
    assert f"99 %: {report.p99_ms:.1f} ms" in repr(picture) and f"99 %: {report.p99_ms:.1f} ms" in picture.words
    assert 'alt="&lt;quotes&gt;' in picture._repr_html_() and "data:image/png;base64," in picture._repr_html_()


def test_a_report_cannot_be_changed() -> None:
    """A report is a fact."""
    with pytest.raises(FrozenInstanceError):
        report_of([200]).sent = 7  # type: ignore[misc]


def test_a_share_is_never_rounded_up() -> None:
    """One failure in ten thousand is less than 100 %."""
    fields = measure([*asyncio.run(arrive(1, 10, _fine))])
    report = LoadReport(title="t", rate=1, **(fields | {"sent": 10_000, "succeeded": 9_999}))
    assert "9999 (99.9 %)" in repr(report)


async def _fine(number: int) -> int:
    return 200
