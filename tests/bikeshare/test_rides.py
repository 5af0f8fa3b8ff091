"""The rides: a ride across the whole city, and what is left of one that failed on its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from lab_services.bikeshare import rides, rides_relay
from lab_services.bikeshare.database import transaction
from tests.bikeshare.lost_answers import losing_answers
from tests.bikeshare.town import Town, check_problem, eventually, in_this_process, listening, rows_of, together, url_of

FIXED = {"A1", "A2", "B2", "B4", "C1", "D1", "D2", "D3"}  # the stations that a test arranges


@pytest.fixture
def rider_id(city: Town, town: Town) -> str:
    """A rider with money in both towns."""
    name = f"rider-{uuid4().hex[:8]}"
    for each in (city, town):
        each.client.put(f"/wallets/{name}", json={"deposited_cents": 100_000})
    return name


@pytest.fixture
def rides_here(town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """Rides in this process, with its own database, beside the other services of the town."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for name in ("wallet", "stations", "pricing", "notices"):
        monkeypatch.setenv(f"{name.upper()}_URL", town.urls[name])
    with in_this_process(rides.app) as client:
        yield client


def start(rider_id: str, station_id: str = "A1") -> dict[str, str]:
    return {"rider_id": rider_id, "station_id": station_id}


def arrange(city: Town, rider_id: str, station_id: str, *, bikes: int) -> None:
    """Ride bikes to or from a station until it has so many."""
    while (here := city.client.get(f"/stations/{station_id}").json()["bikes"]) != bikes:
        others = [each for each in city.client.get("/stations").json()["stations"] if each["station_id"] not in FIXED]
        most, least = (pick(others, key=lambda each: each["bikes"])["station_id"] for pick in (max, min))
        origin, end = (most, station_id) if here < bikes else (station_id, least)
        ride_id = city.client.post("/rides", json=start(rider_id, origin)).json()["ride_id"]
        city.client.post(f"/rides/{ride_id}/end", json={"station_id": end, "minutes": 0})


def test_a_ride_from_tap_to_bill(city: Town, rider_id: str, lawful_city: None) -> None:
    """A ride of 12 minutes costs 340, moves one bike and tells its rider twice."""
    arrange(city, rider_id, "A1", bikes=4)
    arrange(city, rider_id, "B2", bikes=4)
    before = money(city, rider_id)
    answer = city.client.post("/rides", json=start(rider_id))
    ride = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/rides/{ride['ride_id']}"
    assert (ride["state"], ride["from_station"], ride["to_station"], ride["cents"]) == ("started", "A1", None, None)
    assert city.client.get(f"/bikes/{ride['bike_id']}").json()["ride_id"] == ride["ride_id"]
    assert city.client.get(f"/wallets/{rider_id}").json()["held_cents"] == 2000

    ended = city.client.post(f"/rides/{ride['ride_id']}/end", json={"station_id": "B2", "minutes": 12})
    facts = {"state": "ended", "to_station": "B2", "minutes": 12, "cents": 340}
    assert ended.status_code == 200
    assert ended.json() == ride | facts | {"ended_at": ended.json()["ended_at"]}
    assert ended.json()["ended_at"].endswith("+00:00") and ended.json()["ended_at"] >= ride["started_at"]
    assert city.client.get(f"/rides/{ride['ride_id']}").json() == ended.json()
    assert city.client.get(f"/bikes/{ride['bike_id']}").json()["station_id"] == "B2"
    assert before - money(city, rider_id) == 340

    expected = [f"{ride['ride_id']}-started", f"{ride['ride_id']}-ended"]
    eventually(lambda: [each["notice_id"] for each in notices_of(city, rider_id)][-2:] == expected)


def money(city: Town, rider_id: str) -> int:
    return int(city.client.get(f"/wallets/{rider_id}").json()["balance_cents"])


def notices_of(city: Town, rider_id: str) -> list[dict[str, str]]:
    return list(city.client.get("/notices", params={"rider_id": rider_id}).json()["notices"])


def test_an_ended_ride_stays_as_it_ended(city: Town, rider_id: str, lawful_city: None) -> None:
    """Ten ends of one ride at once, and one with other facts later, are one end with one price."""
    arrange(city, rider_id, "A2", bikes=4)
    ride_id = city.client.post("/rides", json=start(rider_id, "A2")).json()["ride_id"]
    end = {"station_id": "A2", "minutes": 5}
    answers = together(10, lambda _: city.client.post(f"/rides/{ride_id}/end", json=end))
    assert {each.status_code for each in answers} == {200}
    later = city.client.post(f"/rides/{ride_id}/end", json={"station_id": "C3", "minutes": 90})
    assert {each.text for each in [*answers, later]} == {later.text}
    assert later.json()["cents"] == 200


