"""The saga on an engine for durable execution: whoever is killed, a start ends as it has to, and the laws are kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from lab_services.lab import Lab
from lab_services.runtime.spec_types import LabSpec
from tests.bikeshare.town import NO_TLS, check_problem, eventually
from tests.running_labs import running_lab

pytestmark = pytest.mark.usefixtures("durable")
SECONDS = 60.0  # a start takes a tenth of a second, a worker that died 3 more, an engine 5, on a quiet machine
STEPS = ["wallet.hold", "stations.reserve", "locks.unlock", "rides.start"]
BACK = ["stations.cancel", "wallet.release"]
CLIENT = httpx.Client(timeout=SECONDS, trust_env=False, verify=NO_TLS)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, durable: None) -> Iterator[Lab]:
    """Run the shape of the chapter's last section; a start is old after a second."""

    def soon_old(spec: LabSpec) -> LabSpec:
        services = dict(spec.shapes["durable"])
        services["starts"] = replace(services["starts"], env=MappingProxyType({"STUCK_SECONDS": "1"}))
        return replace(spec, shapes=MappingProxyType({"durable": MappingProxyType(services)}))

    folder = tmp_path_factory.mktemp("durable")
    run = running_lab("05_events", folder, change=soon_old, shape="durable", ready_seconds=SECONDS)
    with closing(CLIENT), run as lab:
        yield lab
    logs = [file for file in (folder / "run").rglob("*.log") if not file.name.startswith("engine")]
    told = [line for file in logs for line in file.read_text().splitlines()]
    assert logs and not [line for line in told if re.search(r"Traceback|\bada\b|\bpoor\b", line)]


@pytest.fixture(autouse=True)
def lawful(lab: Lab) -> Iterator[None]:
    """Whatever the test did: all are well again afterwards, no start is under way, and the laws are kept."""
    yield
    eventually(lambda: not get(lab, "").json()["starts"], within=SECONDS)
    assert lab.laws().broken == ()


def put(lab: Lab, ride_id: str, bike_id: str, rider_id: str = "ada", **more: Any) -> httpx.Response:
    wish = {"rider_id": rider_id, "bike_id": bike_id, "cents": 500} | more
    return CLIENT.put(f"{lab['starts'].url}/starts/{ride_id}", json=wish)


def get(lab: Lab, ride_id: str, query: str = "") -> httpx.Response:
    return CLIENT.get(f"{lab['starts'].url}/starts{'/' * bool(ride_id)}{ride_id}{query}")


def stands(lab: Lab, ride_id: str, state: str) -> dict[str, Any]:
    """Wait until a start is in a state; return all that is told of it."""
    found: dict[str, Any] = {}

    def there() -> bool:
        found.update(get(lab, ride_id).json())
        return found.get("state") == state

    eventually(there, within=SECONDS)
    return found


def said(lab: Lab, ride_id: str) -> list[str]:
    """Return the actions of a start in their order, as the engine's history has them."""
    from temporalio.client import Client

    async def history() -> list[str]:
        handle = (await Client.connect(lab["engine"].url)).get_workflow_handle(ride_id)
        scheduled = [each.activity_task_scheduled_event_attributes async for each in handle.fetch_history_events()]
        return [each.activity_type.name for each in scheduled if each.activity_id]

    return asyncio.run(history())


def test_a_start_goes_through_its_four_steps_once(lab: Lab) -> None:
    """202, then started; the same wish again is 200 and changes nothing, another wish for the ride is 409."""
    assert put(lab, "well", "b-01").status_code == 202
    assert stands(lab, "well", "started")["reason"] is None
    assert said(lab, "well") == STEPS
    assert put(lab, "well", "b-01").status_code == 200
    check_problem(put(lab, "well", "b-02"), 409)
    check_problem(put(lab, "well", "b-01", cents=1), 409)
    assert said(lab, "well") == STEPS


