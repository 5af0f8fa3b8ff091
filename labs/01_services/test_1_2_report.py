"""Checks of task 1.2: the report asks those who own the facts, and survives what they change."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from lab_services.checks import Call, FakeService, expect

web = httpx.Client(timeout=6, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
LINES = "reports.py: report_lines"
OTHERS = ["stations", "pricing", "notices"]
FIELDS = {"ride_id", "rider_id", "paid_cents", "balance_cents", "tariff"}
Json = dict[str, Any]


def report(city: Any) -> httpx.Response:
    return web.get(city["reports"].url + "/report")


def lines_of(answer: httpx.Response) -> list[Json]:
    return list(answer.json().get("rides", [])) if answer.status_code == 200 else []


def ended(number: int, **more: object) -> Json:
    """Return an ended ride as the service `rides` tells it."""
    ride = {"ride_id": f"r-{number}", "rider_id": f"rider-{number}", "state": "ended", "minutes": number}
    return {**ride, "cents": 100 + 20 * number, "started_at": "2031-05-01T08:00:00+00:00", **more}


def purse(number: int, **more: object) -> Json:
    """Return a wallet as the service `wallet` tells it."""
    cents = 5000 - number
    return {"rider_id": f"rider-{number}", "deposited_cents": 9000, "balance_cents": cents, "held_cents": 0, **more}


def teller(rides: list[Json]) -> Callable[[Call], tuple[int, Any]]:
    """Return the handler of a fake `rides` with these ended rides."""

    def handle(call: Call) -> tuple[int, Any]:
        if call.path == "/rides":
            return 200, {"rides": rides[: int(call.query.get("limit", "100"))]}
        found = [ride for ride in rides if call.path == f"/rides/{ride['ride_id']}"]
        return (200, found[0]) if found else (404, {"detail": str(call)})

    return handle


def purser(wallets: list[Json]) -> Callable[[Call], tuple[int, Any]]:
    """Return the handler of a fake `wallet` that answers a batch in an order of its own."""

    def handle(call: Call) -> tuple[int, Any]:
        if call.path == "/wallets":
            ids = call.query.get("ids", "").split(",")
            return 200, {"wallets": [wallet for wallet in reversed(wallets) if wallet["rider_id"] in ids]}
        found = [wallet for wallet in wallets if call.path == f"/wallets/{wallet['rider_id']}"]
        return (200, found[0]) if found else (404, {"detail": str(call)})

    return handle


def with_fakes(city: Any, fake_service: Any, rides: list[Json], wallets: list[Json]) -> list[FakeService]:
    """Start the city with a fake `rides` and a fake `wallet`, which keep no files at all."""
    fakes = [fake_service("rides", teller(rides)), fake_service("wallet", purser(wallets))]
    city.start(replace={fake.name: fake.url for fake in fakes}, skip=OTHERS)
    return fakes


def test_yesterdays_reader_still_understands_the_report(city: Any) -> None:
    """The report still has what its oldest reader reads: rider_id, paid_cents and balance_cents, in whole cents."""
    rides = city["rides"].url + "/rides"
    ride = web.post(rides, json={"rider_id": "ada", "station_id": "A1"}).json()
    web.post(f"{rides}/{ride['ride_id']}/end", json={"station_id": "B2", "minutes": 12})
    answer = report(city)
    line = (lines_of(answer) or [{}])[0]
    read = {name: line.get(name) for name in ("rider_id", "paid_cents", "balance_cents")}
    whole = all(type(read[name]) is int for name in ("paid_cents", "balance_cents"))
    expect(
        read == {"rider_id": "ada", "paid_cents": 340, "balance_cents": 4660} and whole,
        sent="GET /report after a ride of ada, 12 minutes",
        expected="rider_id ada, paid_cents 340, balance_cents 4660, all money as whole cents",
        came=answer,
        why="the office runs a reader of last year: a field renamed in place stops it",
        look=LINES,
        service="reports",
    )


@pytest.mark.city(started=False)
def test_the_report_needs_no_foreign_file(city: Any, fake_service: Any) -> None:
    """The report works when the others keep their data in another place, another form, or no file at all."""
    with_fakes(city, fake_service, [ended(1), ended(2)], [purse(1), purse(2)])
    answer = report(city)
    found = [(line.get("ride_id"), line.get("paid_cents"), line.get("balance_cents")) for line in lines_of(answer)]
    expect(
        sorted(found) == [("r-1", 120, 4999), ("r-2", 140, 4998)],
        sent="GET /report, with a rides and a wallet that have no database file",
        expected="r-1: 120 paid, 4999 left; r-2: 140 paid, 4998 left",
        came=answer,
        why="whoever reads another's table stops the day its owner renames a column",
        look=LINES,
        service="reports",
    )


@pytest.mark.city(started=False)
def test_fifty_rides_cost_two_calls(city: Any, fake_service: Any) -> None:
    """A report of 50 rides makes at most two calls, however many riders there are."""
    fakes = with_fakes(city, fake_service, [ended(n) for n in range(50)], [purse(n) for n in range(50)])
    answer = report(city)
    balances = {line.get("rider_id"): line.get("balance_cents") for line in lines_of(answer)}
    expect(balances == {f"rider-{n}": 5000 - n for n in range(50)}, sent="GET /report of 50 rides",
           expected="50 lines, each with its own balance", came=answer,
           why="the office wants all of them", look=LINES, service="reports")  # fmt: skip
    calls = [f"{fake.name}: {call}" for fake in fakes for call in fake.calls]
    expect(
        len(calls) <= 2,
        sent="GET /report of 50 rides",
        expected="2 calls at most: one for many rides, one for many wallets",
        came=f"{len(calls)} calls, such as {calls[:4]}",
        why="one call per row: 50 times the wait of one, and 50 chances to fail",
        look=LINES,
    )


@pytest.mark.city(started=False)
def test_a_new_field_does_no_harm(city: Any, fake_service: Any) -> None:
    """A new field in an answer of the others, or another order of it, changes nothing in the report."""
    rides = [ended(n, weather="rain", paid_cents=-1) for n in range(3)]
    with_fakes(city, fake_service, rides, [purse(n, currency="EUR") for n in range(3)])
    answer = report(city)
    found = [(line.get("rider_id"), line.get("paid_cents"), line.get("balance_cents")) for line in lines_of(answer)]
    expect(
        found == [(f"rider-{n}", 100 + 20 * n, 5000 - n) for n in range(3)],
        sent="GET /report, while rides and wallet answer with fields of their next version, wallets last to first",
        expected="the same three lines: each rider with the own price and the own balance",
        came=answer,
        why="services change one at a time: a reader that trips over news makes them change all at once",
        look=LINES,
        service="reports",
    )
    odd = sorted({name for line in lines_of(answer) for name in FIELDS ^ set(line)})
    expect(
        not odd,
        sent="GET /report, while rides and wallet answer with fields of their next version",
        expected=f"in each line just these fields: {', '.join(sorted(FIELDS))}",
        came=f"too much or missing: {', '.join(odd)}; the lines: {lines_of(answer)}",
        why="a neighbour's field that leaks into the report becomes a promise of yours, and you cannot take it back",
        look=LINES,
        service="reports",
    )


@pytest.mark.city(started=False)
def test_an_old_rides_server_still_counts(city: Any, fake_service: Any) -> None:
    """A ride without a tariff, from an older rides server, is reported as standard; a tariff that is told is kept."""
    with_fakes(city, fake_service, [ended(1), ended(2, tariff="night")], [purse(1), purse(2)])
    answer = report(city)
    found = [(line.get("ride_id"), line.get("tariff")) for line in lines_of(answer)]
    expect(
        found == [("r-1", "standard"), ("r-2", "night")],
        sent="GET /report; of two rides only the second has a tariff",
        expected="r-1 standard, r-2 night",
        came=answer,
        why="a new reader must live with an old server until the last one is replaced",
        look=LINES,
        service="reports",
    )


@pytest.mark.city(started=False)
def test_a_neighbour_in_trouble_is_a_503(city: Any, fake_service: Any) -> None:
    """While the wallet is down, broken or silent, the report answers 503 and names it, in less than four seconds."""
    _, wallet = with_fakes(city, fake_service, [ended(1)], [purse(1)])
    wallet.fail(status=500, times=1)
    broken = report(city)
    wallet.delay(5, times=1)
    asked = time.monotonic()
    silent = report(city)
    took = time.monotonic() - asked
    wallet.close()
    for trouble, answer in {"answers 500": broken, "is silent": silent, "is down": report(city)}.items():
        sent = f"GET /report while the wallet {trouble}"
        expect(answer.status_code == 503, sent=sent, expected="503 as a problem that names the wallet", came=answer,
               why="a 500 says the report is broken, a 200 that all is well: nobody calls those who can mend it",
               look=LINES, service="reports")  # fmt: skip
        expect("wallet" in answer.text, sent=sent, expected="503 as a problem that names the wallet", came=answer,
               why="this 503 does not name the wallet, which is in trouble: the office searches the whole city",
               look=LINES, service="reports")  # fmt: skip
    expect(took < 4, sent="GET /report while the wallet is silent", expected="the 503 in less than 4 seconds",
           came=f"it took {took:.1f} seconds", why="whoever waits for a silent neighbour is soon as silent",
           look=LINES, service="reports")  # fmt: skip