def test_a_rider_without_money_is_refused(city: Town, lawful_city: None) -> None:
    """Too low a balance is 402, the ride is written as refused, and no dock opens."""
    before = city.client.get("/stations").json()
    check_problem(city.client.post("/rides", json=start("poor")), 402, "poor")
    refused = city.client.get("/rides", params={"state": "refused", "limit": 500}).json()["rides"]
    assert any(ride["rider_id"] == "poor" and ride["bike_id"] is None for ride in refused)
    assert city.client.get("/stations").json() == before


def test_strangers_and_unknown_places_are_named(city: Town, rider_id: str, lawful_city: None) -> None:
    """An unknown rider, station or ride is 404; the hold of the ride that failed is released."""
    check_problem(city.client.post("/rides", json=start("zoe")), 404, "zoe")
    check_problem(city.client.post("/rides", json=start(rider_id, "Z9")), 404, "Z9")
    check_problem(city.client.get("/rides/r-none"), 404, "r-none")
    check_problem(city.client.post("/rides/r-none/end", json={"station_id": "A1", "minutes": 1}), 404, "r-none")
    assert city.client.get(f"/wallets/{rider_id}").json()["held_cents"] == 0


def test_a_refused_ride_cannot_end(city: Town) -> None:
    """What never started cannot end."""
    city.client.post("/rides", json=start("poor"))
    refused = city.client.get("/rides", params={"state": "refused"}).json()["rides"][0]["ride_id"]
    answer = city.client.post(f"/rides/{refused}/end", json={"station_id": "A1", "minutes": 1})
    check_problem(answer, 409, "refused")


def test_twenty_riders_at_four_bikes(city: Town, rider_id: str, lawful_city: None) -> None:
    """Of twenty taps at a station with four bikes, four rides start and sixteen riders have their money back."""
    arrange(city, rider_id, "D1", bikes=4)
    answers = together(20, lambda _: city.client.post("/rides", json=start(rider_id, "D1")))
    started = [each.json()["ride_id"] for each in answers if each.status_code == 201]
    assert sorted(each.status_code for each in answers) == [201] * 4 + [409] * 16
    assert city.client.get(f"/wallets/{rider_id}").json()["held_cents"] == 4 * 2000
    for ride_id in started:
        end = {"station_id": "D1", "minutes": 0}
        assert city.client.post(f"/rides/{ride_id}/end", json=end).status_code == 200


def test_a_full_station_keeps_the_ride_going(city: Town, rider_id: str, lawful_city: None) -> None:
    """An end at a full station is 409 and costs nothing; the same ride ends elsewhere."""
    arrange(city, rider_id, "D2", bikes=4)
    arrange(city, rider_id, "D3", bikes=1)
    arrange(city, rider_id, "C1", bikes=4)
    stock = [city.client.post("/rides", json=start(rider_id, "D2")).json()["ride_id"] for _ in range(4)]
    one = city.client.post("/rides", json=start(rider_id, "D3")).json()["ride_id"]
    for ride_id in stock:
        city.client.post(f"/rides/{ride_id}/end", json={"station_id": "C1", "minutes": 0})
    check_problem(city.client.post(f"/rides/{one}/end", json={"station_id": "C1", "minutes": 1}), 409, "C1", "full")
    assert city.client.get(f"/rides/{one}").json()["state"] == "started"
    assert city.client.post(f"/rides/{one}/end", json={"station_id": "D2", "minutes": 1}).json()["cents"] == 120


def test_lists_are_bounded_and_in_order(city: Town, rider_id: str) -> None:
    """A list has at most the rides asked for, those that started first, all in the state asked for."""
    arrange(city, rider_id, "B4", bikes=4)
    for _ in range(2):
        ride_id = city.client.post("/rides", json=start(rider_id, "B4")).json()["ride_id"]
        city.client.post(f"/rides/{ride_id}/end", json={"station_id": "B4", "minutes": 0})
    listed = city.client.get("/rides", params={"state": "ended", "limit": 2}).json()["rides"]
    assert [each["state"] for each in listed] == ["ended", "ended"]
    assert listed[0]["started_at"] <= listed[1]["started_at"]


