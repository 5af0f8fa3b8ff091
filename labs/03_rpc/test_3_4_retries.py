"""Checks of task 3.4: each trouble has its status, and the locks are asked again only where that helps and is safe."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc
import pytest

from lab_services.bikeshare.interfaces import compiled
from lab_services.checks import FakeGrpc, GrpcError, eventually, expect, rows

ANSWERED, ASK = "answers.py: answered", "retries.py: ask"
MOST_TRIES, FIRST_PAUSE_SECONDS, TOTAL_SECONDS = 3, 0.2, 2.0  # as in retries.py and lab.toml
CALLERS, LONG_SECONDS, SHORT_SECONDS = 30, 5.0, 0.6
NOTED_SECONDS, LATE_SECONDS, QUIET_SECONDS = 2.0, 0.4, 0.4
SPREAD_SECONDS = 0.03  # between the quarters of the pauses; of pauses that are all the same, a busy machine makes 0.01
ROUNDING, SLACK_SECONDS = 1.03, 0.05  # gRPC writes a timeout down up to 3 % too long, if it has sent that number before
CARD, INSIDE = "4929420573595709", "nonsense-4711"
SECRETS = (INSIDE, CARD, "ValueError", "sqlite", "database", "127.0.0.1", "ipv4", "connect", "Errno", "Traceback")
ALL_CODES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
WORD_FOR_WORD = ("NOT_FOUND", "FAILED_PRECONDITION")
ALIKE = (*WORD_FOR_WORD, "UNAVAILABLE", "DEADLINE_EXCEEDED")


def compiled_here(proto: str) -> tuple[Any, Any]:
    """Return messages and stubs of a .proto that lies beside this file."""
    sys.path.append(str(Path(__file__).parent))  # where the compiler looks
    try:
        return grpc.protos_and_services(proto)
    finally:
        sys.path.remove(str(Path(__file__).parent))


hotline, services = compiled_here("hotline.proto")
locks, _ = compiled("bikeshare/locks/v1/locks.proto")


@dataclass(frozen=True)
class Came:
    """How a call has ended."""

    code: str
    details: str = ""
    answer: Any = None

    def __repr__(self) -> str:
        return f"{self.code}: {self.details or self.answer or ''}".strip(": \n")


class Operators:
    """The people of the hotline, who share one connection; ticket t-01 is about lock l-01 and ride r-01, and so on."""

    def __init__(self, city: Any, stub: Any) -> None:
        self.city, self._stub = city, stub

    def begin(self, rpc: str, seconds: float | None = LONG_SECONDS, **fields: str) -> Any:
        """Begin a call, which goes on beside the check."""
        return getattr(self._stub, rpc).future(getattr(hotline, f"{rpc}Request")(**fields), timeout=seconds)

    def ask(self, rpc: str, **fields: str) -> Came:
        """Make a call and return how it ended."""
        return ended(self.begin(rpc, **fields))

    def ticket(self, number: int, ride: str = "", lock: str = "", state: str = "open") -> str:
        """Put a ticket into hotline.db and return its id."""
        ids = [f"t-{number:02}", f"o-{number}", lock or f"l-{number:02}", ride or f"r-{number:02}"]
        write(
            self.city["hotline"].data / "hotline.db",
            "REPLACE INTO tickets VALUES (?, ?, ?, ?, ?, ?)",
            *ids,
            CARD,
            state,
        )
        return ids[0]

    def trouble(self, number: int, times: int = 100, moved: bool = False) -> str:
        """Let a lock fail as often, before or after its bolt has moved; return the id of a ticket about it."""
        row = [f"l-{number:02}", "UNAVAILABLE", moved, times]
        write(self.city["locks"].data / "locks.db", "INSERT INTO troubles VALUES (?, ?, ?, ?)", *row)
        return self.ticket(number)

    def heard(self, number: int) -> list[dict[str, Any]]:
        """Return the calls of a lock in their order."""
        query = "SELECT * FROM calls WHERE lock_id = ? ORDER BY began_at"
        return rows(self.city["locks"].data / "locks.db", query, f"l-{number:02}")

    def tries(self, number: int, least: int = MOST_TRIES) -> list[dict[str, Any]]:
        """Return the calls of a lock once all have ended and there are so many, or after NOTED_SECONDS."""
        eventually(lambda: len(c := self.heard(number)) >= least and all(call["code"] for call in c), NOTED_SECONDS)
        return self.heard(number)

    def opened(self, number: int) -> list[str]:
        """Return the request_ids of the openings of a lock."""
        query = "SELECT request_id FROM openings WHERE lock_id = ? AND kind = 'opened'"
        found = rows(self.city["locks"].data / "locks.db", query, f"l-{number:02}")
        return [row["request_id"] or "" for row in found]


def write(path: Path, statement: str, *values: object) -> None:
    """Change the database of a service."""
    with closing(sqlite3.connect(path, timeout=2)) as db, db:
        db.execute(statement, values)


def ended(call: Any, within: float = 2 * LONG_SECONDS) -> Came:
    """Return how a call has ended."""
    try:
        return Came("OK", answer=call.result(timeout=within))
    except grpc.FutureTimeoutError:
        return Came("STILL WAITING", f"no status for {within:g} s")
    except grpc.FutureCancelledError:
        return Came("CANCELLED", "by the operator")
    except grpc.RpcError as error:
        return Came(error.code().name, error.details() or "")


@contextmanager
def operators_of(city: Any) -> Iterator[Operators]:
    """Connect the operators to the hotline of a city."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(city["hotline"].url, options=options) as channel:
        yield Operators(city, services.HotlineServiceStub(channel))


