"""Checks of task 3.5: streams that survive their replica, cost little and end; calls that reach all replicas."""

import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import psutil
import pytest

from lab_services.bikeshare.interfaces import compiled
from lab_services.checks import eventually, expect, rows, together

sys.path.append(HERE := str(Path(__file__).parent))
live, live_services = grpc.protos_and_services("live.proto")
sys.path.remove(HERE)
locks, _ = compiled("bikeshare/locks/v1/locks.proto")

FOLLOW, ADD_UP, CONVERSE, SPREAD = "feed.py: follow", "feed.py: add_up", "feed.py: converse", "spread.py: Spread"
CALL_SECONDS, STREAM_SECONDS, WAIT_SECONDS = 2.5, 9.0, 3.0
BACKLOG, MORE = 300, 50  # lines of the ledger before and after a replica goes
LONG_LEDGER, EVENT_BYTES, READ_ON = 8_000, 16_000, 1_200  # of a gateway that always has something to tell
MOST_AHEAD = 4_000  # gRPC itself gives a fast connection room for some hundreds
STILL_SECONDS, IDLE_SECONDS = 0.5, 3.6
PHONES, LEDGER = 12, 8000
BATCHES, BATCH, FEW_BATCHES, SAMPLE = 1000, 100, 50, 100
MEGABYTE, MOST_MEGABYTES = 1_000_000, 40  # of 63; gRPC itself gives a fast stream room for some of them
CALLS, CALLERS, FAIR = 60, 4, 0.2
MOST_CONNECTIONS = 20
OPEN = "SELECT replica, peer FROM calls WHERE rpc = ? AND ended_at IS NULL ORDER BY began_at DESC"
HOUR_MS = 3_600_000  # a server that hangs up a moment earlier than the locks would, so that the check is shorter
STRICT = [("grpc.http2.max_ping_strikes", 1), ("grpc.http2.min_recv_ping_interval_without_data_ms", HOUR_MS)]
LINES = 8 * "$GPGGA,075934.00,4717.11437,N,00833.91522,E,1,08,1.01,499.6,M,48.0,M,,*5B\r\n"
TELL = """WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
    INSERT INTO openings(lock_id, ride_id, kind, at)
    SELECT 'l-60', 'r-' || n, 'opened', '2026-01-01T00:00:00+00:00' FROM number"""


