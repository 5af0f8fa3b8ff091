"""Checks of task 3.3: time that is handed down, and work that ends when nobody waits for it any more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from lab_services.checks import expect, together
from lab_services.checks.grpc_probes import End, LocksLedger, ask, begin, channel, ended

sys.path.append(HERE := str(Path(__file__).parent))
unlocks, services = grpc.protos_and_services("unlocks.proto")
sys.path.remove(HERE)

OPEN_BIKE, SERVE = "unlocks.py: OpenBike", "unlocks.py: serve"
TOTAL_SECONDS, MARGIN_SECONDS, DEVICE_SECONDS = 0.8, 0.1, 0.04  # as in unlocks.py, and in lab.toml for the locks
ROUNDING_SECONDS = 0.01  # of a deadline on its way: gRPC sends whole milliseconds
TRIES, CALLERS, BIKES = 2, 10, 4
PATIENT_SECONDS = 4.0  # five times what a caller without a deadline has; ten callers after another take longer
STOPPED = ("CANCELLED", "DEADLINE_EXCEEDED")
LATE = ("DEADLINE_EXCEEDED", "UNAVAILABLE")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@contextmanager
def phone(city: Any) -> Iterator[Any]:
    """Give the one method of unlocks, on a connection of its own."""
    with channel(city["unlocks"].url) as opened:
        yield services.UnlocksServiceStub(opened).OpenBike


def bike(number: int, ride_id: str = "r-1") -> Any:
    """Ask for the lock of a bike."""
    return unlocks.OpenBikeRequest(ride_id=ride_id, lock_id=f"l-{number:02}")


def ledger(city: Any) -> LocksLedger:
    """Return what the locks wrote down."""
    return LocksLedger(city["locks"].data)


def seconds(calls: list[dict[str, Any]]) -> list[float]:
    """Return what the deadlines of calls left when they came in; a call without one has no end."""
    return [float("inf") if call["remaining_seconds"] is None else call["remaining_seconds"] for call in calls]


def steps_of(city: Any, number: int) -> tuple[list[float], list[float]]:
    """Return what GetBattery and what Unlock were given for one bike."""
    told = ledger(city)
    batteries = told.wait_for(TRIES, "GetBattery", f"l-{number:02}")
    return seconds(batteries), seconds(told.calls("Unlock", f"l-{number:02}"))


def spoken(given: list[float]) -> str:
    """Say how much time was left, call by call."""
    return ", ".join(f"{left:.2f} s" if left < 1e6 else "no end" for left in given) or "no call"


def word(end: End) -> str:
    """Return how a call has ended; of a mistake the end of what was said, where the reason stands."""
    mistake = end.name in ("UNKNOWN", "INTERNAL")
    return f"{end.name}: ...{end.details[-90:]}" if mistake else end.name


def heirs(batteries: list[float], unlocked: list[float]) -> bool:
    """Tell whether each second step was given less than the first, by what the first took."""
    pairs = list(zip(batteries, unlocked, strict=False))
    return bool(pairs) and all(second <= first - DEVICE_SECONDS + ROUNDING_SECONDS for first, second in pairs)


def four_riders(city: Any) -> End:
    """Let the rider of l-01 leave in the first step, that of l-02 in the second, and that of l-03 have too little time.

    Return what the rider of l-04 heard, who stayed; the bolt of l-02 would have moved by then.
    """
    told = ledger(city)
    with phone(city) as open_bike:
        first, second, stays = (begin(open_bike, bike(number)) for number in (1, 2, 4))
        late = begin(open_bike, bike(3), 0.4)
        told.wait_for(1, "GetBattery", "l-01")
        first.cancel()
        told.wait_for(1, "Unlock", "l-02")
        second.cancel()
        ended(late)
        end = ended(stays)
    told.wait_for(1, "Unlock", "l-02", over=True)
    return end


def test_each_step_has_the_time_that_is_left(city: Any) -> None:
    """A step has less time than the caller, by the margin at least; the second one less than the first."""
    with phone(city) as open_bike:
        ask(open_bike, bike(1))
        for number, has in enumerate([0.8, 0.5], 2):
            ends = [ask(open_bike, bike(number), has) for _ in range(TRIES)]
            batteries, unlocked = steps_of(city, number)
            most = has - MARGIN_SECONDS + ROUNDING_SECONDS
            expect(
                has / 4 < max(batteries, default=0) <= most,
                sent=f"OpenBike, {TRIES} times, with {has * 1000:.0f} ms",
                expected=f"GetBattery has more than {has / 4:.2f} s, and {has - MARGIN_SECONDS:.2f} s at most",
                came=f"{spoken(batteries)}; the caller hears {[word(end) for end in ends]}",
                why="work that goes on after its caller's time is done for nobody, and holds up whoever still waits",
                look=OPEN_BIKE,
                service="unlocks",
            )
            expect(
                heirs(batteries, unlocked),
                sent=f"OpenBike, {TRIES} times, with {has * 1000:.0f} ms, of which a device takes some",
                expected="each Unlock has less time than its GetBattery had, by what that took",
                came=f"GetBattery {spoken(batteries)}; Unlock {spoken(unlocked)}",
                why="it is one time for both: two steps that have all of it each need twice as much",
                look=OPEN_BIKE,
                service="unlocks",
            )


def test_a_client_without_a_deadline_has_the_total(city: Any) -> None:
    """A client that sets no deadline gets its bike, and the locks see a deadline of TOTAL_SECONDS, less the margin."""
    with phone(city) as open_bike:
        ends = [ask(open_bike, bike(1), seconds=None) for _ in range(TRIES)]
    expect(
        [end.code for end in ends] == [StatusCode.OK] * TRIES,
        sent=f"OpenBike, {TRIES} times, without a deadline",
        expected="OK",
        came=[str(end) for end in ends],
        why="gRPC sets no deadline by itself: many a client has none, and time_remaining() is then None",
        look=OPEN_BIKE,
        service="unlocks",
    )
    batteries, unlocked = steps_of(city, 1)
    most = TOTAL_SECONDS - MARGIN_SECONDS + ROUNDING_SECONDS
    expect(
        TOTAL_SECONDS / 4 < max(batteries, default=0) <= most and heirs(batteries, unlocked),
        sent=f"OpenBike, {TRIES} times, without a deadline",
        expected=f"GetBattery has {TOTAL_SECONDS - MARGIN_SECONDS:.2f} s at most (TOTAL_SECONDS less the margin) and "
        f"more than {TOTAL_SECONDS / 4:.2f} s; each Unlock has less, by what its GetBattery took",
        came=f"GetBattery {spoken(batteries)}; Unlock {spoken(unlocked)}",
        why="the client's missing deadline must not become yours: somebody in the chain has to say when it is enough",
        look=OPEN_BIKE,
        service="unlocks",
    )


def test_spent_time_is_not_spent_again(city: Any) -> None:
    """A caller that has less than the margin is refused, and the locks hear nothing of it."""
    with phone(city) as open_bike:
        ask(open_bike, bike(1))
        ends = [ask(open_bike, bike(2), 0.9 * MARGIN_SECONDS) for _ in range(TRIES)]
        ask(open_bike, bike(3))
    ledger(city).wait_for(1, "Unlock", "l-03")
    came = ledger(city).calls(lock_id="l-02")
    expect(
        not came and {end.name for end in ends} == {"DEADLINE_EXCEEDED"},
        sent=f"OpenBike, {TRIES} times, with 90 ms: less than MARGIN_SECONDS",
        expected="DEADLINE_EXCEEDED, and no call to the locks",
        came=f"{[str(end) for end in ends]}; at the locks: {[call['rpc'] for call in came]}",
        why="in a jam most calls come too late: whoever still passes them on makes the jam",
        look=OPEN_BIKE,
        service="unlocks",
    )


@pytest.mark.city(shape="slow_devices")
def test_the_work_ends_when_its_caller_leaves(city: Any) -> None:
    """One caller leaves in the first step, one in the second, one has no time: only the fourth one's bike opens."""
    told, stayed = ledger(city), four_riders(city)
    began = [(call["rpc"], call["code"]) for number in (1, 3) for call in told.calls(lock_id=f"l-0{number}")]
    expect(
        ("GetBattery", "CANCELLED") in began and set(began) <= {("GetBattery", code) for code in STOPPED},
        sent="OpenBike twice; one caller cancels, the other one's 400 ms pass, both while GetBattery is at work",
        expected="at the locks two GetBattery, one CANCELLED, one CANCELLED or DEADLINE_EXCEEDED; no Unlock after them",
        came=began,
        why="the rider has walked on to the tram: this bike opens for whoever comes by",
        look=OPEN_BIKE,
        service="unlocks",
    )
    openings = {lock_id: len(told.openings(lock_id)) for lock_id in ("l-02", "l-04")}
    expect(stayed.code is StatusCode.OK and openings["l-04"] == 1, sent="OpenBike of a fourth caller, who stays",
           expected="OK and one opening", came=f"{stayed}; openings: {openings['l-04']}", why="who leaves takes its "
           "own calls along, and nobody else's on that connection", look=OPEN_BIKE, service="unlocks")  # fmt: skip
    codes = [call["code"] for call in told.calls("Unlock", "l-02")]
    expect(
        codes == ["CANCELLED"] and not openings["l-02"],
        sent="OpenBike; the caller cancels while Unlock is at work",
        expected="Unlock ends CANCELLED at the locks, and the ledger has no opening",
        came=f"Unlock: {codes}; openings: {openings['l-02']}",
        why="a cancel that stays with you leaves the device at work for nobody, and a bike open in the street",
        look=OPEN_BIKE,
        service="unlocks",
    )