@pytest.fixture
def operators(city: Any) -> Iterator[Operators]:
    """Operators of a city whose locks are the real ones."""
    with operators_of(city) as found:
        yield found


def log_of(city: Any) -> str:
    """Return the last lines that the hotline has printed."""
    return "\n".join(city.logs("hotline", 200).lines)


def filed(ticket_id: str, **fields: str) -> dict[str, str]:
    """Return the fields of a ticket of operator o-1."""
    return {
        "ticket_id": ticket_id,
        "operator_id": "o-1",
        "lock_id": "l-01",
        "ride_id": "r-01",
        "card_number": CARD,
        **fields,
    }


REFUSALS: tuple[tuple[str, dict[str, str], str, str], ...] = (
    ("FileTicket", filed(""), "INVALID_ARGUMENT", "ticket_id"),
    ("FileTicket", filed("a", lock_id="l 01"), "INVALID_ARGUMENT", "lock_id"),
    ("FileTicket", filed("a", card_number="12"), "INVALID_ARGUMENT", "card_number"),
    ("CheckBattery", {"ticket_id": "none"}, "NOT_FOUND", "ticket_id: there is no ticket none"),
    ("CheckBattery", {"ticket_id": "t-99"}, "NOT_FOUND", "there is no lock l-99"),
    ("FileTicket", filed("t-02"), "ALREADY_EXISTS", "ticket_id"),
    ("FileTicket", filed("a"), "RESOURCE_EXHAUSTED", "operator_id"),
    ("ReleaseBike", {"ticket_id": "t-03"}, "FAILED_PRECONDITION", "ticket_id"),
    ("ReleaseBike", {"ticket_id": "t-05"}, "FAILED_PRECONDITION", "open for another ride"),
)


def test_each_refusal_has_its_code(operators: Operators) -> None:
    """Whatever is refused, by the hotline or by the locks, ends with its status, and details that name the field."""
    for number in (2, 4, 99):
        operators.ticket(number)
    operators.ticket(3, state="closed")
    operators.ticket(5, lock="l-04")
    done = [operators.ask("FileTicket", **filed(ticket)) for ticket in ("b", "c", "d", "d")]
    done += [operators.ask(rpc, ticket_id="t-04") for rpc in ("CheckBattery", "ReleaseBike")]
    expect([came.code for came in done] == 6 * ["OK"], sent="FileTicket (one of them twice), CheckBattery, ReleaseBike",
           expected="OK each time", came=done, why="who is refused for nothing calls again", look=ANSWERED)  # fmt: skip
    for rpc, fields, code, part in REFUSALS:
        came = operators.ask(rpc, **fields)
        expect(
            came.code == code and part in came.details,
            sent=f"{rpc} {fields}",
            expected=f"{code}, and details with '{part}'",
            came=came,
            why="a status is what programs read: OK with an error inside counts as done, INTERNAL wakes somebody up",
            look=ANSWERED,
            service="hotline",
        )


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """Move a folder away, and back."""
    folder.rename(folder.with_name("away"))
    yield
    folder.with_name("away").rename(folder)


