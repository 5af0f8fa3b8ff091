"""What the city promises its riders, whatever it is built of. One suite for all four shapes.

`run_acceptance(url)` asks the front door only: it knows addresses and answers, nothing of what is behind them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from lab_services.views import ComparisonTable

START_CENTS = 5000
HOLD_CENTS = 2000
MOST_BIKES = 8  # at one station
TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Promise:
    """One promise to the riders; `broken` says how it was broken, and is empty when it was kept."""

    text: str
    broken: str = ""


@dataclass(frozen=True, repr=False)
class Report:
    """All promises, as they were kept at one front door."""

    promises: tuple[Promise, ...]

    @property
    def passed(self) -> bool:
        return all(not promise.broken for promise in self.promises)

    def __repr__(self) -> str:
        lines = [f"{'BROKEN' if each.broken else 'kept  '}  {each.text} {each.broken}" for each in self.promises]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        rows = [["broken" if each.broken else "kept", each.text, each.broken] for each in self.promises]
        columns = ["verdict", "promise", "how it was broken"]
        return ComparisonTable("What the city promises", columns, rows)._repr_html_()


def run_acceptance(url: str) -> Report:
    """Try every promise at the front door `url`."""
    with httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False) as city:
        return Report(tuple(_try(promise, city) for promise in PROMISES))


def _try(promise: Callable[[httpx.Client], None], city: httpx.Client) -> Promise:
    text = (promise.__doc__ or promise.__name__).strip()
    try:
        promise(city)
    except (AssertionError, httpx.HTTPError, KeyError, ValueError) as error:
        return Promise(text, f"{type(error).__name__}: {error}")
    return Promise(text)


def a_ride_has_its_price(city: httpx.Client) -> None:
    """A ride of 12 minutes costs 100 + 12 x 20 cents, neither more nor less."""
    rider = new_rider(city)
    ride = start(city, rider, "A1")
    assert money(city, rider) == (START_CENTS - HOLD_CENTS, HOLD_CENTS), f"while riding: {money(city, rider)}"
    ended = end(city, ride, "A2", 12)
    assert ended["cents"] == 340, f"the ride says {ended['cents']} cents"
    assert money(city, rider) == (START_CENTS - 340, 0), f"after the ride: {money(city, rider)}"


def the_other_end_of_town_rides_too(city: httpx.Client) -> None:
    """A rider of the south rides there, and no ride costs more than 2000 cents."""
    rider = new_rider(city, "sven")
    ended = end(city, start(city, rider, "C3"), "D4", 500)
    assert ended["cents"] == HOLD_CENTS, f"500 minutes cost {ended['cents']} cents"
    assert money(city, rider) == (START_CENTS - HOLD_CENTS, 0), f"after the ride: {money(city, rider)}"


def a_poor_rider_stays_off(city: httpx.Client) -> None:
    """A rider with one cent too little is refused with 402, and nothing is held."""
    rider = new_rider(city, cents=HOLD_CENTS - 1)
    answer = ask_start(city, rider, "A1")
    assert answer.status_code == 402, show(answer)
    assert money(city, rider) == (HOLD_CENTS - 1, 0), f"afterwards: {money(city, rider)}"


def an_empty_station_keeps_no_money(city: httpx.Client) -> None:
    """At an empty station a rider gets 409 and the whole money back."""
    rides = []
    for _ in range(MOST_BIKES + 1):
        rider = new_rider(city)
        answer = ask_start(city, rider, "B4")
        if answer.status_code != 201:
            break
        rides.append(answer.json())
    assert answer.status_code == 409, show(answer)
    assert money(city, rider) == (START_CENTS, 0), f"afterwards: {money(city, rider)}"
    for ride in rides:
        end(city, ride, "B4", 1)


def the_end_can_be_repeated(city: httpx.Client) -> None:
    """Ending a ride twice changes nothing: the same answer, and one payment."""
    rider = new_rider(city)
    ride = start(city, rider, "B1")
    first, second = end(city, ride, "B2", 3), end(city, ride, "B2", 3)
    assert first == second, f"first {first}, then {second}"
    assert money(city, rider) == (START_CENTS - 160, 0), f"afterwards: {money(city, rider)}"


def a_stranger_is_told_so(city: httpx.Client) -> None:
    """A rider without a wallet is refused with 404."""
    answer = ask_start(city, f"adam-{uuid4().hex[:8]}", "A1")
    assert answer.status_code == 404, show(answer)


def the_balance_adds_up(city: httpx.Client) -> None:
    """After three rides a rider has paid the sum of the three prices."""
    rider = new_rider(city)
    paid = sum(end(city, start(city, rider, "A3"), "A3", minutes)["cents"] for minutes in (0, 7, 33))
    assert paid == 100 + 240 + 760, f"the three rides cost {paid} cents"
    assert money(city, rider) == (START_CENTS - paid, 0), f"afterwards: {money(city, rider)}"


PROMISES = (
    a_ride_has_its_price,
    the_other_end_of_town_rides_too,
    a_poor_rider_stays_off,
    an_empty_station_keeps_no_money,
    the_end_can_be_repeated,
    a_stranger_is_told_so,
    the_balance_adds_up,
)


def new_rider(city: httpx.Client, name: str = "ada", cents: int = START_CENTS) -> str:
    rider_id = f"{name}-{uuid4().hex[:8]}"
    answer = city.put(f"/wallets/{rider_id}", json={"deposited_cents": cents})
    assert answer.status_code in (200, 201), show(answer)
    return rider_id


def ask_start(city: httpx.Client, rider_id: str, station_id: str) -> httpx.Response:
    return city.post("/rides", json={"rider_id": rider_id, "station_id": station_id})


def start(city: httpx.Client, rider_id: str, station_id: str) -> dict[str, Any]:
    answer = ask_start(city, rider_id, station_id)
    assert answer.status_code == 201, show(answer)
    return dict(answer.json())


def end(city: httpx.Client, ride: dict[str, Any], station_id: str, minutes: int) -> dict[str, Any]:
    answer = city.post(f"/rides/{ride['ride_id']}/end", json={"station_id": station_id, "minutes": minutes})
    assert answer.status_code == 200, show(answer)
    return dict(answer.json())


def money(city: httpx.Client, rider_id: str) -> tuple[int, int]:
    """Return what a rider can spend and what is held, in cents."""
    wallet = city.get(f"/wallets/{rider_id}").json()
    return wallet["balance_cents"], wallet["held_cents"]


def show(answer: httpx.Response) -> str:
    return f"{answer.request.method} {answer.request.url.path} answered {answer.status_code} {answer.text[:200]}"