def test_a_ride_starts_while_the_notices_are_down(
    rides_here: httpx.Client, town: Town, rider_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notices that are down delay the notice, not the ride; it arrives once when they are back."""
    monkeypatch.setenv("NOTICES_URL", "http://127.0.0.1:1")
    ride_id = rides_here.post("/rides", json=start(rider_id)).json()["ride_id"]
    assert rides_here.post(f"/rides/{ride_id}/end", json={"station_id": "A1", "minutes": 1}).status_code == 200
    assert notices_of(town, rider_id) == []
    monkeypatch.setenv("NOTICES_URL", town.urls["notices"])
    eventually(lambda: len(notices_of(town, rider_id)) == 2)


@pytest.mark.parametrize("missing", ["wallet", "stations"])
def test_a_dependency_that_is_down_is_named(
    rides_here: httpx.Client, town: Town, rider_id: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wallet or stations that cannot be reached is a 503 that names it, and no money stays held."""
    monkeypatch.setenv(f"{missing.upper()}_URL", "http://127.0.0.1:1")
    problem = check_problem(rides_here.post("/rides", json=start(rider_id)), 503, missing)
    assert problem["service"] == missing
    assert town.client.get(f"/wallets/{rider_id}").json()["held_cents"] == 0
    assert [each["state"] for each in rides_here.get("/rides").json()["rides"]] == ["refused"]


def test_a_dependency_without_an_address_is_named(
    rides_here: httpx.Client, rider_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose address nobody has set is a 503 that names it, not a crash."""
    monkeypatch.delenv("WALLET_URL")
    check_problem(rides_here.post("/rides", json=start(rider_id)), 503, "wallet")


def test_a_slow_dependency_is_given_up(
    rides_here: httpx.Client, town: Town, rider_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent stations cost two seconds, the hold is released at once, and a call that arrives late is undone."""
    with listening() as silent:
        monkeypatch.setenv("STATIONS_URL", url_of(silent))
        begin = time.monotonic()
        check_problem(rides_here.post("/rides", json=start(rider_id, "B1")), 503, "stations", "Timeout")
        assert 1.9 < time.monotonic() - begin < 4.0
        assert town.client.get(f"/wallets/{rider_id}").json()["held_cents"] == 0
        monkeypatch.setenv("STATIONS_URL", town.urls["stations"])
    [ride] = rides_here.get("/rides").json()["rides"]
    rides_relay.undo_failed_starts(threading.Event())  # nothing to undo yet: the call that was given up is under way
    assert town.client.put(f"/stations/B1/taken/{ride['ride_id']}").status_code == 200
    eventually(lambda: movements(town, ride["ride_id"]) == ["taken", "returned"])


@pytest.mark.parametrize(("lossy", "station_id"), [("stations", "C2"), ("wallet", "C3")])
def test_a_late_success_is_undone(
    rides_here: httpx.Client, town: Town, rider_id: str, lossy: str, station_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When only the answer is lost, the bike that was taken for nobody and the hold come back by themselves."""
    with losing_answers(town.urls[lossy]) as url:
        monkeypatch.setenv(f"{lossy.upper()}_URL", url)
        check_problem(rides_here.post("/rides", json=start(rider_id, station_id)), 503, lossy)
        monkeypatch.setenv(f"{lossy.upper()}_URL", town.urls[lossy])
    [ride] = rides_here.get("/rides").json()["rides"]
    assert ride["state"] == "refused"
    eventually(lambda: town.client.get(f"/holds/{ride['ride_id']}").json()["state"] == "released")
    if lossy == "stations":
        eventually(lambda: movements(town, ride["ride_id"]) == ["taken", "returned"])


def movements(town: Town, ride_id: str) -> list[str]:
    query = "SELECT kind FROM movements WHERE ride_id = ? ORDER BY seq"
    return [kind for (kind,) in rows_of(town, "stations", query, ride_id)]


def test_a_ride_whose_process_died_is_undone(
    rides_here: httpx.Client, town: Town, rider_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ride that was accepted long ago and never started lost its process: its hold is released."""
    town.client.put("/holds/r-lost", json={"rider_id": rider_id, "cents": 2000})
    with transaction("rides") as db:
        insert = "INSERT INTO rides(ride_id, rider_id, from_station, state, started_at) VALUES (?, ?, 'A1', ?, ?)"
        db.execute(insert, ["r-lost", rider_id, "accepted", "2026-01-01T00:00:00+00:00"])
    eventually(lambda: town.client.get("/holds/r-lost").json()["state"] == "released")
    assert rides_here.get("/rides/r-lost").json()["state"] == "refused"


def test_a_quote_that_cannot_be_had_costs_nothing(
    rides_here: httpx.Client, town: Town, rider_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While pricing is away a ride cannot end, and nothing has happened; afterwards it ends."""
    ride_id = rides_here.post("/rides", json=start(rider_id)).json()["ride_id"]
    end = {"station_id": "A1", "minutes": 3}
    monkeypatch.setenv("PRICING_URL", "http://127.0.0.1:1")
    check_problem(rides_here.post(f"/rides/{ride_id}/end", json=end), 503, "pricing")
    assert movements(town, ride_id) == ["taken"]
    monkeypatch.setenv("PRICING_URL", town.urls["pricing_v2"])
    assert rides_here.post(f"/rides/{ride_id}/end", json=end).json()["cents"] == 160
