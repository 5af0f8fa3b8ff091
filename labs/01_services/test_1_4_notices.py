"""Checks of task 1.4: a ride waits only for what it cannot do without."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import pytest

from lab_services.checks import Call, eventually, expect, together
from lab_services.errors import LabError

web = httpx.Client(timeout=8, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
TELL = "rides.py: tell and beside_the_requests"
READY = "rides.py: get_ready"
RIDERS = ["ada", "bo", "chen", "dora"]


def start(city: Any, rider_id: str = "ada", station_id: str = "A1") -> httpx.Response:
    wish = {"rider_id": rider_id, "station_id": station_id}
    return web.post(city["rides"].url + "/rides", json=wish)


def end(city: Any, ride_id: str, minutes: int = 12) -> httpx.Response:
    wish = {"station_id": "B2", "minutes": minutes}
    return web.post(f"{city['rides'].url}/rides/{ride_id}/end", json=wish)


def notices(city: Any, ride_id: str, rider_id: str = "ada") -> list[str]:
    """Return the ids of the notices about one ride."""
    found = web.get(city["notices"].url + "/notices", params={"rider_id": rider_id}).json()
    return [notice["notice_id"] for notice in found["notices"] if notice["ride_id"] == ride_id]


def stays_one(city: Any, ride_id: str) -> list[str]:
    """Wait for a first notice, give a second one time to arrive, and return all that came."""
    eventually(lambda: notices(city, ride_id), within=3)
    eventually(lambda: len(notices(city, ride_id)) > 1, within=0.5)
    return notices(city, ride_id)


def notice_board() -> Callable[[Call], tuple[int, Any]]:
    """Return the handler of a fake `notices`, which writes each id once, as the real one does."""
    told: dict[str, Any] = {}

    def handle(call: Call) -> tuple[int, Any]:
        if call.method == "PUT":
            told.setdefault(call.path.rsplit("/", 1)[-1], call.body)
            return 201, call.body
        return 200, {"notices": [{"notice_id": name, **body} for name, body in told.items()]}

    return handle


def test_rides_go_on_while_the_notices_are_down(city: Any) -> None:
    """While the notices are down, riders start and end their rides as always."""
    city.kill("notices")
    started = together([lambda rider=rider: start(city, rider) for rider in RIDERS])
    ended = [end(city, answer.json()["ride_id"]) for answer in started if answer.status_code == 201]
    codes = [answer.status_code for answer in started] + [answer.status_code for answer in ended]
    expect(
        codes == [201] * 4 + [200] * 4,
        sent="four riders start and end a ride while the notices are down",
        expected="four times 201, four times 200",
        came=codes if len(ended) == len(RIDERS) else started[0],
        why="with four services in a row, each up 99 % of the time, one ride in 25 fails: 0.99 x 0.99 x 0.99 x 0.99",
        look=TELL,
        service="rides",
    )


@pytest.mark.city(started=False)
def test_the_notice_comes_when_the_notices_are_back(city: Any, fake_service: Any) -> None:
    """A notice that was refused arrives as soon as the notices are back, and only once."""
    board = fake_service("notices", notice_board())
    city.start(replace={"notices": board.url})
    board.fail(times=1000, path="/notices/")
    ride = start(city)
    expect(ride.status_code == 201, sent="POST /rides while the notices answer 503", expected="201", came=ride,
           why="a message can wait, a rider cannot", look=TELL, service="rides")  # fmt: skip
    eventually(lambda: board.calls_to("PUT"))  # somebody has tried in vain
    board.clear()
    found = stays_one(city, ride.json()["ride_id"])
    expect(
        len(found) == 1,
        sent="GET /notices of ada, up to three seconds after the notices came back",
        expected="one notice of the ride",
        came=found,
        why="to let go of a message is not to lose it",
        look=TELL,
        service="rides",
    )


def test_the_notice_outlives_a_crash_of_rides(city: Any) -> None:
    """A notice that waits survives kill -9 of rides: it arrives, once, when both are back."""
    city.kill("notices")
    ride = start(city)
    expect(ride.status_code == 201, sent="POST /rides while the notices are down", expected="201", came=ride,
           why="a message can wait, a rider cannot", look=TELL, service="rides")  # fmt: skip
    city.kill("rides")
    city.launch("notices")
    city.launch("rides")
    found = stays_one(city, ride.json()["ride_id"])
    expect(
        len(found) == 1,
        sent="a ride without notices, kill -9 of rides, launch of both, GET /notices of ada",
        expected="one notice of the ride",
        came=found,
        why="what waits in a process dies with it",
        look=TELL,
        service="rides",
    )


@pytest.mark.city(weather="calm")
def test_slow_notices_do_not_slow_a_ride(city: Any) -> None:
    """A ride starts in less time than the slow notices take to answer."""
    start(city, "bo")
    city.edge("rides", "notices").latency(0.5)  # a round trip takes 1 s
    asked = time.monotonic()
    ride = start(city)
    took = time.monotonic() - asked
    expect(
        ride.status_code == 201 and took < 0.9,
        sent="POST /rides while the notices take 1 s to answer",
        expected="201 in less than 0.9 s",
        came=f"{ride.status_code} after {took:.1f} s",
        why="a slow service is worse than a dead one: everybody waits for it",
        look=TELL,
        service="rides",
    )


@pytest.mark.city(weather="calm")
def test_a_lost_answer_does_not_tell_it_twice(city: Any) -> None:
    """When the answer of the notices is lost on its way, the rider is still told only once."""
    city.edge("rides", "notices").drop_answer(times=1)
    ride = start(city)
    expect(ride.status_code == 201, sent="POST /rides; the answer of the notices gets lost", expected="201", came=ride,
           why="the ride is under way, whatever became of its message", look=TELL, service="rides")  # fmt: skip
    found = stays_one(city, ride.json()["ride_id"])
    expect(
        len(found) == 1,
        sent="GET /notices of ada, after the first delivery lost its answer",
        expected="one notice of the ride",
        came=found,
        why="who tries again must say the same thing under the same id, or the rider hears it twice",
        look=TELL,
        service="rides",
    )


@pytest.mark.city(started=False)
def test_rides_start_in_any_order(city: Any) -> None:
    """Rides starts before the notices do, is ready, and does not crash."""
    with suppress(LabError):
        city.start(skip=["notices"])
    state = next(service for service in city.states() if service.name == "rides")
    expect(
        state.state == "ready",
        sent="a start of the city without the notices",
        expected="rides ready",
        came=f"rides {state.state}: {state.note}",
        why="after a power cut everything starts at once: whoever insists on an order never comes up",
        look=READY,
    )


def test_what_cannot_wait_is_still_waited_for(city: Any) -> None:
    """Without the wallet no ride starts: 503, no bike gone; a rider without money still gets 402."""
    poor = start(city, "poor")
    city.kill("wallet")
    answer = start(city)
    expect(
        (poor.status_code, answer.status_code) == (402, 503),
        sent="POST /rides for poor, then for ada while the wallet is down",
        expected="402, then 503",
        came=[poor.text, answer.text],
        why="what may wait is the message, not the money",
        look="rides.py: the zone lets go of notices only",
        service="rides",
    )
    city.launch("wallet")
    broken = city.laws().broken
    expect(not broken, sent="an audit of the laws", expected="all kept", came=list(broken),
           why="a refused ride leaves bikes and money where they were", look="rides.py", service="rides")  # fmt: skip


def test_every_ride_is_told_and_paid(city: Any) -> None:
    """On an ordinary day each rider hears of the start and of the end, and the laws hold."""
    rides = [answer.json() for answer in together([lambda rider=rider: start(city, rider) for rider in RIDERS])]
    together([lambda ride=ride: end(city, ride["ride_id"]) for ride in rides])
    told = eventually(lambda: all(len(notices(city, r["ride_id"], r["rider_id"])) == 2 for r in rides), within=3)
    expect(
        told,
        sent="four rides, started and ended",
        expected="two notices of each",
        came={ride["ride_id"]: notices(city, ride["ride_id"], ride["rider_id"]) for ride in rides},
        why="letting go is not forgetting",
        look=TELL,
        service="rides",
    )
    broken = city.laws().broken
    expect(not broken, sent="an audit of the laws", expected="all kept", came=list(broken),
           why="each ended ride is one payment and one returned bike", look="rides.py", service="rides")  # fmt: skip
