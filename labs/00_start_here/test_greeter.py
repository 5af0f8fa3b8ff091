"""Checks of task 0.1: the greeter tells riders how many bikes they can take."""

from typing import Any

import httpx

from lab_services.checks import expect


def hello(city: Any, station_id: str = "A1") -> httpx.Response:
    return httpx.get(f"{city['greeter'].url}/hello/{station_id}", params={"name": "Ada"}, timeout=5, trust_env=False)


def take_bike(city: Any, ride_id: str) -> None:
    httpx.put(f"{city['stations'].url}/stations/A1/taken/{ride_id}", trust_env=False).raise_for_status()


def test_the_greeter_counts_bikes(city: Any) -> None:
    """The greeter says how many bikes stand at the station now, also after riders have taken some."""
    counted = []
    for ride_id in ("r-1", "r-2", "r-3"):
        take_bike(city, ride_id)
        counted.append(hello(city).json().get("bikes"))
    expect(
        counted == [3, 2, 1],
        sent="GET /hello/A1 after the first, the second and the third of its four bikes was taken",
        expected="3, 2 and 1 bikes",
        came=counted,
        why="a rider who was promised a bike and finds an empty dock does not come back",
        look="greeter.py: bikes_at",
        service="greeter",
    )


def test_the_greeter_does_not_guess(city: Any) -> None:
    """While the stations are down the greeter answers 503 in place of a number, and greets again afterwards."""
    city.kill("stations")
    silent = hello(city)
    city.launch("stations")
    back = hello(city)
    expect(
        (silent.status_code, back.status_code) == (503, 200),
        sent="GET /hello/A1 while the stations are down, and once they are back",
        expected="503, then 200",
        came=[silent.text, back.text],
        why="no answer is better than a wrong one",
        look="greeter.py: ask_stations",
        service="greeter",
    )
