"""Checks of task 1.1: the wallet moves out of the old city, and nobody loses or pays a cent for it."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from lab_services.checks import FakeBank, eventually, expect, rows, together
from lab_services.errors import LabError

sys.path.insert(0, str(Path(__file__).parent))
from acceptance import run_acceptance

# What city_history.py leaves behind: deposits, less what was paid (33 and 7 minutes), less one open hold of 2000.
BALANCES = {"greta": 5003 - 760 - 2000, "hugo": 2777, "ida": 3334 - 240, "jonas": 0}
web = httpx.Client(timeout=5, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
MOVE = "city.py: move_riders"
DOOR = "city.py: money"


def ask(city: Any, method: str, path: str, **body: object) -> httpx.Response:
    return web.request(method, city["city"].url + path, json=body or None)


def start(city: Any, rider_id: str = "hugo", station_id: str = "A1") -> httpx.Response:
    return ask(city, "POST", "/rides", rider_id=rider_id, station_id=station_id)


def end(city: Any, ride_id: str, minutes: int = 10) -> httpx.Response:
    return ask(city, "POST", f"/rides/{ride_id}/end", station_id="C1", minutes=minutes)


def at_wallet(city: Any, path: str) -> dict[str, Any]:
    return dict(web.get(city["wallet"].url + path).json())


def balances_at_wallet(city: Any) -> dict[str, Any]:
    return {rider_id: at_wallet(city, f"/wallets/{rider_id}").get("balance_cents") for rider_id in BALANCES}


def money_rows(city: Any, service: str) -> list[str]:
    """Return what the files of one service say about money, such as "city.db: 4 rows of wallets"."""
    found = []
    for file in sorted(city[service].data.rglob("*.db")):
        tables = {row["name"] for row in rows(file, "SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in sorted(tables & {"wallets", "holds"}):
            count = rows(file, f"SELECT count(*) AS n FROM {table}")[0]["n"]
            found += [f"{file.name}: {count} rows of {table}"] if count else []
    return found


def payments(city: Any, ride_id: str) -> int:
    """Return how often a ride is paid, in whatever file."""
    paid = 0
    for service in ("city", "wallet"):
        for file in sorted(city[service].data.rglob("*.db")):
            with suppress(Exception):  # this file has no table of holds
                paid += len(rows(file, "SELECT * FROM holds WHERE ride_id = ? AND state = 'captured'", ride_id))
    return paid


def foreign_files(city: Any) -> list[str]:
    """Return the files of the wallet that the processes of the city hold open."""
    folder = city["wallet"].data.resolve()
    files = [Path(file.path) for pid in city["city"].pids for file in psutil.Process(pid).open_files()]
    return [file.name for file in files if folder in file.parents]


def test_the_city_keeps_its_promises(city: Any) -> None:
    """The acceptance suite is green, as it was before the wallet began to move."""
    report = run_acceptance(city["city"].url)
    expect(
        report.passed,
        sent="the acceptance suite at the front door of the city",
        expected="every promise kept",
        came=report,
        why="riders must not notice that the money moves out",
        look=DOOR,
        service="city",
    )


def test_money_is_written_in_the_wallets_file_only(city: Any) -> None:
    """Money is written down in one place: the wallet's own file, which nobody else opens."""
    answer = start(city)
    expect(answer.status_code == 201, sent="POST /rides for hugo", expected="201", came=answer,
           why="hugo has 2777 cents, and they have moved with him", look=DOOR, service="city")  # fmt: skip
    left = money_rows(city, "city")
    expect(
        not left,
        sent="a ride of hugo, then a look into the files of the city",
        expected="no row of wallets or holds left there",
        came=left,
        why="two owners of one balance: sooner or later they disagree, and nobody knows who is right",
        look=f"{MOVE} and {DOOR}",
    )
    opened = foreign_files(city)
    expect(not opened, sent="a look at the open files of the city's process", expected="none of the wallet's",
           came=opened, why="a file that two programs open can be changed by neither", look=DOOR)  # fmt: skip


@pytest.mark.city(replace={"wallet": "fake_bank"})
def test_the_wallet_may_stand_anywhere(city: Any, fake_bank: FakeBank) -> None:
    """The city reaches the money by the wallet's contract alone, wherever and whatever the wallet is."""
    answer = start(city)
    ended = end(city, answer.json().get("ride_id", "none"))
    expect((answer.status_code, ended.status_code) == (201, 200), sent="a ride of hugo, with the wallet elsewhere",
           expected="201 and 200", came=[answer.text, ended.text],
           why="one day the wallet moves to another machine", look=DOOR, service="city")  # fmt: skip
    expect(
        fake_bank.captures(answer.json()["ride_id"]) == 1,
        sent="a ride of hugo, with another program behind WALLET_URL",
        expected="one PUT /holds/{ride_id}/captured there",
        came=[str(call) for call in fake_bank.calls],
        why="whoever is behind the address keeps the money",
        look=DOOR,
        service="city",
    )


def test_riders_of_before_keep_their_money(city: Any) -> None:
    """Riders that were there before the move have the same money at the wallet."""
    eventually(lambda: balances_at_wallet(city) == BALANCES)
    expect(
        balances_at_wallet(city) == BALANCES,
        sent="GET /wallets/{rider_id} at the wallet, for the riders of before",
        expected=BALANCES,
        came=balances_at_wallet(city),
        why="a new service that begins empty has thrown its customers away",
        look=MOVE,
        service="city",
    )


