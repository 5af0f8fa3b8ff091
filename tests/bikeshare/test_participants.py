"""Each participant of "start a ride" alone with a real broker: it obeys once, answers the same, and buries nonsense."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.errors import APIError

from lab_services.bikeshare import commands, holds, intake
from lab_services.bikeshare.laws import audit
from lab_services.bikeshare.messages import MOST_BYTES, new_event, written
from lab_services.bikeshare.streams import token
from lab_services.checks.broker_probes import Spy, spying
from tests.bikeshare.town import check_problem, eventually, in_this_process
from tests.servers.alone import broker_alone

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECONDS = 60.0
ORDER = {"ride_id": "r1", "rider_id": "ada", "bike_id": "b-01", "cents": 500}
MODULES = {"wallet": "holds", "stations": "reservations", "locks": "bolts", "rides": "ride_book"}
ACTIONS = ["wallet.hold", "stations.reserve", "locks.unlock", "rides.start", "wallet.release", "stations.cancel"]
UNDONE = [("wallet.hold", "wallet.release"), ("stations.reserve", "stations.cancel")]


@dataclass(frozen=True)
class Alone:
    """A participant that runs, its books, and a spy who plays everybody else."""

    name: str
    spy: Spy
    folder: Path
    client: Any

    def says(self, action: str, event_id: str = "", time: datetime = NOON, **changes: Any) -> None:
        """Say a command; the broker is not told that it may know it."""
        data = ORDER | changes
        event = new_event(action, time, data, event_id=event_id or f"{data['ride_id']}.{action}")
        self.spy.keep(f"command.{action}.{token(data['ride_id'])}", written(event))

    def ended(self, **changes: Any) -> None:
        """Say that a ride has ended."""
        data = ORDER | {"station_id": "C3", "cents": 120} | changes
        event = new_event("ride.ended", NOON, data, event_id=f"{data['ride_id']}.ended")
        self.spy.keep(f"ride.ended.{token(data['ride_id'])}", written(event))

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / f"{self.name}.db", timeout=SECONDS)) as db:
            return [row[0] if len(row) == 1 else row for row in db.execute(query)]

    def answers(self, count: int) -> list[dict[str, Any]]:
        """Return what the participant has to say, once there are so many rows."""
        query = "SELECT content FROM outbox WHERE subject LIKE 'reply.%' ORDER BY seq"
        found = eventually(lambda: len(rows := self.rows(query)) >= count and rows, within=SECONDS)
        assert len(found) == count
        return [json.loads(content) for content in found]

    def dead(self, count: int) -> list[str]:
        """Return why messages are in DEAD, once there are so many."""
        eventually(lambda: len(self.spy.kept("DEAD")) == count, within=SECONDS)
        return [letter.headers["Reason"] for letter in self.spy.kept("DEAD")]


@contextmanager
def alone(name: str, folder: Path, settings: pytest.MonkeyPatch) -> Iterator[Alone]:
    """Run a participant in this process, with a broker of its own."""
    module: ModuleType = import_module(f"lab_services.bikeshare.{MODULES[name]}")
    with broker_alone(folder) as url, spying(url) as spy:
        settings.setattr(intake, "FETCH_SECONDS", 0.2)
        settings.setenv("NATS_URL", url)
        settings.setenv("DATA_DIR", str(folder / "data"))
        with in_this_process(module.app) as client:
            yield Alone(name, spy, folder / "data", client)
        if name in ("wallet", "stations"):  # alone, the two others have nothing to compare their rows with
            assert audit(folder / "data").broken == ()


@pytest.fixture
def participant(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Alone]:
    with alone(request.param, tmp_path, monkeypatch) as participant:
        yield participant


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("participant", names or tuple(MODULES), indirect=True)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_command_is_obeyed_once_and_answered_the_same(
    action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said three times it is one row of work and three equal replies; the relay is told that there is something."""
    with alone(action.split(".")[0], tmp_path, monkeypatch) as it:
        it.spy.hears("outbox.*")
        for _ in range(3):
            it.says(action)
        replies = it.answers(3)
        told = {(each["id"], each["type"], json.dumps(each["data"])) for each in replies}
        assert told == {
            (f"r1.{action}.reply", f"{action}.done", json.dumps({"ride_id": "r1", "command": f"r1.{action}"}))
        }
        assert it.rows("SELECT DISTINCT subject FROM outbox WHERE subject LIKE 'reply.%'") == [f"reply.{action}.r1"]
        assert it.rows("SELECT count(*) FROM obeyed") == [1]
        eventually(lambda: f"outbox.{it.name}" in {heard.subject for heard in it.spy.heard})


