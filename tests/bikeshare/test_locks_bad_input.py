"""Whatever is sent to the locks: refused in bounded time and memory, while a rider at the same replica is served."""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import grpc
import psutil
import pytest
from grpc import StatusCode

from lab_services.bikeshare.locks_messages import messages, services
from lab_services.lab import Lab
from tests.bikeshare.test_locks_in_a_lab import CALL_SECONDS, check_logs, rows
from tests.bikeshare.town import eventually
from tests.runtime.conftest import service, town_spec
from tests.runtime.door import channel
from tests.runtime.frames import (
    CONTINUATION,
    DATA,
    END_STREAM,
    HEADERS,
    MOST_BYTES,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    answer,
    connected,
    fields,
    frame,
    headers,
    message,
    status,
)

MEGABYTE = 1_000_000
MOST_MEGABYTES = 80  # more than at the beginning, whatever has come: a few messages and what Python keeps
PAUSE_SECONDS = 0.02  # of the neighbour between two calls
MOST_STREAMS = 100
SEND_SECONDS = 5.0  # a server that does not read any more makes the sender wait
LOOK_SECONDS = 0.5  # in which it may use up memory
SERVICE = "/bikeshare.locks.v1.LocksService"
UNLOCK = f"{SERVICE}/Unlock"
RPCS = messages.DESCRIPTOR.services_by_name["LocksService"].methods
STREAMING = {each.name for each in RPCS if each.client_streaming}
GOOD = messages.UnlockRequest(lock_id="l-01", ride_id="r-1").SerializeToString()
OK, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 3, 8, 12, 13


@dataclass
class Door:
    """One replica, its lab, and a neighbour who has called it all the time."""

    lab: Lab
    target: str
    process: psutil.Process


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("locks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_WORK", str(folder / "work"))
        env = {"DEVICE_SECONDS": "0", "IDLE_SECONDS": "3"}
        lab = Lab(
            town_spec(folder, service("locks", kind="use", target="locks", speaks="grpc", env=env)),
            folder,
            folder / "runs",
        )
        try:
            lab.start()
            handle = lab["locks"]
            yield Door(lab, handle.url, psutil.Process(handle.pids[0]))
            check_logs(folder / "runs" / "logs")
        finally:
            lab.close()


@pytest.fixture(autouse=True)
def harmless(door: Door) -> Iterator[None]:
    """Whatever the test does: a neighbour's calls are answered meanwhile, memory is bounded, the process lives."""
    before, ledger = door.process.memory_info().rss, rows(door.lab, "SELECT * FROM openings")
    with neighbour(door.target):
        yield
        grown = (door.process.memory_info().rss - before) / MEGABYTE
    assert grown < MOST_MEGABYTES, f"{grown:.0f} MB more"
    assert door.lab["locks"].pids == (door.process.pid,)
    assert rows(door.lab, "SELECT * FROM openings") == ledger


@contextmanager
def neighbour(target: str) -> Iterator[None]:
    stop, waits = threading.Event(), []

    def call() -> None:
        with channel(target) as opened:
            stub = services.LocksServiceStub(opened)
            while not stop.wait(PAUSE_SECONDS):
                began = time.monotonic()
                try:
                    stub.GetLock(messages.GetLockRequest(lock_id="l-02"), timeout=CALL_SECONDS)
                    waits.append(time.monotonic() - began)
                except grpc.RpcError as error:
                    waits.append(f"{error.code()}: {error.details()}")

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
        so_far = len(waits)
        eventually(lambda: len(waits) > so_far + 2, within=CALL_SECONDS)  # also after it
    finally:
        stop.set()
        thread.join(CALL_SECONDS)
    assert not [wait for wait in waits if isinstance(wait, str) or wait > 5], waits


def call(rpc: str = "Unlock", body: bytes = message(GOOD), *more: tuple[str, str]) -> bytes:
    return headers(fields(f"{SERVICE}/{rpc}", *more)) + frame(DATA, END_STREAM, 1, body)


