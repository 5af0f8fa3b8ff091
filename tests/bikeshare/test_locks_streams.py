"""The streams of the locks: a feed that can be resumed anywhere, readers at their own pace, ends that are clean."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc import StatusCode

from lab_services.bikeshare.locks_messages import messages
from tests.bikeshare.locks_town import Gateway, ask, locks_gateway, outcome, status_of, stub_of, talk, wish
from tests.bikeshare.town import STOP_SECONDS, eventually

LONG_LEDGER = 30_000
LAST_LINES = 3_000  # read beside those who stall; meanwhile a queue for each would hold the whole ledger (measured)
WATCHERS = 12
MEGABYTE = 1_000_000
OPEN_STREAMS = "SELECT count(*) FROM calls WHERE ended_at IS NULL AND rpc = ?"
FILL = """WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
    INSERT INTO openings(lock_id, ride_id, kind, at)
    SELECT 'l-60', 'r-' || n, 'opened', '2026-01-01T00:00:00+00:00' FROM number"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Three replicas on one ledger, with devices that answer at once."""
    with locks_gateway(tmp_path_factory.mktemp("locks"), 3, DEVICE_SECONDS="0", IDLE_SECONDS="5") as gateway:
        yield gateway
        assert "Traceback" not in gateway.logs()


async def read(call: Any, count: int) -> list[int]:
    return [(await call.read()).event.sequence for _ in range(count)]


def watch(stub: Any, after: int | None = None) -> Any:
    return stub.WatchLocks(messages.WatchLocksRequest(after_sequence=after))


def open_streams(gateway: Gateway, rpc: str = "WatchLocks") -> int:
    return int(gateway.rows(OPEN_STREAMS, rpc)[0][0])


def newest(gateway: Gateway) -> int:
    return int(gateway.rows("SELECT coalesce(max(seq), 0) FROM openings")[0][0])


def test_a_feed_goes_on_at_another_replica_without_gap_or_repeat(gateway: Gateway) -> None:
    """A watcher that changes the replica after every third event, while all replicas open locks, sees each one once."""
    first = newest(gateway)

    async def open_many() -> None:
        for number in range(30):
            async with stub_of(gateway.targets[number % 3]) as stub:
                await outcome(stub, "Unlock", **wish(f"l-{number + 1:02}"))

    async def follow() -> list[int]:
        seen: list[int] = []
        while len(seen) < 30:
            async with stub_of(gateway.targets[len(seen) % 3]) as stub:
                call = watch(stub, seen[-1] if seen else first)
                seen += await asyncio.wait_for(read(call, 3), 20)
                call.cancel()
        return seen

    async def both() -> list[int]:
        return (await asyncio.gather(follow(), open_many()))[0]

    assert asyncio.run(both()) == list(range(first + 1, first + 31))


def test_unset_differs_from_zero(gateway: Gateway) -> None:
    """Without after_sequence a watcher sees what happens from then on, with 0 the whole ledger."""
    ask(gateway, "Unlock", **wish("l-31"))
    before = newest(gateway)

    async def follow(stub: Any) -> tuple[list[int], list[int]]:
        new, all_of_them = watch(stub), watch(stub, 0)
        await new.initial_metadata()
        await outcome(stub, "Unlock", **wish("l-32"))
        return await asyncio.wait_for(read(new, 1), 20), await asyncio.wait_for(read(all_of_them, before + 1), 20)

    assert talk(gateway, follow) == ([before + 1], list(range(1, before + 2)))


def test_a_place_that_is_not_in_the_ledger_is_refused(gateway: Gateway) -> None:
    """A watcher of another ledger's future, or from before its beginning, is told so."""

    async def follow(stub: Any) -> list[tuple[StatusCode, str]]:
        return [await status_of(watch(stub, after)) for after in (newest(gateway) + 1, -1, 2**63 - 1)]

    for code, details in talk(gateway, follow):
        assert code is StatusCode.OUT_OF_RANGE and "after_sequence" in details


def test_a_stream_ends_when_its_client_leaves(gateway: Gateway) -> None:
    """A watcher that cancels, one whose deadline ends and one whose connection breaks leave no stream behind."""

    async def leave() -> None:
        async with stub_of(gateway.targets[0]) as stub:
            calls = [watch(stub), watch(stub), stub.WatchLocks(messages.WatchLocksRequest(), timeout=4)]
            for call in calls:
                await call.initial_metadata()
            while open_streams(gateway) < 3:
                await asyncio.sleep(0.02)
            calls[0].cancel()
            assert await calls[2].code() is StatusCode.DEADLINE_EXCEEDED

    asyncio.run(asyncio.wait_for(leave(), 30))
    eventually(lambda: open_streams(gateway) == 0)
    [(code,)] = gateway.rows("SELECT code FROM calls WHERE rpc = 'WatchLocks' AND remaining_seconds IS NOT NULL")
    assert code in ("DEADLINE_EXCEEDED", "CANCELLED")  # the latter where the request came late, and its clock goes on


