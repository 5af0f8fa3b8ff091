"""The orchestrator alone with a real broker: a spy plays the relay and the participants."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab_services.bikeshare import intake, saga_table, starts
from lab_services.bikeshare.messages import new_event, written
from lab_services.checks.broker_probes import Spy, spying
from tests.bikeshare.town import eventually, in_this_process
from tests.servers.alone import broker_alone

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECONDS = 60.0
WISH = {"rider_id": "ada", "bike_id": "b-01", "cents": 500}


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    """Run a broker for an orchestrator that waits for nobody longer than a minute, unless a test says so."""
    with broker_alone(tmp_path) as url, spying(url) as spy:
        monkeypatch.setattr(intake, "FETCH_SECONDS", 0.2)
        monkeypatch.setenv("NATS_URL", url)
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setattr(saga_table, "STEP_SECONDS", 60.0)
        monkeypatch.setattr(saga_table, "AGAIN_SECONDS", 0.1)
        yield spy


@contextmanager
def started(ride_id: str = "r1") -> Iterator[httpx.Client]:
    """Run the orchestrator, and ask for a ride."""
    with in_this_process(starts.app) as client:
        assert client.put(f"/starts/{ride_id}", json=WISH).status_code in (200, 202)
        yield client


def said(folder: Path) -> list[str]:
    """Return the ids of what the orchestrator has to say."""
    with closing(sqlite3.connect(folder / "data" / "starts.db", timeout=SECONDS)) as db:
        return [row[0] for row in db.execute("SELECT event_id FROM outbox ORDER BY seq")]


def reply(spy: Spy, action: str, outcome: str = "done", ride_id: str = "r1", **changes: Any) -> bytes:
    """Answer a command; return what was said."""
    data = {"ride_id": ride_id, "command": f"{ride_id}.{action}"} | changes
    event = new_event(f"{action}.{outcome}", NOON, data, event_id=f"{ride_id}.{action}.reply")
    spy.keep(f"reply.{action}.{ride_id}", written(event))
    return written(event)


def becomes(client: httpx.Client, state: str, ride_id: str = "r1") -> None:
    eventually(lambda: client.get(f"/starts/{ride_id}").json()["state"] == state, within=SECONDS)


def test_a_reply_moves_it_once(spy: Spy, tmp_path: Path) -> None:
    """Repeated, early and foreign replies change nothing; each command is written once."""
    with started() as client:
        for _ in range(3):
            reply(spy, "wallet.hold")
        reply(spy, "rides.start")
        becomes(client, "reserving")
        reply(spy, "wallet.hold", "refused")
        reply(spy, "stations.reserve")
        becomes(client, "unlocking")
    assert said(tmp_path) == ["r1.wallet.hold", "r1.stations.reserve", "r1.locks.unlock"]


def test_it_goes_on_after_a_restart(spy: Spy, tmp_path: Path) -> None:
    """In the middle of each step it finds its state, and the reply that came while it was away."""
    for action in ("wallet.hold", "stations.reserve", "locks.unlock", "rides.start"):
        with started() as client:
            eventually(lambda: said(tmp_path)[-1] == f"r1.{action}", within=SECONDS)  # noqa: B023 - asked at once
        reply(spy, action)
    with in_this_process(starts.app) as client:
        becomes(client, "started")
    assert len(said(tmp_path)) == 4


def test_silence_is_followed_by_the_way_back_before_the_pivot(
    spy: Spy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The money is released although its hold was never answered; a late yes changes nothing, the fact is told once."""
    with started() as client:
        monkeypatch.setattr(saga_table, "STEP_SECONDS", 0.0)
        assert client.put("/starts/r2", json=WISH).status_code == 202
        becomes(client, "releasing", "r2")
        assert client.get("/starts/r2").json()["reason"] == "wallet.hold was not answered in time"
        reply(spy, "wallet.hold", ride_id="r2")
        reply(spy, "wallet.release", ride_id="r2")
        becomes(client, "refused", "r2")
        reply(spy, "wallet.release", ride_id="r2")
        assert client.get("/starts/r1").json()["state"] == "holding", "r1 still has its time"
    told = [each for each in said(tmp_path) if each.startswith("r2")]
    assert list(dict.fromkeys(told)) == ["r2.wallet.hold", "r2.wallet.release", "r2.refused"]
    assert told.count("r2.refused") == 1