def test_trouble_gives_nothing_away(city: Any, operators: Operators) -> None:
    """A mistake is INTERNAL, a lost disk or locks UNAVAILABLE; nothing of the inside is told, and no card is logged."""
    operators.ticket(7, state=INSIDE)
    mistake = operators.ask("FileTicket", **filed("t-07"))
    eventually(lambda: "ValueError" in log_of(city))
    log = log_of(city)
    with away(city["hotline"].data):
        no_disk = operators.ask("FileTicket", **filed("t-08"))
    city.kill("locks")
    no_locks = operators.ask("CheckBattery", ticket_id=operators.ticket(9))
    came = [mistake, no_disk, no_locks]
    expect([end.code for end in came] == ["INTERNAL", "UNAVAILABLE", "UNAVAILABLE"],
           sent="FileTicket over a row that is nonsense; without the disk; then CheckBattery without the locks",
           expected="INTERNAL, UNAVAILABLE, UNAVAILABLE", came=came,
           why="UNAVAILABLE says: try again, it passes; for a mistake somebody has to get up", look=ANSWERED,
           service="hotline")  # fmt: skip
    told = [end.details for end in came if any(secret.lower() in end.details.lower() for secret in SECRETS)]
    expect(not told, sent="the same three calls", expected="details in words of our own", came=told,
           why="exceptions, addresses and stored values tell an attacker where to go on, and an operator nothing",
           look=ANSWERED, service="hotline")  # fmt: skip
    expect("t-07" in log and "ValueError" in log and CARD not in log,
           sent="FileTicket t-07 with a card, over a row that is nonsense",
           expected="the log has the traceback (a ValueError) and t-07; it does not have the card",
           came=f"t-07: {'t-07' in log}, ValueError: {'ValueError' in log}, the card: {CARD in log}",
           why="without a traceback nobody finds the mistake; and a log is read by people with no right to cards",
           look=ANSWERED, service="hotline")  # fmt: skip


def code_at(call: Any) -> str:
    """Return the status that a lock always answers: lock l-00 the first one of ALL_CODES, and so on."""
    return ALL_CODES[int(locks.GetBatteryRequest.FromString(call.request).lock_id.removeprefix("l-"))]


def refuse(call: Any) -> None:
    """Answer as a lock that has trouble of its own."""
    raise GrpcError(code_at(call), f"{INSIDE} of the locks")


def told_right(code: str, came: Came) -> bool:
    """Tell whether the operator hears of this status of the locks what the table in answers.py says."""
    return came.code == (code if code in ALIKE else "INTERNAL") and (INSIDE in came.details) == (code in WORD_FOR_WORD)


@pytest.mark.city(started=False)
def test_only_unavailable_is_tried_again(city: Any, fake_grpc: Any) -> None:
    """Of all statuses of the locks UNAVAILABLE alone is tried again; the operator hears of each what the table says."""

    fake: FakeGrpc = fake_grpc(refuse)
    city.start(replace={"locks": fake.target})
    with operators_of(city) as operators:
        calls = [operators.begin("CheckBattery", ticket_id=operators.ticket(n)) for n in range(len(ALL_CODES))]
        came = dict(zip(ALL_CODES, map(ended, calls), strict=True))
    asked = [code_at(call) for call in fake.calls]
    tries = {code: asked.count(code) for code in ALL_CODES}
    expect(tries == dict.fromkeys(ALL_CODES, 1) | {"UNAVAILABLE": MOST_TRIES},
           sent="CheckBattery of as many locks as there are statuses; each lock answers with its own",
           expected=f"one call each, and {MOST_TRIES} where it is UNAVAILABLE",
           came={code: count for code, count in tries.items() if count != 1},
           why="whoever is full, late or wrong is that again at once: asking again is more of what hurts it", look=ASK,
           service="hotline")  # fmt: skip
    wrong = {code: end for code, end in came.items() if not told_right(code, end)}
    expect(not wrong, sent="the same calls; all statuses of the locks have details",
           expected="NOT_FOUND, FAILED_PRECONDITION as they are; UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL in our words",
           came=wrong,
           why="ALREADY_EXISTS of the locks would be told to an operator who has never heard of a request_id",
           look=ANSWERED, service="hotline")  # fmt: skip


