"""Riders: people who ride whether the city keeps up or not, and a report of how they fared.

print(send_riders("http://127.0.0.1:8000", rate=50, seconds=2.0))
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx

from lab_services.bikeshare.load import LIMIT_SECONDS, MOST_IN_FLIGHT, LoadReport, arrivals, arrive, measure
from lab_services.bikeshare.load import run_in_thread as run

RIDERS = [f"{name}-{number:02}" for number in range(1, 11) for name in ("mira", "tom")]  # of the north, of the south
DEPOSIT_CENTS = 10_000_000  # so that no rider runs dry in a measurement
STATIONS = {row + column: (4, 4) for row in "ABCD" for column in "1234"}  # bikes and free docks of the first morning


@dataclass(frozen=True)
class Trip:
    """What one rider wants: from where, to where, how many minutes."""

    number: int
    rider_id: str
    start: str
    end: str
    minutes: int


@dataclass(frozen=True, repr=False)
class RideReport(LoadReport):
    """How the riders fared; a ride has succeeded when it was started and ended."""

    noun: ClassVar[str] = "rides"


Ride = Callable[[httpx.AsyncClient, Trip], Awaitable[int]]


async def ride_once(city: httpx.AsyncClient, trip: Trip) -> int:
    """Start a ride and end it elsewhere; return the status of the last answer."""
    start = await city.post("/rides", json={"rider_id": trip.rider_id, "station_id": trip.start})
    if start.status_code != 201:
        return start.status_code
    there = {"station_id": trip.end, "minutes": trip.minutes}
    return (await city.post(f"/rides/{start.json()['ride_id']}/end", json=there)).status_code


def send_riders(
    url: str,
    *,
    rate: float = 50,
    seconds: float = 2.0,
    seed: int = 1,
    ride: Ride | None = None,
    in_flight: int = MOST_IN_FLIGHT,
    limit: float = LIMIT_SECONDS,
) -> RideReport:
    """Send `rate` riders a second for `seconds` to the city at `url` (its gateway) and report how they fared.

    The same `seed` plans the same trips from the same bikes at the stations. `ride(city, trip)` is what each rider
    does; it returns an HTTP status. `in_flight` bounds the rides under way, `limit` the seconds of each.
    """

    async def all_riders() -> dict[str, Any]:
        async with _client(url, in_flight, limit) as city:
            trips = plan_trips(count, seed, await _prepare(city))
            chosen = ride or ride_once
            return measure(
                await arrive(count, rate, lambda number: chosen(city, trips[number]), in_flight=in_flight, limit=limit)
            )

    count = arrivals(rate, seconds)
    return RideReport(title=f"{count} riders, seed {seed}", rate=rate, **run(all_riders()))


def send_requests(
    url: str,
    *,
    path: str = "/quote?minutes=12",
    method: str = "GET",
    body: Any = None,
    rate: float = 100,
    seconds: float = 2.0,
    in_flight: int = MOST_IN_FLIGHT,
    limit: float = LIMIT_SECONDS,
) -> LoadReport:
    """Send the same request `rate` times a second for `seconds`, and report how the requests fared."""

    async def all_requests() -> dict[str, Any]:
        async with _client(url, in_flight, limit) as city:

            async def once(number: int) -> int:
                return (await city.request(method, path, json=body)).status_code

            return measure(await arrive(count, rate, once, in_flight=in_flight, limit=limit))

    count = arrivals(rate, seconds)
    return LoadReport(title=f"{count} times {method} {path}", rate=rate, **run(all_requests()))


def plan_trips(count: int, seed: int, stations: dict[str, tuple[int, int]]) -> list[Trip]:
    """Plan trips from stations with bikes to stations with free docks, so that none runs empty or full."""
    chance = random.Random(seed)
    bikes = {name: there for name, (there, _) in stations.items()}
    free = {name: docks for name, (_, docks) in stations.items()}
    trips = []
    for number in range(count):
        start = chance.choice([name for name in bikes if bikes[name] > 1] or list(bikes))
        end = chance.choice([name for name in free if free[name] > 1 and name != start] or list(free))
        trips.append(Trip(number, RIDERS[number % len(RIDERS)], start, end, chance.randint(1, 60)))
        bikes[start], free[start] = bikes[start] - 1, free[start] + 1
        bikes[end], free[end] = bikes[end] + 1, free[end] - 1
    return trips


def _client(url: str, in_flight: int, limit: float) -> httpx.AsyncClient:
    # No proxy from the environment, and no connection kept so long (5 s) that uvicorn hangs it up.
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight, keepalive_expiry=2.0)
    return httpx.AsyncClient(base_url=url, timeout=limit, trust_env=False, limits=limits)


async def _prepare(city: httpx.AsyncClient) -> dict[str, tuple[int, int]]:
    """Give every rider a wallet and look where the bikes are. A city in trouble is no error here: the rides show it."""
    wallets = [city.put(f"/wallets/{rider_id}", json={"deposited_cents": DEPOSIT_CENTS}) for rider_id in RIDERS]
    *_, answer = await asyncio.gather(*wallets, city.get("/stations"), return_exceptions=True)
    if not isinstance(answer, httpx.Response) or not answer.is_success:
        return STATIONS
    return {each["station_id"]: (each["bikes"], each["free"]) for each in answer.json()["stations"]} or STATIONS