def test_slow_readers_cost_little_memory_and_delay_nobody(tmp_path: Path) -> None:
    """Twelve watchers of a long ledger who read nothing: memory is bounded, a call and a thirteenth are not delayed."""
    with locks_gateway(tmp_path, DEVICE_SECONDS="0") as gateway:
        process = psutil.Process(gateway.processes[0].pid)
        gateway.run(FILL, LONG_LEDGER)

        async def stall(stub: Any) -> float:
            await read(watch(stub, LONG_LEDGER - 1), 1)
            before = process.memory_info().rss
            stalled = [watch(stub, 0) for _ in range(WATCHERS)]
            for call in stalled:
                await call.read()
            async with stub_of(gateway.targets[0]) as other:
                await asyncio.wait_for(outcome(other, "Unlock", **wish("l-01")), 5)
                last = LONG_LEDGER - LAST_LINES
                seen = await asyncio.wait_for(read(watch(other, last), LAST_LINES + 1), 100)  # a busy machine
                assert seen == [*range(last + 1, LONG_LEDGER + 2)]
            grown = process.memory_info().rss - before
            await asyncio.sleep(1)
            assert process.memory_info().rss - before < grown + 5 * MEGABYTE
            assert open_streams(gateway) >= WATCHERS
            return grown / MEGABYTE

        # 12 pages of 100 rows and HTTP/2's windows; a queue for each would be 12 x 30,000 events, some 100 MB
        assert talk(gateway, stall, seconds=140) < 60


def test_too_many_streams_are_refused_and_a_place_becomes_free(tmp_path: Path) -> None:
    """The third stream of two is RESOURCE_EXHAUSTED, a unary call is not, and when one ends the next is taken."""
    with locks_gateway(tmp_path, MOST_STREAMS="2") as gateway:

        async def fill(stub: Any) -> None:
            one, two = watch(stub), watch(stub)
            await one.initial_metadata()
            await two.initial_metadata()
            assert (await status_of(watch(stub)))[0] is StatusCode.RESOURCE_EXHAUSTED
            assert (await outcome(stub, "GetLock", lock_id="l-01")).lock.lock_id == "l-01"
            one.cancel()
            while open_streams(gateway) != 1:
                await asyncio.sleep(0.02)
            await asyncio.wait_for(watch(stub).initial_metadata(), 20)

        talk(gateway, fill)