def test_an_unlock_moves_the_bolt_once(operators: Operators) -> None:
    """Answers of Unlock and Lock that get lost are asked for again: the operator gets OK, and no bolt moves twice."""
    fields = [{"ticket_id": operators.trouble(number, times=number, moved=True)} for number in (1, 2)]
    fields.append({"ticket_id": operators.trouble(3, times=2, moved=True), "request_id": "call-7"})
    calls = [operators.begin("ReleaseBike", **ids) for ids in fields]
    came = [ended(call) for call in calls]
    expect([len(operators.opened(number)) for number in (1, 2)] == [1, 1],
           sent="ReleaseBike twice; after its bolt moved, the first lock loses its answer once, the second one twice",
           expected="one opening of each lock in the ledger", came=[operators.opened(number) for number in (1, 2)],
           why="UNAVAILABLE does not say whether it was done: the second try must be the first wish, by its request_id",
           look=ASK, service="hotline")  # fmt: skip
    came.append(operators.ask("ReleaseBike", ticket_id="t-03", request_id="call-7"))
    expect(operators.opened(3) == ["call-7"],
           sent="ReleaseBike with the request_id call-7, whose answer is lost twice; then the same again",
           expected="one opening, of call-7", came=operators.opened(3),
           why="the operator's own second try is known by the operator's request_id and by nothing else", look=ASK,
           service="hotline")  # fmt: skip
    operators.trouble(1, times=1, moved=True)
    came += [operators.ask("LockBike", ticket_id="t-01")]
    expect({end.code for end in came} == {"OK"}, sent="these four, and LockBike, whose answer is lost once",
           expected="OK each time", came=came,
           why="all of it was done, and could be asked again: a rider who is told 'no' walks away from an open lock",
           look=ASK, service="hotline")  # fmt: skip


class Tries:
    """What the locks were told of the time for one wish: how long after the first try each came, and what was left."""

    def __init__(self, seconds: float, calls: list[dict[str, Any]]) -> None:
        self.seconds = seconds
        self.late = [call["began_at"] - calls[0]["began_at"] for call in calls]
        self.left = [call["remaining_seconds"] for call in calls]

    def __repr__(self) -> str:
        left = ["no limit" if told is None else f"{told:.2f} s left" for told in self.left]
        tries = [f"after {late:.2f} s {told}" for late, told in zip(self.late, left, strict=True)]
        return f"of {self.seconds:g} s: {', '.join(tries) or 'no try'}"

    def share(self) -> bool:
        """Tell whether each try had a deadline, and what was left until the first one's, at most."""
        ends = [(self.seconds - late) * ROUNDING + SLACK_SECONDS for late in self.late]
        return all(told is not None and told <= end for told, end in zip(self.left, ends, strict=True))


@pytest.mark.city(shape="slow_retries")  # a device takes 0.2 s
def test_all_tries_share_one_end(operators: Operators) -> None:
    """The operator's deadline, or the default, is for all tries: each has what is left, and none begins afterwards."""
    deadlines = {1: TOTAL_SECONDS, 2: None, 3: SHORT_SECONDS}
    calls = [operators.begin("CheckBattery", s, ticket_id=operators.trouble(n)) for n, s in deadlines.items()]
    came = [ended(call).code for call in calls]
    tries = [Tries(s or TOTAL_SECONDS, operators.tries(n, 1)) for n, s in deadlines.items()]
    expect(
        all(one.share() for one in tries),
        sent=f"CheckBattery with the deadlines {[*deadlines.values()]}, of locks that fail after 0.2 s each time",
        expected=f"each try has what is left of that (of {TOTAL_SECONDS:g} s where there is none)",
        came=tries,
        why="a full time for each try is three times what was promised, for a rider who has hung up long ago",
        look=ASK,
        service="hotline",
    )
    expect(
        [len(one.late) for one in tries[:2]] == [MOST_TRIES, MOST_TRIES] and set(came[:2]) == {"UNAVAILABLE"},
        sent="the same",
        expected=f"{MOST_TRIES} tries where there is time for them, and then UNAVAILABLE",
        came=f"{tries[:2]}, {came[:2]}",
        why="there was time, and a second try is what helps in most cases",
        look=ASK,
        service="hotline",
    )