def test_silent_locks_hold_up_nobody(city: Any) -> None:
    """Ten callers without a deadline are answered within their time while the locks hang, and when they are gone."""
    for state, stop in (("hang", city.pause), ("are gone", city.kill)):
        with phone(city) as open_bike:
            ask(open_bike, bike(1))
            stop("locks")
            calls = [lambda: ask(open_bike, bike(2), seconds=None, within=PATIENT_SECONDS)] * CALLERS
            ends = together(calls, within=2 * PATIENT_SECONDS)
        names = sorted(word(end) if isinstance(end, End) else repr(end) for end in ends)
        expect(
            set(names) <= set(LATE),
            sent=f"OpenBike of {CALLERS} callers at once, without a deadline, while the locks {state}",
            expected=f"{' or '.join(LATE)} for each of them, within {PATIENT_SECONDS:g} s",
            came=", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)),
            why=f"where the locks {state} and callers wait for ever, or for each other, the whole city hangs with them",
            look=OPEN_BIKE,
            service="unlocks",
        )
        if stop == city.pause:
            city.resume("locks")


def test_one_connection_and_one_trace(city: Any) -> None:
    """All calls come to the locks on one connection, and each with the traceparent of its caller."""
    with phone(city) as open_bike:
        ends = [ask(open_bike, bike(number), metadata=[("traceparent", TRACE)]) for number in range(1, BIKES + 1)]
    calls = ledger(city).wait_for(2 * BIKES)
    peers, names = {call["peer"] for call in calls}, sorted({word(end) for end in ends if end.name != "OK"})
    expect(
        not names and len(calls) == 2 * BIKES and len(peers) <= 2,
        sent=f"OpenBike, {BIKES} times, one after the other",
        expected=f"OK; {2 * BIKES} calls at the locks, on one connection",
        came=f"{len(calls)} calls from {len(peers)} addresses; {'; '.join(names) or 'OK'}",
        why="a new connection costs more than the call; and a channel belongs to the process and loop that made it",
        look=SERVE,
        service="unlocks",
    )
    traces = {call["rpc"]: call["traceparent"] for call in calls}
    expect(
        all(call["traceparent"] == TRACE for call in calls),
        sent=f"OpenBike with traceparent {TRACE}",
        expected="the same one in each call to the locks",
        came=traces,
        why="a trace that breaks here shows riders who wait and locks that are bored, and nothing in between",
        look=OPEN_BIKE,
        service="unlocks",
    )