@pytest.mark.parametrize(
    ("ride_id", "wish", "told", "actions"),
    [
        ("no-money", ("b-02", "poor"), "poor does not have 500 cents", STEPS[:1]),
        ("no-bike", ("b-99", "bo"), "b-99 stands in no dock", [*STEPS[:2], "wallet.release"]),
        ("no-bolt", ("b-13", "bo"), "locks.unlock is told to refuse", [*STEPS[:3], *BACK]),
    ],
)
def test_what_is_refused_is_undone_in_reverse(
    lab: Lab, ride_id: str, wish: tuple[str, str], told: str, actions: list[str]
) -> None:
    """The step that is refused is the last; those before it are undone, the last one first, and the reason is kept."""
    put(lab, ride_id, *wish)
    assert stands(lab, ride_id, "refused")["reason"] == told
    assert said(lab, ride_id) == actions


def test_the_last_bike_goes_to_one_rider(lab: Lab) -> None:
    """Of four who want one bike at once, one rides."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda rider: put(lab, f"last-{rider}", "b-03", rider), ("ada", "bo", "chen", "dora")))
    eventually(lambda: not get(lab, "").json()["starts"], within=SECONDS)
    states = [get(lab, f"last-{rider}").json()["state"] for rider in ("ada", "bo", "chen", "dora")]
    assert sorted(states) == ["refused", "refused", "refused", "started"]


def test_a_worker_is_killed_and_the_other_goes_on(lab: Lab) -> None:
    """With starts in mid saga, kill -9 of one worker of two: each goes on where it was, no step is asked for anew."""
    rides = [f"half-{number}" for number in range(6)]
    lab.pause("docks")
    for number, ride_id in enumerate(rides):
        put(lab, ride_id, f"b-{20 + number}")
    for ride_id in rides:
        stands(lab, ride_id, "reserving")
    lab.kill("starts", 1)
    lab.resume("docks")
    for ride_id in rides:
        stands(lab, ride_id, "started")
        assert said(lab, ride_id) == STEPS
    lab.launch("starts")


def test_the_engine_is_killed_and_goes_on(lab: Lab) -> None:
    """Kill -9 of the engine and of all workers in mid saga: 503 meanwhile, and afterwards the start goes on."""
    lab.pause("docks")
    put(lab, "dark-1", "b-04")
    stands(lab, "dark-1", "reserving")
    lab.kill("engine")
    check_problem(put(lab, "dark-2", "b-05"), 503)
    check_problem(get(lab, "dark-1"), 503)
    lab.kill("starts")
    lab.resume("docks")
    lab.launch("engine")
    lab.launch("starts")
    stands(lab, "dark-1", "started")
    assert said(lab, "dark-1") == STEPS
    eventually(lambda: put(lab, "dark-2", "b-05").status_code in (200, 202), within=SECONDS)
    stands(lab, "dark-2", "started")


def test_a_silent_hold_is_undone_and_comes_too_late(lab: Lab) -> None:
    """Nobody answers the hold: it is undone; when the wallet wakes up and hears of both, no money is held."""
    lab.pause("wallet")
    put(lab, "mute", "b-06", "chen")
    waiting = stands(lab, "mute", "releasing")
    assert waiting["step"] == "wallet.release"
    lab.resume("wallet")
    assert "wallet.hold" in stands(lab, "mute", "refused")["reason"]
    assert said(lab, "mute") == ["wallet.hold", "wallet.release"]


def test_behind_the_pivot_a_start_goes_forward(lab: Lab) -> None:
    """The bolt is open and nobody writes down the ride: it is tried again, seen as stuck, and never undone."""
    lab.kill("rides")
    put(lab, "open", "b-07", "dora")
    eventually(lambda: get(lab, "open").json().get("attempt", 0) >= 3, within=SECONDS)
    stuck = eventually(lambda: get(lab, "", "?stuck=true").json()["starts"], within=SECONDS)
    assert [(each["ride_id"], each["state"], each["failure"]) for each in stuck] == [
        ("open", "starting", "rides.start: ConnectError")
    ]
    lab.launch("rides")
    stands(lab, "open", "started")
    assert said(lab, "open") == STEPS


def test_bad_input_is_refused(lab: Lab) -> None:
    """What is no wish never reaches the engine, and nobody knows a start that was never wished."""
    check_problem(put(lab, "bad", "b-08", cents="5"), 422)
    check_problem(put(lab, "bad", "b/08"), 422)
    check_problem(put(lab, "bad", "b-08", more=1), 422)
    check_problem(get(lab, "bad"), 404)
    check_problem(CLIENT.put(f"{lab['wallet'].url}/actions/rides.start/bad", json={}), 422)