def test_callers_do_not_come_back_together(operators: Operators) -> None:
    """Many that fail at once make three tries each, and their pauses grow and differ; a short trouble passes."""
    numbers = range(1, CALLERS + 1)
    tickets = [operators.trouble(number) for number in numbers]
    tickets.append(operators.trouble(CALLERS + 1, times=MOST_TRIES - 1))
    *failed, passed = [ended(call).code for call in [operators.begin("CheckBattery", ticket_id=t) for t in tickets]]
    tries = [operators.tries(number) for number in numbers]
    total = sum(map(len, tries))
    first, second = [[t[n]["began_at"] - t[n - 1]["ended_at"] for t in tries if len(t) > n] for n in (1, 2)]
    expect(total == MOST_TRIES * CALLERS and passed == "OK" and set(failed) == {"UNAVAILABLE"},
           sent=f"CheckBattery of {CALLERS} locks at once that are UNAVAILABLE, and of one that is so twice",
           expected=f"{MOST_TRIES} tries of each: {MOST_TRIES * CALLERS} calls, and UNAVAILABLE; OK for the last one",
           came=f"{total} calls, {sorted(set(failed))}; {passed} for the last one",
           why="two layers that try three times each make nine calls of one: so a small trouble becomes a large one",
           look=ASK, service="hotline")  # fmt: skip
    pauses = {"first": spread(first), "second": spread(second)}
    expect(max(first) >= FIRST_PAUSE_SECONDS / 2 and max(second) >= FIRST_PAUSE_SECONDS * 1.4,
           sent=f"the same; FIRST_PAUSE_SECONDS is {FIRST_PAUSE_SECONDS:g}",
           expected=f"random pauses of the order of {FIRST_PAUSE_SECONDS:g} s, then of {2 * FIRST_PAUSE_SECONDS:g} s",
           came=pauses, why="who is down needs a rest to get up, and a longer one if the first was too short", look=ASK,
           service="hotline")  # fmt: skip
    low, _, high = quantiles(second)
    expect(high - low >= SPREAD_SECONDS, sent="the same", expected="pauses that differ from caller to caller",
           came=pauses,
           why="a crowd that fails together and waits equally long comes back as a crowd, and fails together again",
           look=ASK, service="hotline")  # fmt: skip


def spread(pauses: list[float]) -> str:
    """Tell of pauses how long they are."""
    low, middle, high = quantiles(pauses)
    return f"{min(pauses):.3f} to {max(pauses):.3f} s, the middle half {low:.3f} to {high:.3f} s, median {middle:.3f} s"


@pytest.mark.city(started=False)
def test_who_hangs_up_is_not_called_for(city: Any, fake_grpc: Any) -> None:
    """When an operator hangs up, or has no time left, the call to the locks ends, none follows, nothing is logged."""
    fake: FakeGrpc = fake_grpc(lambda call: locks.GetBatteryResponse(battery_percent=80))
    fake.hang()
    city.start(replace={"locks": fake.target})
    with operators_of(city) as operators:
        hung = operators.begin("CheckBattery", ticket_id=operators.ticket(1))
        late = operators.begin("CheckBattery", LATE_SECONDS, ticket_id=operators.ticket(2))
        eventually(lambda: len(fake.calls) == 2)
        hung.cancel()
        code = ended(late).code
        over = eventually(lambda: all(call.over.is_set() for call in fake.calls[:2]), within=NOTED_SECONDS)
        eventually(lambda: len(fake.calls) > 2, within=QUIET_SECONDS)  # longer than a first pause
    expect(over and len(fake.calls) == 2 and code == "DEADLINE_EXCEEDED",
           sent=f"CheckBattery twice, of locks that hang: one is cancelled, the other has {LATE_SECONDS:g} s",
           expected="both calls to the locks end, and no other one is made",
           came=f"{len(fake.calls)} calls, {'all' if over else 'not all'} of the first two have ended, and {code}",
           why="a cancel is no failure of the locks: whoever takes it for one tries again, for nobody", look=ASK,
           service="hotline")  # fmt: skip
    log = log_of(city)
    expect(not any(word in log for word in ("Traceback", "CancelledError")), sent="the same",
           expected="nothing in the log", came=log,
           why="riders hang up all day: an alarm for each is one that nobody reads", look=ANSWERED,
           service="hotline")  # fmt: skip
