"""The city map as a projection: whatever comes twice, late or unreadable, a rebuild is the same map without a gap."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab_services.bikeshare import citymap, projection
from lab_services.bikeshare.database import opened
from lab_services.bikeshare.messages import new_event, written
from lab_services.bikeshare.problems import Problem
from lab_services.bikeshare.projection import begin_rebuild, generations, greet, project, ride_on_map, whole_map
from lab_services.checks.broker_probes import spying
from tests.bikeshare.town import check_problem, eventually, in_this_process
from tests.servers.alone import broker_alone

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECONDS = 60.0


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Open empty tables, and greet a stream."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with opened("citymap", projection.SCHEMA):
        greet("first stream")
        yield


def fact(state: str, ride_id: str = "r1", bike_id: str = "b-01", station_id: str = "A1") -> bytes:
    data = {"ride_id": ride_id, "rider_id": "ada", "bike_id": bike_id}
    data |= {"station_id": station_id} if state == "ended" else {}
    return written(new_event(f"ride.{state}", NOON, data, event_id=f"{ride_id}.{state}"))


def shown() -> dict[str, Any]:
    """Return the map without the numbers that tell one generation from another."""
    return {key: value for key, value in whole_map().items() if key not in ("generation", "rebuild")}


def test_a_bike_is_where_its_last_ride_left_it(tables: None) -> None:
    """On a ride while it lasts, then at a station; a refused ride moves no bike."""
    project(1, [(1, fact("started")), (2, fact("refused", "r2", "b-02"))], 0)
    assert shown()["bikes"] == {"b-01": {"ride_id": "r1"}} and shown()["rides"] == {"refused": 1, "started": 1}
    project(1, [(3, fact("ended"))], 0)
    assert shown()["bikes"] == {"b-01": {"station_id": "A1"}}
    assert ride_on_map("r1") == {
        "ride_id": "r1", "state": "ended", "rider_id": "ada", "bike_id": "b-01", "station_id": "A1", "changed_at": 3,
        "position": 3}  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_twice_late_and_in_any_order_is_the_same_map(tables: None, seed: int) -> None:
    """The rides of the map depend on what has happened, not on how often and in which order it is told."""
    told = [fact(state, f"r{n}", f"b-{n}") for n in range(5) for state in ("started", "ended")] * 2
    random.Random(seed).shuffle(told)
    project(1, enumerate(told, 1), 0)
    assert shown()["rides"] == {"ended": 5} and len(shown()["bikes"]) == 5
    before = shown()
    project(1, enumerate(told, 1), 0)  # the same messages again: they are behind its position
    assert shown() == before


def test_what_cannot_be_read_is_counted_and_passed(tables: None) -> None:
    """Nonsense, a version or a type from the future: the place and the reason, and the map goes on."""
    other = json.loads(fact("started"))
    poison = [b"", b"not JSON", json.dumps(other | {"version": 2}).encode(), json.dumps(other | {"data": {}}).encode()]
    poison.append(json.dumps(other | {"type": "ride.paused"}).encode())
    project(1, enumerate([*poison, fact("started")], 1), 0)
    assert [each["position"] for each in shown()["unreadable"]] == [5, 4, 3, 2, 1]
    assert shown()["rides"] == {"started": 1} and shown()["position"] == 6


def test_a_rebuild_is_shown_when_it_has_caught_up(tables: None) -> None:
    """Until then the map before is shown, and lives; afterwards it is gone, and its reader is told so."""
    told = [(1, fact("started")), (2, fact("ended")), (3, fact("started", "r2", "b-02"))]
    project(1, told[:2], 0)
    assert begin_rebuild() == begin_rebuild() == 2
    assert project(2, told[:1], goal=2) and whole_map()["generation"] == 1
    assert whole_map()["rebuild"] == {"generation": 2, "position": 1}
    project(1, told[2:], 0)
    before = shown()
    assert project(2, told[1:2], goal=2) and whole_map()["generation"] == 1, "the map must not go back"
    assert project(2, told[2:], goal=2) and whole_map()["generation"] == 2 and shown() == before
    assert project(1, [], 0) is False and [each.number for each in generations()] == [2]


def test_a_stream_that_was_lost_is_read_from_its_beginning(tables: None) -> None:
    """A broker without its disk counts from 1 again: the map before is shown until there is one of the new stream."""
    project(1, [(9, fact("started"))], 0)
    greet("first stream")
    assert [each.number for each in generations()] == [1]
    greet("second stream")
    assert whole_map()["rides"] == {"started": 1}
    project(2, [(1, fact("refused"))], goal=1)
    assert whole_map()["generation"] == 2 and whole_map()["rides"] == {"refused": 1}


def test_without_a_stream_there_is_no_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is shown as if it were an empty city."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with opened("citymap", projection.SCHEMA):
        for ask in (whole_map, begin_rebuild):
            with pytest.raises(Problem, match="has not been seen"):
                ask()


def test_the_service_reads_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started again, it takes what came meanwhile; with the stream deleted under it, it begins anew."""
    with broker_alone(tmp_path) as url, spying(url) as spy:
        monkeypatch.setenv("NATS_URL", url)
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
        with in_this_process(citymap.app) as client:
            spy.keep("ride.started.r1", fact("started"))
            eventually(lambda: client.get("/map").json()["position"] == 1, within=SECONDS)
            check_problem(client.get("/map/r2"), 404, "r2", "position 1")
            check_problem(client.get("/map/a%20b"), 422, "ride_id")
        spy.keep("ride.ended.r1", fact("ended"))
        with in_this_process(citymap.app) as client:
            eventually(lambda: client.get("/map/r1").json()["state"] == "ended", within=SECONDS)
            assert client.get("/map").json()["generation"] == 1
            spy.jetstream("delete_stream", "RIDES")
            eventually(lambda: spy.stream("RIDES"), within=SECONDS)
            spy.keep("ride.started.r3", fact("started", "r3"))
            eventually(lambda: client.get("/map").json()["rides"] == {"started": 1}, within=SECONDS)