async def pings(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        place = messages.Position(x_metres=number % 2, y_metres=7)
        yield messages.RecordPositionsRequest(lock_id=f"l-0{1 + number % 3}", position=place)


def test_positions_are_summed_while_they_come(gateway: Gateway) -> None:
    """Twenty thousand positions are one summary, the last of each lock is stored, and none is kept in memory."""
    process = psutil.Process(gateway.processes[0].pid)

    async def send(stub: Any) -> Any:
        await stub.RecordPositions(pings(100))
        before = process.memory_info().rss
        summary = await stub.RecordPositions(pings(20_000))
        assert process.memory_info().rss - before < 5 * MEGABYTE
        return summary

    summary = talk(gateway, send)
    assert (summary.positions, summary.locks, summary.metres) == (20_000, 3, 20_000 - 3)
    places = [ask(gateway, "GetLock", replica=1, lock_id=lock_id).lock.position for lock_id in ("l-01", "l-02", "l-03")]
    assert [(place.x_metres, place.y_metres) for place in places] == [(0, 7), (1, 7), (1, 7)]  # of 19998, 19999, 19997
    assert not ask(gateway, "GetLock", lock_id="l-09").lock.HasField("position")


def test_bad_positions_refuse_the_whole_stream(gateway: Gateway) -> None:
    """An unknown lock, a missing place and one outside of the city end the stream, and nothing of it is stored."""
    good = messages.RecordPositionsRequest(lock_id="l-08", position=messages.Position(x_metres=1))
    bad = [
        (messages.RecordPositionsRequest(lock_id="l-99", position=messages.Position()), StatusCode.NOT_FOUND),
        (messages.RecordPositionsRequest(lock_id="l-08"), StatusCode.INVALID_ARGUMENT),
        (messages.RecordPositionsRequest(position=messages.Position()), StatusCode.INVALID_ARGUMENT),
        (
            messages.RecordPositionsRequest(lock_id="l-08", position=messages.Position(y_metres=-1)),
            StatusCode.INVALID_ARGUMENT,
        ),
    ]

    async def send(stub: Any) -> list[StatusCode]:
        return [await stub.RecordPositions(iter([good, each])).code() for each, _ in bad]

    assert talk(gateway, send) == [code for _, code in bad]
    assert gateway.rows("SELECT * FROM positions WHERE lock_id = 'l-08'") == []


def test_a_session_answers_each_command_in_its_order(gateway: Gateway) -> None:
    """Open, open again, close: three answers; a refused command ends the session with its status, and no other."""

    def command(name: str, lock_id: str, request_id: str = "") -> Any:
        kind = messages.SessionCommand.Value(f"SESSION_COMMAND_{name}")
        return messages.LockSessionRequest(command=kind, **wish(lock_id, "r-9", request_id))

    async def converse(stub: Any) -> list[Any]:
        call = stub.LockSession()
        answers = []
        for name, request_id in [("OPEN", "s-1"), ("OPEN", "s-1"), ("CLOSE", "")]:
            await call.write(command(name, "l-40", request_id))
            answers.append(await call.read())
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF and await call.code() is StatusCode.OK
        refused = stub.LockSession(iter([command("OPEN", "l-41"), command("UNSPECIFIED", "l-41")]))
        answers.append(await refused.read())
        with pytest.raises(grpc.aio.AioRpcError):
            await refused.read()
        assert (await status_of(refused)) == (StatusCode.INVALID_ARGUMENT, "command: to open or to close")
        return answers

    opened, again, closed, other = talk(gateway, converse)
    assert (opened.event, again.answered_before) == (again.event, True)
    assert [each.event.kind for each in (opened, closed, other)] == [1, 2, 1]
    ledger = gateway.rows("SELECT lock_id, kind FROM openings WHERE ride_id = 'r-9' ORDER BY seq")
    assert ledger == [("l-40", "opened"), ("l-40", "closed"), ("l-41", "opened")]


def test_a_stream_in_which_nothing_comes_is_ended(gateway: Gateway) -> None:
    """Whoever opens a session or a track and then says nothing is sent away; a watcher may be silent."""

    async def be_silent(stub: Any) -> list[StatusCode]:
        watcher = watch(stub)
        silent = [stub.LockSession(), stub.RecordPositions()]
        codes = [await asyncio.wait_for(call.code(), 30) for call in silent]
        assert not watcher.done()
        return codes

    assert talk(gateway, be_silent) == [StatusCode.ABORTED] * 2


def test_streams_leave_a_replica_that_leaves(tmp_path: Path) -> None:
    """On SIGTERM a watcher is told UNAVAILABLE at once, and goes on elsewhere where it was; so is one who stalls."""
    with locks_gateway(tmp_path, 2, DEVICE_SECONDS="0") as gateway:
        gateway.run(FILL, LONG_LEDGER)

        async def move() -> list[int]:
            async with stub_of(gateway.targets[0]) as stub, stub_of(gateway.targets[1]) as other:
                watcher, stalled, session = watch(stub, LONG_LEDGER - 1), watch(stub, 0), stub.LockSession()
                seen = await read(watcher, 1) + await read(stalled, 0)
                await session.write(messages.LockSessionRequest(command=1, **wish("l-01")))
                await session.read()
                seen += await read(watcher, 1)  # gRPC tells a client the status only behind the last answer
                while open_streams(gateway) + open_streams(gateway, "LockSession") < 3:
                    await asyncio.sleep(0.02)
                gateway.processes[0].send_signal(signal.SIGTERM)
                assert (await status_of(watcher)) == (StatusCode.UNAVAILABLE, "this replica leaves")
                assert await session.code() is StatusCode.UNAVAILABLE
                await outcome(other, "Unlock", **wish("l-02"))
                return seen + await read(watch(other, LONG_LEDGER + 1), 1)

        assert asyncio.run(asyncio.wait_for(move(), 40)) == [*range(LONG_LEDGER, LONG_LEDGER + 3)]
        assert gateway.processes[0].wait(STOP_SECONDS) == 0
        codes = gateway.rows("SELECT rpc, code FROM calls WHERE replica = ?", gateway.processes[0].pid)
        assert {code for _, code in codes} == {"UNAVAILABLE"}, codes