@pytest.mark.parametrize("answer", ["refused", None])
def test_behind_the_pivot_it_only_goes_forward(
    answer: str | None, spy: Spy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused or not answered, the start of the ride is asked for again with the same id, until it is done."""
    with started() as client:
        for action in ("wallet.hold", "stations.reserve", "locks.unlock"):
            reply(spy, action)
        becomes(client, "starting")
        if answer:
            reply(spy, "rides.start", answer, reason="no")
        monkeypatch.setattr(saga_table, "STEP_SECONDS", 0.0)
        saga_table.wait_anew()
        eventually(lambda: client.get("/starts/r1").json()["asked"] >= 3, within=SECONDS)
        assert said(tmp_path).count("r1.rides.start") >= 3
        reply(spy, "rides.start")
        becomes(client, "started")
    assert not {"r1.stations.cancel", "r1.wallet.release"} & set(said(tmp_path))


def test_who_does_not_move_on_is_listed(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that waits too long in one state, or in all, is stuck; one that has ended is not."""
    with started() as client:
        with closing(sqlite3.connect(Path(os.environ["DATA_DIR"]) / "starts.db", timeout=SECONDS)) as db, db:
            for ride_id, seconds in {"stuck": 10, "long": 100, "fresh": 0, "over": 100}.items():
                state = "started" if ride_id == "over" else "holding"
                since = time.time() - (0 if ride_id == "long" else seconds)
                values = [ride_id, *WISH.values(), state, None, time.time() - seconds, since, time.time() + 60, 1]
                db.execute(f"INSERT INTO starts VALUES ({', '.join('?' * 10)})", values)
        found = {key: {each["ride_id"] for each in client.get(f"/starts?{key}").json()["starts"]} for key in (
            "stuck=true", "stuck=false", "under_way=true", "under_way=false")}  # fmt: skip
    assert found["stuck=true"] == {"stuck", "long"} and found["stuck=false"] == {"r1", "fresh", "over"}
    assert found["under_way=true"] == {"r1", "stuck", "long", "fresh"} and found["under_way=false"] == {"over"}


def test_replies_of_no_use_are_buried(spy: Spy) -> None:
    """A reply for a ride nobody asked for, of an unknown version, without its command: DEAD has it with the reason."""
    with started() as client:
        poison = [reply(spy, "wallet.hold", ride_id="nobody"), reply(spy, "wallet.hold", command="r1.locks.unlock")]
        good = json.loads(reply(spy, "rides.start"))
        for changes in ({"version": 2}, {"data": {"ride_id": "r1"}}, {"type": "wallet.hold.perhaps"}, {"id": None}):
            poison.append(json.dumps(good | changes).encode())
            spy.keep("reply.wallet.hold.r1", poison[-1])
        reply(spy, "wallet.hold")
        becomes(client, "reserving")
        eventually(lambda: len(spy.kept("DEAD")) == len(poison), within=SECONDS)
    reasons = [letter.headers["Reason"] for letter in spy.kept("DEAD")]
    assert [letter.data for letter in spy.kept("DEAD")] == poison
    wanted = ("nobody has asked for ride nobody", "data.command: r1.locks.unlock is not wallet.hold for ride r1",
              "version: 2", "data.command: Field required", "type: wallet.hold.perhaps", "id: ")  # fmt: skip
    assert [reason[: len(start)] for reason, start in zip(reasons, wanted, strict=True)] == list(wanted)