def bomb(size: int) -> bytes:
    """Return this many megabytes of zeros, packed into a thousandth of that."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(size)) + packer.flush()


# --- requests that are none ---

REQUESTS = {
    "nothing": (call(body=b""), INTERNAL),
    "cut off": (call(body=message(GOOD[:5], said=len(GOOD))), INTERNAL),
    "three gigabytes, it says": (call(body=message(GOOD, said=3_000_000_000)), RESOURCE_EXHAUSTED),
    "no protobuf": (call(body=message(b"\xff" * 30)), INTERNAL),
    "a number for a text": (call(body=message(b"\x08\x01")), INVALID_ARGUMENT),
    "a text that is no UTF-8": (call(body=message(b"\x0a\x01\xff")), INTERNAL),
    "nested a thousand times": (call(body=message(b"\x53" * 1000)), INTERNAL),
    "an unknown compression": (call("Unlock", message(GOOD, packed=True), ("grpc-encoding", "snappy")), INTERNAL),
    "compressed, it says": (call("Unlock", message(GOOD, packed=True), ("grpc-encoding", "gzip")), INTERNAL),
    "compressed, without saying how": (call("Unlock", message(GOOD, packed=True)), INTERNAL),
    "a bomb": (call("Unlock", message(bomb(30), packed=True), ("grpc-encoding", "gzip")), RESOURCE_EXHAUSTED),
    "an unknown rpc": (call("OpenAll"), UNIMPLEMENTED),
    "a deadline that is none": (call("Unlock", message(GOOD), ("grpc-timeout", "soon")), INTERNAL),
}


@pytest.mark.parametrize(("sent", "code"), REQUESTS.values(), ids=REQUESTS)
def test_a_bad_request_has_a_status(door: Door, sent: bytes, code: int) -> None:
    """What cannot be read is INTERNAL, what is too large RESOURCE_EXHAUSTED, what nobody serves UNIMPLEMENTED."""
    with connected(door.target) as opened:
        assert status(answer(opened, sent)) == code


def test_a_request_of_more_than_four_megabytes_is_refused(door: Door) -> None:
    """It is refused by its size; one of three megabytes is read, and refused by its field."""
    with channel(door.target) as opened:
        stub = services.LocksServiceStub(opened)
        for megabytes, code in ((3, StatusCode.INVALID_ARGUMENT), (5, StatusCode.RESOURCE_EXHAUSTED)):
            for packing in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
                request = messages.UnlockRequest(lock_id="l" * megabytes * MEGABYTE, ride_id="r-1")
                with pytest.raises(grpc.RpcError) as refused:
                    stub.Unlock(request, timeout=CALL_SECONDS, compression=packing)
                assert refused.value.code() is code and len(refused.value.details()) < 1000


def test_random_messages_are_refused_by_every_rpc(door: Door) -> None:
    """Random bytes as a message are INVALID_ARGUMENT or INTERNAL, also in the middle of a stream of requests."""
    dice = random.Random(3)
    codes = {INTERNAL, INVALID_ARGUMENT}
    for rpc in ["Unlock", "Lock", "GetLock", "GetBattery", *STREAMING]:
        for _ in range(20):
            with connected(door.target) as opened:
                body = message(dice.randbytes(dice.randrange(1, 60)))
                assert status(answer(opened, call(rpc, body))) in codes, (rpc, body)


@pytest.mark.parametrize("rpc", sorted(STREAMING))
def test_a_stream_of_requests_that_breaks_off_stores_nothing(door: Door, rpc: str) -> None:
    """A stream that falls silent in a message, or is reset there, ends soon, and nothing of it is stored."""
    place = messages.RecordPositionsRequest(lock_id="l-03", position=messages.Position(x_metres=5))
    part = message(place.SerializeToString()[:4], said=9) if rpc == "RecordPositions" else message(b"\x0a", said=5)
    with connected(door.target) as opened:
        silent = headers(fields(f"{SERVICE}/{rpc}")) + frame(DATA, 0, 1, part)
        assert status(answer(opened, silent)) not in (None, OK)
    with connected(door.target) as opened:
        opened.sendall(silent + frame(RST_STREAM, 0, 1, bytes(4)))
    eventually(lambda: rows(door.lab, "SELECT count(*) FROM calls WHERE ended_at IS NULL") == [(0,)])
    assert rows(door.lab, "SELECT * FROM positions WHERE lock_id = 'l-03'") == []


# --- metadata ---


def notes(*sizes: int) -> tuple[tuple[str, str], ...]:
    return tuple((f"x-note-{number}", "n" * size) for number, size in enumerate(sizes))


def test_metadata_has_a_limit(door: Door) -> None:
    """Seven kilobytes are taken; a hundred, in one field or many, and ten megabytes are refused."""
    read = message(messages.GetLockRequest(lock_id="l-02").SerializeToString())
    for sizes, code in (([7000], OK), ([100_000], RESOURCE_EXHAUSTED), ([100] * 1000, RESOURCE_EXHAUSTED)):
        with connected(door.target) as opened:
            assert status(answer(opened, call("GetLock", read, *notes(*sizes)))) == code, sizes
    with connected(door.target) as opened:
        assert status(answer(opened, call("GetLock", read, *notes(10 * MEGABYTE)))) == RESOURCE_EXHAUSTED


def test_metadata_without_end_is_not_kept(door: Door) -> None:
    """Whoever sends fifty megabytes of metadata, and then more, has used up no more than its connection."""
    with connected(door.target) as opened:
        sent = headers(fields(UNLOCK, *notes(*[1000] * 50_000)), ended=False)
        received = answer(opened, sent + frame(PING, 0, 0, bytes(8)))
        assert status(received) in (None, RESOURCE_EXHAUSTED)


# --- connections that do not speak gRPC, or speak too much of it ---

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(196)
STRANGERS = {
    "HTTP/1.1": b"POST / HTTP/1.1\r\nHost: city\r\nContent-Length: 2\r\n\r\n{}",
    "TLS": TLS_HELLO,
    "random bytes": random.Random(1).randbytes(100_000),
    "a preface and random bytes": PREFACE + random.Random(2).randbytes(100_000),
    "a frame of 16 MB": PREFACE + frame(SETTINGS) + b"\xff\xff\xff\0\0\0\0\0\1" + bytes(100_000),
    "headers that are none": PREFACE + frame(SETTINGS) + frame(HEADERS, 4, 1, b"\xff" * 100),
    "data before headers": PREFACE + frame(SETTINGS) + frame(DATA, 0, 0, b"data"),
    "the rest of headers that never began": PREFACE + frame(SETTINGS) + frame(CONTINUATION, 4, 1, b""),
}


@pytest.mark.parametrize("sent", STRANGERS.values(), ids=STRANGERS)
def test_who_does_not_speak_http_2_is_sent_away(door: Door, sent: bytes) -> None:
    """The connection is closed, or the one call on it refused, and nothing that came reached an rpc."""
    with connected(door.target, agreed=False) as opened:
        assert status(answer(opened, sent)) in (None, INTERNAL)


FLOODS = {
    "pings": frame(PING, 0, 0, bytes(8)) * 50_000,
    "settings": frame(SETTINGS) * 50_000,
    "empty frames": headers(fields(UNLOCK)) + frame(DATA, 0, 1) * 50_000,
    "calls that are taken back": b"".join(
        headers(fields(UNLOCK), 0, stream) + frame(RST_STREAM, 0, stream, bytes(4)) for stream in range(1, 10_001, 2)
    ),
    "calls that never begin": b"".join(headers(fields(UNLOCK), 0, stream) for stream in range(1, 4_001, 2)),
    "data beyond the window": headers(fields(UNLOCK)) + frame(DATA, 0, 1, bytes(MOST_BYTES)) * 500,
}


@pytest.mark.parametrize("sent", FLOODS.values(), ids=FLOODS)
def test_floods_drown_nobody(door: Door, sent: bytes) -> None:
    """Tens of thousands of frames that cost the sender little: memory is bounded, and the neighbour is served."""
    with connected(door.target) as opened:
        opened.settimeout(SEND_SECONDS)
        with suppress(OSError):
            opened.sendall(sent)
        time.sleep(LOOK_SECONDS)
    eventually(lambda: rows(door.lab, "SELECT count(*) FROM calls WHERE ended_at IS NULL") == [(0,)])


def test_silent_connections_are_sent_away(door: Door) -> None:
    """Two hundred connections on which nothing comes are closed; none of them is left."""
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(door.target, agreed=False)) for _ in range(200)]
        for opened in silent:
            assert status(answer(opened)) is None


def test_a_hundred_streams_are_open_and_the_next_is_refused(door: Door) -> None:
    """The 101st stream of a replica is RESOURCE_EXHAUSTED; a call with one answer is not, and a place gets free."""
    with channel(door.target) as opened:
        stub = services.LocksServiceStub(opened)
        streams = [stub.WatchLocks(messages.WatchLocksRequest(), timeout=60) for _ in range(MOST_STREAMS)]
        for stream in streams:
            stream.initial_metadata()
        refused = stub.WatchLocks(messages.WatchLocksRequest(), timeout=CALL_SECONDS)
        assert refused.code() is StatusCode.RESOURCE_EXHAUSTED
        assert stub.GetLock(messages.GetLockRequest(lock_id="l-01"), timeout=CALL_SECONDS).lock.lock_id == "l-01"
        for stream in streams:
            stream.cancel()
    eventually(lambda: rows(door.lab, "SELECT count(*) FROM calls WHERE ended_at IS NULL") == [(0,)])
