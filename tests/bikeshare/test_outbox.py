"""The outbox and its relay with a real broker: each row is said once, in order, and none is passed over."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.js.api import StreamConfig

from lab_services.bikeshare import outbox
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.messages import MOST_BYTES, connected, new_event
from lab_services.bikeshare.relaying import Relay
from lab_services.checks.broker_probes import Spy, spying
from tests.servers.alone import broker_alone

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SECONDS = 30.0
POLL_SECONDS = 0.05
FACTS = StreamConfig(name="FACTS", subjects=["fact.*"], max_msg_size=1000, duplicate_window=60)
Done = Callable[[], bool]


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    """Run a broker, and open an empty outbox in the file books.db."""
    with broker_alone(tmp_path) as url, spying(url) as spy:
        monkeypatch.setenv("NATS_URL", url)
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        with opened("books", outbox.SCHEMA):
            yield spy


def put(*names: str, length: int = 0) -> None:
    """Write events, r1.2 as the second one of ride r1, in one transaction."""
    with transaction("books") as db:
        for name in names:
            data = {"ride_id": name.split(".")[0], "text": "x" * length}
            outbox.put(db, "fact", new_event("ride.seen", NOON, data, event_id=name))


def relay(until: Done, *names: str) -> None:
    """Let relays of these names work until something is so."""

    async def work() -> None:
        over = asyncio.Event()
        async with connected() as client, asyncio.timeout(SECONDS):
            relays = [Relay("books", name, POLL_SECONDS, {"fact": FACTS}) for name in names]
            tasks = [asyncio.create_task(each.work(client, over)) for each in relays]
            while not await asyncio.to_thread(until):
                await asyncio.sleep(POLL_SECONDS)
            over.set()
            await asyncio.gather(*tasks)

    asyncio.run(work())


def rows() -> int:
    return int(str(outbox.waiting("books")["rows"]))


def told(spy: Spy) -> list[str]:
    return [message.headers["Nats-Msg-Id"] for message in spy.kept("FACTS")]


def test_rows_are_said_in_their_order_and_forgotten(spy: Spy) -> None:
    """The ids are those of the events, a dot in a ride's id makes no second part, and nothing is left."""
    names = [f"r{number % 3}.{number}" for number in range(250)]
    put(*names)
    relay(lambda: rows() == 0, "one")
    assert told(spy) == names and {m.subject for m in spy.kept("FACTS")} == {"fact.r0", "fact.r1", "fact.r2"}
    put("r0.250")
    relay(lambda: rows() == 0, "one")
    assert told(spy)[-1] == "r0.250"


def test_two_relays_neither_double_nor_reorder(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when both believe that it is their turn."""
    monkeypatch.setattr(outbox, "LEASE_SECONDS", -1.0)
    names = [f"r{number % 3}.{number}" for number in range(150)]
    put(*names)
    relay(lambda: rows() == 0, "one", "two")
    assert told(spy) == names


def test_a_relay_that_has_died_is_replaced(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its turn ends by itself; until then the other one says nothing, and one of the same name goes on at once."""
    put("r1.1")
    monkeypatch.setattr(outbox, "LEASE_SECONDS", 60.0)
    assert len(outbox.due("books", "dead", ())) == 1
    assert outbox.due("books", "other", ()) == [] and len(outbox.due("books", "dead", ())) == 1
    monkeypatch.setattr(outbox, "LEASE_SECONDS", 0.2)
    assert len(outbox.due("books", "dead", ())) == 1
    relay(lambda: rows() == 0, "other")
    assert told(spy) == ["r1.1"]


def test_a_row_that_is_refused_holds_up_its_own_ride_alone(spy: Spy) -> None:
    """The others are said; the refused one is tried again for ever, visible, and its ride keeps its order."""
    put("r1.1", length=2000)
    put("r1.2", "r2.1", "r3.1")
    relay(lambda: rows() == 2 and bool(outbox.waiting("books")["trouble"]), "one")
    assert told(spy) == ["r2.1", "r3.1"] and "message size" in str(outbox.waiting("books")["trouble"])
    spy.jetstream("update_stream", FACTS.evolve(max_msg_size=MOST_BYTES))
    relay(lambda: rows() == 0, "one")
    assert told(spy) == ["r2.1", "r3.1", "r1.1", "r1.2"]


def test_a_late_commit_is_not_passed_over(spy: Spy) -> None:
    """A relay that has said later things still finds what was committed last: it keeps no place of its own."""
    put("r1.1", "r1.2")
    relay(lambda: rows() == 0, "one")
    with transaction("books") as db:
        event = new_event("ride.seen", NOON, {"ride_id": "r0"}, event_id="r0.1")
        outbox.put(db, "fact", event)
        db.execute("UPDATE outbox SET seq = 1 WHERE event_id = 'r0.1'")
    relay(lambda: rows() == 0, "one")
    assert told(spy) == ["r1.1", "r1.2", "r0.1"]


def test_what_is_rolled_back_is_never_said_and_what_is_too_long_never_written(spy: Spy) -> None:
    """The row of the outbox shares the fate of the row that it tells of."""
    with pytest.raises(ValueError, match="70,108 bytes, 65,536 at most"):
        put("r1.1", "r1.2", length=70_000)
    with pytest.raises(KeyError), transaction("books") as db:
        outbox.put(db, "fact", new_event("ride.seen", NOON, {"ride_id": "r2"}, event_id="r2.1"))
        raise KeyError("something else goes wrong")
    assert rows() == 0


def test_a_file_without_an_outbox_has_nothing_to_say(spy: Spy, tmp_path: Path) -> None:
    """A service that has not begun yet, or has no outbox, is no trouble, and no file is made for it."""
    sqlite3.connect(tmp_path / "other.db").close()
    assert outbox.due("nobody", "one", ()) == outbox.due("other", "one", ()) == []
    assert not (tmp_path / "nobody.db").exists()