@contextmanager
def phone(city: Any) -> Iterator[Any]:
    """Give a stub of live on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(city["live"].url, options=options) as channel:
        yield live_services.LiveServiceStub(channel)


def code_of(error: object) -> str:
    """Say how a call has ended, in words."""
    return f"{error.code().name}: {error.details()}" if isinstance(error, grpc.RpcError) else repr(error)


class Feed:
    """What one phone has heard of Follow: `seen`, the sequences in the order in which they came, and `end`."""

    def __init__(self, stub: Any, after: int = 0) -> None:
        self.call = stub.Follow(live.FollowRequest(after_sequence=after), timeout=STREAM_SECONDS)
        self.seen: list[int] = []
        self.end = ""
        self._heard = threading.Thread(target=self.read, daemon=True)

    def read(self, most: int | None = None) -> None:
        """Take what comes, to the end of the stream or so many."""
        try:
            for told in self.call:
                self.seen.append(told.sequence)
                if len(self.seen) == most:
                    return
            self.end = "OK"
        except grpc.RpcError as error:
            self.end = code_of(error)

    def listening(self) -> "Feed":
        """Take what comes, beside the check."""
        self._heard.start()
        return self

    def until(self, count: int) -> list[int]:
        """Wait until so many have come, or the stream has ended, or too long; return what has come."""
        eventually(lambda: len(self.seen) >= count or self.end, within=WAIT_SECONDS)
        return list(self.seen)


def told(feed: Feed, count: int) -> str:
    """Say what is wrong with a feed of which 1 to `count` were expected."""
    seen = feed.seen
    missing, twice = sorted(set(range(1, count + 1)) - set(seen)), [s for s, n in Counter(seen).items() if n > 1]
    found = f"{len(seen)} events; missing: {missing[:5]} ({len(missing)}), twice: {twice[:5]} ({len(twice)})"
    return f"{found}; the stream has ended: {feed.end or 'no'}"


def expect_each_once(feed: Feed, count: int, sent: str, why: str, look: str = FOLLOW) -> None:
    """Expect that a phone hears the events 1 to `count`, each once and in their order."""
    came = feed.until(count)
    expect(
        came == list(range(1, count + 1)),
        sent=sent,
        expected=f"1 to {count}, each once and in their order",
        came=told(feed, count),
        why=why,
        look=look,
        service="live",
    )


def expect_words(condition: object, sent: str, expected: str, came: object, why: str) -> None:
    """Expect something of a conversation."""
    expect(condition, sent=sent, expected=expected, came=came, why=why, look=CONVERSE, service="live")


def tell(city: Any, count: int) -> None:
    """Let bolts move: write so many lines into the ledger."""
    with closing(sqlite3.connect(city["locks"].data / "locks.db", timeout=2)) as db, db:
        db.execute(TELL, [count])


def calls(city: Any, sql: str, *values: object) -> list[dict[str, Any]]:
    """Return rows of what callers did at the locks."""
    return rows(city["locks"].data / "locks.db", sql, *values)


def feeder(city: Any, rpc: str = "WatchLocks") -> int:
    """Return the number of the replica of the locks at which the one open stream is."""
    eventually(lambda: len(calls(city, OPEN, rpc)) == 1)
    open_at = [row["replica"] for row in calls(city, OPEN, rpc)]
    return city["locks"].pids.index(open_at[0]) + 1 if open_at else 1


def get_lock(stub: Any) -> str:
    """Ask for one lock; return how the call has ended."""
    try:
        stub.GetLock(live.GetLockRequest(lock_id="l-01"), timeout=CALL_SECONDS)
        return "OK"
    except grpc.RpcError as error:
        return code_of(error)


class Callers:
    """Some phones that ask for a lock, again and again, until told to stop; `failures` is what they were refused."""

    def __init__(self, stub: Any) -> None:
        self.failures: list[str] = []
        self.answers = 0
        self._stub, self._stop = stub, threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]

    def _call(self) -> None:
        while not self._stop.is_set():
            answer = get_lock(self._stub)
            self.answers += 1
            if answer != "OK":
                self.failures.append(answer)

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(CALL_SECONDS)


class FakeLocks:
    """A gateway that has `backlog` large events to tell; counts what it sent, the streams, and those that ended."""

    def __init__(self) -> None:
        self.backlog, self.sent, self.streams, self.ended = 0, 0, 0, 0
        watch = grpc.unary_stream_rpc_method_handler(self.watch, locks.WatchLocksRequest.FromString)
        handler = grpc.method_handlers_generic_handler("bikeshare.locks.v1.LocksService", {"WatchLocks": watch})
        self._server = grpc.server(ThreadPoolExecutor(4), [handler], options=STRICT)
        self.url = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def watch(self, request: Any, context: Any) -> Iterator[bytes]:
        """Tell the backlog after a sequence as fast as it is taken; then be silent."""
        over = threading.Event()
        context.add_callback(over.set)
        self.streams += 1
        for sequence in range(request.after_sequence + 1, self.backlog + 1):
            event = locks.LockEvent(sequence=sequence, lock_id="l" * EVENT_BYTES)
            self.sent += 1
            yield locks.WatchLocksResponse(event=event).SerializeToString()
        over.wait(STREAM_SECONDS)
        self.ended += 1

    def sent_at_rest(self) -> int:
        """Return how many it could send when it can send no more, or when that is too many anyway."""
        before, since = self.sent, time.monotonic()
        while self.sent <= MOST_AHEAD and (time.monotonic() < since + STILL_SECONDS or not self.sent):
            if self.sent != before:
                before, since = self.sent, time.monotonic()
            threading.Event().wait(0.02)
        return self.sent

    def close(self) -> None:
        """End it, and what is open."""
        self._server.stop(None)


@pytest.fixture
def fake_locks() -> Iterator[FakeLocks]:
    """Stand in for the locks."""
    gateway = FakeLocks()
    yield gateway
    gateway.close()


def test_the_feed_goes_on_when_its_replica_dies(city: Any) -> None:
    """A replica dies with events that it has not told: another one tells them, each once; what all refuse, ends."""
    tell(city, BACKLOG)
    with phone(city) as stub:
        feed = Feed(stub).listening()
        feed.until(BACKLOG)
        number = feeder(city)
        city.pause("locks", replica=number)
        tell(city, MORE)
        city.kill("locks", replica=number)
        sent = f"Follow after 0: {BACKLOG} events; {MORE} more happen while replica {number}, which tells them, dies"
        why = "who misses an event sees a bike that is not there; who gets one twice counts it twice"
        expect_each_once(feed, BACKLOG + MORE, sent, why)
    with phone(city) as stub:
        refused = Feed(stub, 10 * BACKLOG).listening()
        refused.until(1)
    expect(
        refused.end.startswith("OUT_OF_RANGE"),
        sent=f"Follow after {10 * BACKLOG}, which is beyond the end of the ledger",
        expected="OUT_OF_RANGE, as the locks answer it: every replica would",
        came=refused.end or "nothing: the stream goes on",
        why="trying again helps against a replica that went away; a wrong question stays wrong",
        look=FOLLOW,
        service="live",
    )


def test_replicas_are_replaced_without_a_loss(city: Any) -> None:
    """All three replicas are replaced under load: every call is answered, and the feed has every event once."""
    with phone(city) as stub:
        feed = Feed(stub).listening()
        with Callers(stub) as callers:
            tell(city, BACKLOG)
            city.restart("locks")
            tell(city, MORE)
            feed.until(BACKLOG + MORE)
    expect(
        callers.failures == [] and callers.answers > CALLERS,
        sent=f"GetLock from {CALLERS} phones while each replica of the locks is replaced",
        expected="an answer to each call",
        came=callers.failures[:3] or "no answer at all",
        why="a replica that leaves finishes what it has begun: nobody has to notice a new version",
        look=SPREAD,
        service="live",
    )
    sent = f"Follow after 0: {BACKLOG} events before and {MORE} after each replica of the locks was replaced"
    why = "a replica that leaves ends its streams with UNAVAILABLE: that is no end of the feed"
    expect_each_once(feed, BACKLOG + MORE, sent, why)


@pytest.mark.city(replace={"locks": "fake_locks"})
def test_a_slow_phone_fills_no_memory(city: Any, fake_locks: FakeLocks) -> None:
    """A phone reads one event and rests: live soon takes no more from the locks, and afterwards nothing is missing."""
    fake_locks.backlog = LONG_LEDGER
    with phone(city) as stub:
        feed = Feed(stub)
        feed.read(most=1)
        ahead = fake_locks.sent_at_rest()
        together([lambda: feed.read(most=READ_ON)], within=WAIT_SECONDS)
    sent = f"Follow; the phone reads 1 event, rests, and reads on to {READ_ON}"
    why = "nothing is dropped: the ledger on disk keeps what a slow phone has not read yet"
    expect_each_once(feed, READ_ON, sent, why)
    megabytes = EVENT_BYTES / MEGABYTE
    expect(
        ahead <= MOST_AHEAD,
        sent=f"Follow; the phone reads 1 event and rests; the locks have {LONG_LEDGER * megabytes:.0f} MB of them",
        expected=f"live stops reading soon after: {MOST_AHEAD * megabytes:.0f} MB at most are on the way",
        came=f"live has taken {ahead * megabytes:.0f} MB, and goes on, for one phone in a tunnel",
        why="a queue without a limit turns a slow phone into a full memory, and then nobody is served",
        look=FOLLOW,
        service="live",
    )


@pytest.mark.city(replace={"locks": "fake_locks"})
def test_a_quiet_feed_is_left_alone(city: Any, fake_locks: FakeLocks) -> None:
    """Nothing happens at the locks for a while: the one stream to them stays as it is."""
    with phone(city) as stub:
        feed = Feed(stub).listening()
        eventually(lambda: fake_locks.streams)
        ended = eventually(lambda: fake_locks.ended, within=IDLE_SECONDS)
    expect(
        fake_locks.streams == 1 and not ended,
        sent=f"Follow, and nothing happens for {IDLE_SECONDS:g} s",
        expected="one stream to the locks, all the time",
        came=f"{fake_locks.streams} so far, {ended} of them ended; the phone heard: {feed.end or 'nothing'}",
        why="a server counts pings between which it has sent nothing; soon it says ENHANCE_YOUR_CALM and hangs up",
        look="spread.py: OPTIONS",
        service="live",
    )


def test_a_stream_ends_with_its_phone(city: Any) -> None:
    """Twelve phones follow and half of them stop reading: a call is answered; when they leave, no stream is left."""
    tell(city, LEDGER)
    with phone(city) as stub:
        feeds = [Feed(stub, after) for after in (0, LEDGER) for _ in range(PHONES // 2)]
        together([lambda feed=feed: feed.read(most=1) for feed in feeds[: PHONES // 2]], within=1.5)
        eventually(lambda: len(calls(city, OPEN, "WatchLocks")) == PHONES)
        opened, answer = len(calls(city, OPEN, "WatchLocks")), get_lock(stub)
    expect(
        opened == PHONES and answer == "OK",
        sent=f"{PHONES} phones follow, half of them read nothing any more; then GetLock",
        expected=f"{PHONES} streams open at the locks, and an answer to GetLock within {CALL_SECONDS:g} s",
        came=f"{opened} streams; GetLock: {answer}",
        why="one process serves all phones: whoever waits in it must let the others go on",
        look=FOLLOW,
        service="live",
    )
    left = eventually(lambda: not calls(city, OPEN, "WatchLocks"), within=WAIT_SECONDS)
    expect(
        left,
        sent=f"all {PHONES} phones hang up",
        expected=f"no stream is open at the locks, within {WAIT_SECONDS:g} s",
        came=f"{len(calls(city, OPEN, 'WatchLocks'))} are still open",
        why="what goes on for a phone that has left is a leak: each evening ends with a restart",
        look=FOLLOW,
        service="live",
    )


class Track:
    """A long ride of five bikes, in batches; it looks at the memory of live while it is sent."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._before, self.grown = process, 0, 0

    def batches(self, count: int) -> Iterator[Any]:
        """Send so many batches: each bike steps one metre to the east and back."""
        places = ((f"b-{ping % 5:02}", 7 + ping // 5 % 2) for ping in range(BATCH))
        pings = [live.Ping(bike_id=bike, x_metres=x, y_metres=7, lines=LINES) for bike, x in places]
        for number in range(count):
            yield live.RecordPingsRequest(pings=pings)
            if number % SAMPLE == SAMPLE - 1:
                self.grown = max(self.grown, self._process.memory_info().rss - self._before)

    def send(self, stub: Any, count: int) -> Any:
        """Send so many batches; return the answer, or how the call has ended."""
        self._before, self.grown = self._process.memory_info().rss, 0
        try:
            return stub.RecordPings(self.batches(count), timeout=STREAM_SECONDS)
        except grpc.RpcError as error:
            return code_of(error)


@pytest.mark.city(replace={"locks": "fake_locks"})
def test_pings_are_summed_while_they_come(city: Any) -> None:
    """A stream of 100,000 pings is one sum, and live needs no more memory for it than for a few."""
    with phone(city) as stub:
        track = Track(psutil.Process(city["live"].pids[0]))
        track.send(stub, FEW_BATCHES)
        answer = track.send(stub, BATCHES)
    pings = BATCHES * BATCH
    expect(
        answer == live.RecordPingsResponse(pings=pings, bikes=5, metres=pings - 5),
        sent=f"RecordPings: {pings} pings of 5 bikes, one metre from each to the next of the same bike",
        expected=f"pings: {pings}, bikes: 5, metres: {pings - 5}",
        came=answer,
        why="the way is what the rider pays for",
        look=ADD_UP,
        service="live",
    )
    expect(
        track.grown < MOST_MEGABYTES * MEGABYTE,
        sent=f"RecordPings: {pings} pings in {BATCHES} messages",
        expected=f"live grows by less than {MOST_MEGABYTES} MB while they come",
        came=f"live has grown by {track.grown / MEGABYTE:.1f} MB",
        why="a sum needs one number; a list of a whole day needs a bigger machine each summer",
        look=ADD_UP,
        service="live",
    )


class Talk:
    """A conversation with the locks: say one command, hear its answer."""

    def __init__(self, stub: Any) -> None:
        self._commands: SimpleQueue[Any] = SimpleQueue()
        self.call = stub.Converse(iter(self._commands.get, None), timeout=STREAM_SECONDS)
        self.heard: list[Any] = []
        self._within = WAIT_SECONDS  # after one command without an answer, none is waited for
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def _listen(self) -> None:
        try:
            for answer in self.call:
                self.heard.append((answer.sequence, answer.answered_before))
            self.heard.append("OK")
        except grpc.RpcError as error:
            self.heard.append(code_of(error))

    def say(self, lock_id: str, ride_id: str, is_open: bool = True, request_id: str = "") -> Any:
        """Say one command; return (sequence, answered_before), or how the conversation has ended."""
        if not self._listening.is_alive():
            return self.heard[-1]
        count = len(self.heard)
        wish = live.ConverseRequest(lock_id=lock_id, ride_id=ride_id, open=is_open, request_id=request_id)
        self._commands.put(wish)
        self._within = WAIT_SECONDS if eventually(lambda: len(self.heard) > count, within=self._within) else 0.0
        return self.heard[-1] if len(self.heard) > count else "no answer"

    def close(self) -> Any:
        """Say no more; return how the conversation has ended."""
        self._commands.put(None)
        self._listening.join(WAIT_SECONDS)
        return self.heard[-1] if self.heard else "no answer"


def expect_refusal(talk: Talk) -> None:
    """Expect that a lock which is open for somebody else is refused in the words of the locks."""
    came = (talk.say("l-02", "r-2"), talk.say("l-02", "r-3"))[1]
    talk.close()
    refused, why = str(came).startswith("FAILED_PRECONDITION"), "the rider has to hear that the bike is somebody else's"
    expect_words(refused, "Converse: open l-02 for r-2, then for r-3", "FAILED_PRECONDITION", came, why)


def test_a_conversation_is_passed_on(city: Any) -> None:
    """Each command is answered before the next is said; a refusal comes as it is; a crash repeats no command."""
    with phone(city) as stub:
        talk = Talk(stub)
        came = [talk.say("l-01", "r-1", request_id="q-1"), talk.say("l-01", "r-1", request_id="q-1")]
        came += [talk.say("l-01", "r-1", is_open=False), talk.close()]
        sent = "Converse: open l-01, the same again, close it; each command after the answer to the one before"
        wanted = "(1, False), (1, True), (2, False) as (sequence, answered_before), then OK"
        why = "the phone says what it wants next when it knows what the lock has done"
        expect_words(came == [(1, False), (1, True), (2, False), "OK"], sent, wanted, came, why)
        expect_refusal(Talk(stub))
        talk = Talk(stub)
        first = talk.say("l-03", "r-4")
        city.kill("locks", replica=feeder(city, "LockSession"))
        talk.say("l-04", "r-4")
    moved = [row["lock_id"] for row in calls(city, "SELECT lock_id FROM openings WHERE ride_id = 'r-4'")]
    expect(
        moved.count("l-03") == 1 and moved.count("l-04") <= 1,
        sent=f"Converse: open l-03, {first}; its replica of the locks dies; open l-04",
        expected="l-03 is opened once, l-04 once at most",
        came=f"openings: {moved}",
        why="a command without a request_id that is sent again opens again, and the rider has gone meanwhile",
        look=CONVERSE,
        service="live",
    )


def shares(city: Any, stub: Any) -> tuple[dict[int, int], list[str]]:
    """Wait until each replica has been asked, ask CALLS times; return the calls per replica, and what was refused."""
    pids, began = city["locks"].pids, time.time()

    def asked(since: float) -> Counter[int]:
        found = calls(city, "SELECT replica FROM calls WHERE rpc = 'GetLock' AND began_at > ?", since)
        return Counter(pids.index(row["replica"]) + 1 if row["replica"] in pids else 0 for row in found)

    eventually(lambda: get_lock(stub) and len(asked(began)) >= len(pids))
    since = time.time()
    answers = [get_lock(stub) for _ in range(CALLS)]
    eventually(lambda: asked(since).total() >= CALLS)
    counted = asked(since)
    return {number: counted[number] for number in range(1, len(pids) + 1)}, [each for each in answers if each != "OK"]


def fair(counts: dict[int, int]) -> bool:
    """Say whether each replica has had its share of the calls."""
    return all(abs(n * len(counts) / CALLS - 1) <= FAIR for n in counts.values())


def expect_shares(city: Any, stub: Any, count: int) -> None:
    """Expect that so many replicas share the calls, over few connections."""
    counts, refused = shares(city, stub)
    connections = {row["peer"] for row in calls(city, "SELECT peer FROM calls")}
    expect(
        len(connections) <= MOST_CONNECTIONS,
        sent=f"more than {CALLS} times GetLock, with {count} replicas of the locks",
        expected=f"a connection or two to each replica, {MOST_CONNECTIONS} at most",
        came=f"{len(connections)} connections",
        why="a new connection takes longer than the call; a channel is made once and used for all calls",
        look=SPREAD,
        service="live",
    )
    expect(
        fair(counts) and not refused,
        sent=f"{CALLS} times GetLock, with {count} replicas of the locks",
        expected=f"{CALLS // count} calls at each, within {FAIR:.0%}",
        came=f"calls per replica: {counts}; refused: {refused[:2]}",
        why="a replica without calls costs money, and the one with all of them is soon too slow",
        look=SPREAD,
        service="live",
    )


def test_calls_reach_all_replicas(city: Any) -> None:
    """Three replicas share the calls, so do four a moment later, and two when the others have left; a feed goes on."""
    with phone(city) as stub:
        feed = Feed(stub).listening()
        for count in (3, 4, 2):
            city.scale("locks", count)
            tell(city, MORE)
            expect_shares(city, stub, count)
        came = feed.until(3 * MORE)
    expect(
        came == list(range(1, 3 * MORE + 1)),
        sent=f"Follow after 0, while replicas come and go; {3 * MORE} events",
        expected=f"1 to {3 * MORE}, each once and in their order",
        came=told(feed, 3 * MORE),
        why="a list of replicas that has changed is no reason to hang up on phones",
        look=SPREAD,
        service="live",
    )
