"""The stations: a bike is in one place, a dock opens once per ride, and a crowd gets what is there and no more."""

from __future__ import annotations

from tests.bikeshare.town import Town, check_problem, rows_of, together


def take(town: Town, station_id: str, ride_id: str) -> int:
    return town.client.put(f"/stations/{station_id}/taken/{ride_id}").status_code


def count(town: Town, station_id: str) -> int:
    return int(town.client.get(f"/stations/{station_id}").json()["bikes"])


def test_the_city_has_sixteen_stations_and_sixty_four_bikes(town: Town) -> None:
    """Sixteen stations with eight docks each hold 64 bikes, counting those on the road."""
    stations = town.client.get("/stations").json()["stations"]
    assert [each["station_id"] for each in stations] == [row + column for row in "ABCD" for column in "1234"]
    assert all(each["docks"] == 8 and each["bikes"] + each["free"] == 8 for each in stations)
    assert [town.client.get(f"/bikes/b-{number:02}").status_code for number in (0, 1, 64, 65)] == [404, 200, 200, 404]


def test_a_bike_leaves_and_comes_back_elsewhere(town: Town) -> None:
    """A bike is at its station, then on its ride, then at the other station: never in two places."""
    bike_id = town.client.put("/stations/A2/taken/s-1").json()["bike_id"]
    assert town.client.get(f"/bikes/{bike_id}").json() == {
        "bike_id": bike_id, "station_id": None, "ride_id": "s-1", "workshop": False}  # fmt: skip
    answer = town.client.put("/stations/A3/returned/s-1")
    assert answer.json() == {"bike_id": bike_id, "ride_id": "s-1", "station_id": "A3"}
    assert town.client.get(f"/bikes/{bike_id}").json()["station_id"] == "A3"


def test_the_same_ride_gets_the_same_bike(town: Town) -> None:
    """A repeated take or return opens no second dock, also after the ride is over."""
    first = town.client.put("/stations/A4/taken/s-2").json()
    assert town.client.put("/stations/A4/taken/s-2").json() == first
    back = town.client.put("/stations/A4/returned/s-2").json()
    assert town.client.put("/stations/A4/returned/s-2").json() == back
    assert town.client.put("/stations/A4/taken/s-2").json() == first
    kinds = rows_of(town, "stations", "SELECT kind FROM movements WHERE ride_id = 's-2' ORDER BY seq")
    assert kinds == [("taken",), ("returned",)]


def test_refusals_name_their_reason(town: Town) -> None:
    """Unknown places are 404; a ride without a bike, and one that was elsewhere, are 409."""
    check_problem(town.client.get("/stations/E1"), 404, "E1")
    check_problem(town.client.get("/stations/a1"), 404, "a1")
    check_problem(town.client.get("/stations/A_"), 404, "A_")
    check_problem(town.client.put("/stations/E1/taken/s-3"), 404, "E1")
    check_problem(town.client.put("/stations/B1/returned/s-3"), 409, "s-3")
    assert take(town, "B1", "s-4") == 200
    check_problem(town.client.put("/stations/B2/taken/s-4"), 409, "B1")
    assert town.client.put("/stations/B1/returned/s-4").status_code == 200
    check_problem(town.client.put("/stations/B2/returned/s-4"), 409, "B1")


def test_twenty_riders_at_four_bikes(town: Town, lawful: None) -> None:
    """Of twenty different rides at a station with four bikes, four get one and sixteen get none."""
    assert count(town, "D4") == 4
    statuses = together(20, lambda number: take(town, "D4", f"s-crowd-{number}"))
    assert sorted(statuses) == [200] * 4 + [409] * 16
    assert count(town, "D4") == 0
    check_problem(town.client.put("/stations/D4/taken/s-late"), 409, "D4")
    for number in [number for number, status in enumerate(statuses) if status == 200]:
        assert town.client.put(f"/stations/D4/returned/s-crowd-{number}").status_code == 200


def test_a_full_station_takes_no_bike(town: Town, lawful: None) -> None:
    """Of five bikes that arrive at four free docks at once, one is refused and stays on its ride."""
    for number in range(5):
        assert take(town, "C3" if number < 3 else "C2", f"s-full-{number}") == 200
    results = together(5, lambda number: town.client.put(f"/stations/C4/returned/s-full-{number}"))
    assert sorted(each.status_code for each in results) == [200] * 4 + [409]
    assert count(town, "C4") == 8
    check_problem(next(each for each in results if each.status_code == 409), 409, "C4", "full")
    back = [f"s-back-{number}" for number in range(4)]
    for ride_id in back:
        assert take(town, "C4", ride_id) == 200
    out = next(number for number, each in enumerate(results) if each.status_code == 409)
    for ride_id, station in zip([*back, f"s-full-{out}"], ["C3", "C3", "C3", "C2", "C2"], strict=True):
        assert town.client.put(f"/stations/{station}/returned/{ride_id}").status_code == 200


def test_twenty_times_the_same_ride_is_one_bike(town: Town) -> None:
    """Twenty threads take a bike for the same ride at once: all get the same one."""
    bikes = together(20, lambda _: town.client.put("/stations/B3/taken/s-5").json()["bike_id"])
    assert len(set(bikes)) == 1
    assert count(town, "B3") == 3
    assert town.client.put("/stations/B3/returned/s-5").status_code == 200