@pytest.mark.parametrize(("action", "undo"), UNDONE)
@pytest.mark.parametrize("first", ["action", "undo"])
def test_a_compensation_counts_whenever_it_comes(
    first: str, action: str, undo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its action it undoes it; before it, it is remembered, and the action is refused."""
    with alone(action.split(".")[0], tmp_path, monkeypatch) as it:
        for each in (action, undo) if first == "action" else (undo, action):
            it.says(each)
        replies = {each["data"]["command"]: each for each in it.answers(2)}
        assert replies[f"r1.{undo}"]["type"] == f"{undo}.done"
        refused = replies[f"r1.{action}"]
        assert refused["type"] == f"{action}.{'done' if first == 'action' else 'refused'}"
        assert first == "action" or "before it came" in refused["data"]["reason"]
        if it.name == "wallet":
            assert it.rows("SELECT balance_cents FROM wallets WHERE rider_id = 'ada'") == [100_000]
        else:
            assert it.rows("SELECT ride_id FROM bikes WHERE bike_id = 'b-01'") == [None]


@of("wallet", "stations", "locks")
def test_a_ride_that_has_ended_is_settled_once(participant: Alone) -> None:
    """The fact comes twice: one capture, one bike in its dock, one bolt that closes."""
    participant.says(
        {"wallet": "wallet.hold", "stations": "stations.reserve", "locks": "locks.unlock"}[participant.name]
    )
    participant.answers(1)
    participant.ended()
    participant.ended()
    participant.ended(ride_id="nobody")
    assert participant.dead(1)[0].split(" ")[0] in ("no", "ride")
    queries = {
        "wallet": ("SELECT state, captured_cents FROM holds", [("captured", 120)]),
        "stations": ("SELECT station_id, ride_id FROM bikes WHERE bike_id = 'b-01'", [("C3", None)]),
        "locks": ("SELECT kind, station_id FROM movements ORDER BY seq", [("taken", None), ("returned", "C3")]),
    }
    query, expected = queries[participant.name]
    assert participant.rows(query) == expected


@of("stations")
def test_a_bike_that_finds_no_dock_goes_to_the_workshop(participant: Alone) -> None:
    """What has happened cannot be refused: a full station, or one that is not there, and the van takes the bike."""
    for number in range(1, 8):
        participant.says("stations.reserve", ride_id=f"r{number}", bike_id=f"b-{number + 1:02}")
    participant.answers(7)
    for number in range(1, 7):
        participant.ended(ride_id=f"r{number}", station_id="A1")
    participant.ended(ride_id="r7", station_id="Z9")
    eventually(lambda: participant.rows("SELECT count(*) FROM bikes WHERE workshop") == [3])
    assert participant.rows("SELECT count(*) FROM bikes WHERE station_id = 'A1'") == [8]


@of("rides")
def test_rides_are_told_with_their_row(participant: Alone) -> None:
    """A started ride is a row, a reply and a fact; a refused one is only noted, and cannot end."""
    participant.says("rides.start")
    participant.answers(1)
    assert participant.rows("SELECT event_id FROM outbox ORDER BY seq") == ["r1.started", "r1.rides.start.reply"]
    event = new_event("ride.refused", NOON, ORDER | {"ride_id": "r2", "reason": "no money"}, event_id="r2.refused")
    participant.spy.keep("ride.refused.r2", written(event))
    eventually(lambda: participant.client.get("/rides/r2").status_code == 200)
    check_problem(participant.client.put("/rides/r2/ended", json={"station_id": "A1", "cents": 1}), 409, "refused")
    end = {"station_id": "A1", "cents": 100}
    assert participant.client.put("/rides/r1/ended", json=end).json() == participant.client.get("/rides/r1").json()
    told = json.loads(participant.rows("SELECT content FROM outbox WHERE subject = 'ride.ended.r1'")[0])
    assert (told["id"], told["data"]) == ("r1.ended", {**ORDER, **end})


def raw(action: str, data: object = ORDER, **changes: Any) -> bytes:
    event = {"id": f"r1.{action}", "type": action, "version": 1, "time": NOON.isoformat(), "data": data}
    return json.dumps({key: value for key, value in (event | changes).items() if value != "left out"}).encode()


@of()
def test_poison_is_buried_with_its_reason_and_the_service_goes_on(participant: Alone) -> None:
    """What is no command of this participant is in DEAD, in order; a good one behind all of it is obeyed."""
    action = next(each for each in ACTIONS if each.startswith(participant.name))
    poison = [
        (b"", "0 bytes"),
        (b"not JSON", "content: Invalid JSON"),
        (b"[" * 5000, "content: Invalid JSON"),
        (b" " * (MOST_BYTES + 1), "65,537 bytes"),
        (raw(action, version=2), f"version: 2 of {action}, and 1 is the newest known"),
        (raw(action, id="left out"), "id: Field required"),
        (raw(action, time="left out"), "time: Field required"),
        (raw(action, type="wallet.empty"), "type: wallet.empty is not known"),
        (raw(action, id="r2.wallet.hold"), "id: r2.wallet.hold is not that of"),
        (raw(action, {}), "data.ride_id: Field required"),
        (raw(action, ORDER | {"ride_id": "x" * 41}), "data.ride_id: "),
        (raw(action, ORDER | {"bike_id": "../b"}), "data.bike_id: "),
        *((raw(action, ORDER | {"cents": cents}), "data.cents: ") for cents in (-1, 10**40, 5.5, "5", True, None)),
    ]
    for content, _ in poison:
        participant.spy.keep(f"command.{action}.r1", content)
    participant.says(action, time=datetime.now(UTC) + timedelta(days=3650))  # no clock decides anything here
    assert participant.answers(1)[0]["type"] == f"{action}.done"
    participant.says(action, cents=501)
    reasons = participant.dead(len(poison) + 1)
    assert [found[: len(wanted)] for found, (_, wanted) in zip(reasons, poison, strict=False)] == [w for _, w in poison]
    assert reasons[-1] == f"id: another command r1.{action} was obeyed before"
    with pytest.raises(APIError, match="message size exceeds"):
        participant.spy.keep(f"command.{action}.r1", b" " * (MOST_BYTES + 8192))


@of("wallet")
def test_ten_thousand_commands_at_once(participant: Alone) -> None:
    """All of them are answered, and the books add up; the four riders with money hold as much as they have."""
    asyncio.run(flood(participant.spy._url, 10_000))
    eventually(lambda: participant.rows("SELECT count(*) FROM outbox") == [10_000], within=SECONDS)
    outcomes = dict(participant.rows("SELECT outcome, count(*) FROM obeyed GROUP BY outcome"))
    assert outcomes == {"done": 800, "refused": 9200}
    assert participant.rows("SELECT sum(balance_cents) FROM wallets WHERE rider_id != 'poor'") == [0]


async def flood(url: str, count: int) -> None:
    """Say many commands; the answer to each hundredth says that the stream has all before it."""
    client, riders = Client(), ("ada", "bo", "chen", "dora")
    await client.connect(url)
    for number in range(count):
        order = ORDER | {"ride_id": f"f{number}", "rider_id": riders[number % 4]}
        event = new_event("wallet.hold", NOON, order, event_id=f"f{number}.wallet.hold")
        say = client.publish if number % 100 < 99 else client.jetstream(timeout=SECONDS).publish
        await say(f"command.wallet.hold.f{number}", written(event))
    assert (await client.jetstream().stream_info("COMMANDS")).state.messages == count
    await client.close()


@of("wallet")
def test_what_a_participant_is_told_to_do_wrong(participant: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses, is silent until it is asked again, or is slow, for one action or for one bike alone."""
    monkeypatch.setattr(commands, "REFUSE", "wallet.hold:b-02,wallet.release")
    monkeypatch.setattr(commands, "SILENT", "wallet.hold:b-03")
    monkeypatch.setattr(commands, "SLOW", "wallet.hold:b-04")
    monkeypatch.setattr(commands, "SLOW_SECONDS", 0.5)
    for number in (4, 2, 3, 1):
        participant.says("wallet.hold", ride_id=f"r{number}", bike_id=f"b-0{number}")
    assert [each["id"] for each in participant.answers(3)] == [f"r{n}.wallet.hold.reply" for n in (2, 1, 4)]
    participant.says("wallet.hold", ride_id="r3", bike_id="b-03")
    participant.says("wallet.release")
    *_, asked, refused = participant.answers(5)
    assert (asked["id"], asked["type"], refused["type"]) == (
        "r3.wallet.hold.reply",
        "wallet.hold.done",
        "wallet.release.refused",
    )
    monkeypatch.setattr(commands, "REFUSE", "")
    participant.says("wallet.release")
    assert participant.answers(6)[-1]["type"] == "wallet.release.done"
    assert participant.rows("SELECT state FROM holds ORDER BY ride_id") == ["released", "open", "open"]


@of("wallet")
def test_a_database_in_trouble_is_waited_for(participant: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it lasts nothing is lost or buried; a mistake of ours is tried a few times, then buried."""
    with closing(sqlite3.connect(participant.folder / "wallet.db", isolation_level=None)) as db:
        db.execute("ALTER TABLE obeyed RENAME TO away")
        participant.says("wallet.hold")
        eventually(lambda: participant.spy.consumer("COMMANDS", "wallet").num_redelivered, within=SECONDS)
        db.execute("ALTER TABLE away RENAME TO obeyed")
    assert participant.answers(1)[0]["type"] == "wallet.hold.done"

    def mistaken(db: sqlite3.Connection, order: commands.Order) -> None:
        raise KeyError("a mistake")

    monkeypatch.setitem(holds.ACTIONS, "wallet.hold", commands.Action(mistaken))
    participant.says("wallet.hold", ride_id="r2")
    assert participant.dead(1) == ["tried 5 times, at last KeyError"]