def test_the_ride_of_before_is_paid_once(city: Any) -> None:
    """A ride that began before the move can be ended after it, and is paid once, at the wallet."""
    answer = end(city, "r-old-3", 10)
    expect(answer.status_code == 200, sent="POST /rides/r-old-3/end, 10 minutes", expected="200", came=answer,
           why="greta is still on her bike", look=MOVE, service="city")  # fmt: skip
    hold = at_wallet(city, "/holds/r-old-3")
    expect(
        (hold.get("state"), hold.get("captured_cents")) == ("captured", 300),
        sent="GET /holds/r-old-3 at the wallet",
        expected="captured, 300 cents",
        came=hold,
        why="a hold that stayed behind is a ride that nobody pays",
        look=MOVE,
        service="city",
    )
    broken = city.laws().broken
    expect(not broken, sent="an audit of the laws", expected="all kept", came=list(broken),
           why="each ended ride has one payment of its price, old rides too", look=MOVE)  # fmt: skip


def test_no_ride_is_paid_twice(city: Any) -> None:
    """Each ride is paid once, also when the city is killed in its middle and the move runs again."""
    before = start(city, "hugo").json().get("ride_id")
    city.kill("city")
    city.launch("city")
    ask(city, "PUT", "/wallets/nora", deposited_cents=5000)
    after = start(city, "nora").json().get("ride_id")
    answers = together([lambda ride=ride: end(city, ride) for ride in (before, after, "r-old-3")])
    paid = {ride: payments(city, ride) for ride in (before, after, "r-old-1", "r-old-2", "r-old-3")}
    old = ["r-old-1", "r-old-2", *(["r-old-3"] if paid[before] else [])]  # if none can be paid, r-old-3 proves nothing
    expect(all(paid[ride] for ride in old), sent="kill -9 of the city, launch, the end of all rides, and a count",
           expected={ride: 1 for ride in old}, came={ride: paid[ride] for ride in old},
           why="a ride of before has no payment at the wallet: its hold was not moved there, or not what it paid",
           look=MOVE, service="city")  # fmt: skip
    expect(
        set(paid.values()) == {1},
        sent="a ride of hugo, kill -9 of the city, launch, a ride of nora, who is new, and the end of all rides",
        expected="one payment of each ride, all files counted",
        came={**paid, "answers": [getattr(answer, "status_code", repr(answer)) for answer in answers]},
        why="a ride without a payment is a gift, and while the old and the new path both write, a rider pays twice",
        look=DOOR,
        service="city",
    )


def move_that_is_stopped(city: Any, bank: FakeBank) -> str:
    """Stop a move half-way (the wallets pass, the holds do not) and start the city again; return it in words."""
    bank.fail(times=1000, path="/holds/")
    with suppress(LabError):
        city.start(replace={"wallet": bank.url})
    city.kill("city")
    bank.clear()
    city.launch("city")
    return "a move whose wallet failed at the first hold, kill -9 of the city, launch"


@pytest.mark.city(started=False)
def test_a_move_that_was_stopped_begins_again(city: Any, fake_bank: FakeBank) -> None:
    """A move that was stopped half-way goes on at the next start, and nobody is counted twice or lost."""
    stopped = move_that_is_stopped(city, fake_bank)
    found = {rider: fake_bank.deposits.get(rider) and fake_bank.balance_cents(rider) for rider in BALANCES}
    expect(
        found == BALANCES,
        sent=stopped,
        expected=BALANCES,
        came=found,
        why="a move is killed when it hurts most: the old rows must stay until the new ones are safe",
        look=MOVE,
        service="city",
    )
    paid = {ride_id: fake_bank.captures(ride_id) for ride_id in ("r-old-1", "r-old-2")}
    expect(
        paid == {"r-old-1": 1, "r-old-2": 1},
        sent=f"{stopped}, then a count of PUT /holds/{{ride_id}}/captured",
        expected="r-old-1 and r-old-2 paid once, so that deposits, payments and balances agree",
        came={**paid, "deposits": {rider_id: fake_bank.deposits[rider_id] for rider_id in BALANCES}},
        why="the balances are right, but the rides paid before have no payment at the wallet: its books do not add up",
        look=MOVE,
        service="city",
    )


def test_without_the_wallet_no_ride_starts(city: Any) -> None:
    """While the wallet is down a ride is refused with 503, and nothing is left half done."""
    city.kill("wallet")
    answer = start(city)
    is_problem = "problem+json" in answer.headers.get("content-type", "")
    expect(answer.status_code == 503 and is_problem, sent="POST /rides while the wallet is down",
           expected="503 as application/problem+json", came=answer, look=DOOR, service="city",
           why="a ride without a hold is a gift, and a 500 looks like a bug of ours")  # fmt: skip
    out = rows(city["city"].data / "city.db", "SELECT ride_id FROM bikes WHERE station_id IS NULL")
    expect(out == [{"ride_id": "r-old-3"}], sent="a look at the docks afterwards", expected="only greta's bike is out",
           came=out, why="a bike that left with nobody is lost", look=DOOR)  # fmt: skip
    city.launch("wallet")
    again = start(city)
    expect(again.status_code == 201, sent="POST /rides once the wallet is back", expected="201", came=again,
           why="nothing of the failed start may still hold hugo's money", look=DOOR, service="city")  # fmt: skip
