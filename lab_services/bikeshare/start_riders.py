"""Riders for the city of chapter 05: each asks for a ride, waits for what becomes of it, and brings the bike back.

They are patient: whoever is away is asked again, the same, until they answer. So a service may be killed meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

from lab_services.bikeshare.load import run_in_thread
from lab_services.bikeshare.station_table import home

RIDERS = ("ada", "bo", "chen", "dora")
ODD_BIKES = (13, 14, 15)  # whose lock or station is told to do something wrong, in lab.toml
HELD_CENTS, PRICE_CENTS = 500, 120
AT_ONCE = 16
POLL_SECONDS = 0.15
GIVE_UP_SECONDS = 60.0
ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class StartReport:
    """What became of the starts: how many rides of each state, and why some were refused."""

    states: Counter[str]
    reasons: Counter[str]

    def __repr__(self) -> str:
        lines = [f"{sum(self.states.values())} riders"]
        lines += [f"  {state:<9} {count}" for state, count in sorted(self.states.items())]
        return "\n".join(lines + [f"  because   {count} x {reason}" for reason, count in self.reasons.most_common()])


def send_starters(starts_url: str, rides_url: str, count: int = 32, name: str = "r") -> StartReport:
    """Send riders at 16 at once, rides `<name>-0` to `<name>-<count - 1>`; return what became of them.

    Raises:
        TimeoutError: a ride has no outcome after a minute.
    """

    async def all_riders() -> StartReport:
        gate = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as city:

            async def one(number: int) -> dict[str, Any]:
                async with gate, asyncio.timeout(GIVE_UP_SECONDS):
                    return await _ride(city, starts_url, rides_url, f"{name}-{number}", number)

            found = await asyncio.gather(*map(one, range(count)))
        reasons = Counter(str(each["reason"]).replace(each["ride_id"], "...") for each in found if each.get("reason"))
        return StartReport(Counter(str(each["state"]) for each in found), reasons)

    return run_in_thread(all_riders())


async def _ride(city: httpx.AsyncClient, starts_url: str, rides_url: str, ride_id: str, number: int) -> dict[str, Any]:
    """Ask for a bike by its number, and end the ride at a station that has room in an undisturbed city."""
    bikes = [bike for bike in range(1, 65) if bike not in ODD_BIKES]
    bike = bikes[number % len(bikes)]
    wish = {"rider_id": RIDERS[number % len(RIDERS)], "bike_id": f"b-{bike:02}", "cents": HELD_CENTS}
    start = await _until(city, "PUT", f"{starts_url}/starts/{ride_id}", wish)
    while start["state"] not in ("started", "refused"):
        await asyncio.sleep(POLL_SECONDS)
        start = await _until(city, "GET", f"{starts_url}/starts/{ride_id}")
    if start["state"] == "refused":
        return start
    end = {"station_id": home(bike), "cents": PRICE_CENTS}
    return await _until(city, "PUT", f"{rides_url}/rides/{ride_id}/ended", end)


async def _until(city: httpx.AsyncClient, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the answer of a service, whatever it takes; a 4xx is a mistake of ours."""
    while True:
        try:
            answer = await city.request(method, url, json=body)
            if answer.status_code < 500:
                answer.raise_for_status()
                return dict(answer.json())
        except httpx.TransportError:
            pass
        await asyncio.sleep(POLL_SECONDS)
