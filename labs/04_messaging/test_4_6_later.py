"""Checks of task 4.6: a bike is one rider's alone, for a time; what is to be said later is said once, and in time."""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from select import select
from typing import Any
from urllib.parse import urlsplit

import pytest

from lab_services.checks import Spy, eventually, expect, rows, together

TAKE, GIVE_BACK, BUCKET, BIKE_ID = (f"leases.py: {name}" for name in ("take", "give_back", "BOOKINGS", "BikeId"))
REMIND, CANCEL = "reminders.py: remind, REMINDERS", "reminders.py: cancel"
LEASE_SECONDS, REMIND_SECONDS = 1.0, 0.6  # in the shape later_short, where a check sees the end of a booking
ANSWER_SECONDS, OVER_SECONDS, QUIET_SECONDS = 8.0, 4.0, 4.0
CAUGHT_SECONDS, HELD_SECONDS, EARLY_SECONDS = 2.0, 8.0, 0.2
ROUNDING_SECONDS = 0.02  # between the clocks of processes of one machine
RIDERS, CROWD = 20, 8
short = pytest.mark.city(shape="later_short")
ONE_MB = 1024 * 1024
HOSTILE = (
    "b.1",
    "b..1",
    ".",
    "b*",
    "*",
    "%3E",
    "b%201",
    "b%0D%0APUB%20x%200",
    "b%09",
    "b%00",
    "%C3%BC",
    "b:1",
    33 * "b",
)
BAD_BODIES: tuple[tuple[bytes, str], ...] = (
    (b"", "body"), (b"no JSON", "body"), (b"[]", "body"), (b"{}", "rider_id"), (b'{"rider_id": 5}', "rider_id"),
    (b'{"rider_id": "a b"}', "rider_id"), (b'{"rider_id": ""}', "rider_id"), (b'{"rider_id": "ada", "x": 1}', "x"),
    (b" " * (ONE_MB + 1), "body"),
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """An answer of a replica; `at` is when it had come."""

    status: int
    fields: dict[str, Any]
    at: float

    def __repr__(self) -> str:
        shown = (f"{key}: {value}" for key, value in self.fields.items() if key in ("rider_id", "booking_id", "detail"))
        return f"{self.status} {', '.join(shown)}".strip()

    @property
    def booking_id(self) -> str:
        """Return which booking this is; nothing, when it is none."""
        return str(self.fields.get("booking_id", ""))

    @property
    def reminder(self) -> tuple[str, float]:
        """Return whose reminder is to come, and when."""
        return self.booking_id, moment(self.fields.get("remind_at"))

    @property
    def ends(self) -> float:
        """Return when the booking ends, at the earliest."""
        return moment(self.fields.get("ends_at"))


def moment(text: object) -> float:
    """Return a time of an answer in seconds; 0 when it is none."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


class Desk:
    """Speaks to single replicas of bookings, which are counted from 1."""

    def __init__(self, city: Any) -> None:
        self._places = [urlsplit(url).netloc for url in city["bookings"].replica_urls]

    def begin(self, replica: int, method: str, path: str, body: bytes = b"") -> http.client.HTTPConnection:
        """Send a request and do not wait for its answer."""
        line = http.client.HTTPConnection(self._places[replica - 1], timeout=ANSWER_SECONDS)
        line.putrequest(method, path, skip_accept_encoding=True)
        line.putheader("Content-Type", "application/json")
        line.putheader("Content-Length", str(len(body)))
        line.endheaders(body)
        return line

    def begin_one(self, replica: int, method: str, bike_id: str, rider_id: str) -> http.client.HTTPConnection:
        """Begin to book a bike, or to give it back."""
        path, body = f"/bikes/{bike_id}/booking", json.dumps({"rider_id": rider_id}).encode()
        return self.begin(replica, method, *((path, body) if method == "PUT" else (f"{path}?rider_id={rider_id}",)))

    def put(self, replica: int, bike_id: str, rider_id: str) -> Answer:
        """Book a bike, or renew."""
        return ended(self.begin_one(replica, "PUT", bike_id, rider_id))

    def delete(self, replica: int, bike_id: str, rider_id: str) -> Answer:
        """Give a bike back."""
        return ended(self.begin_one(replica, "DELETE", bike_id, rider_id))

    def get(self, replica: int, bike_id: str) -> Answer:
        """Ask who has a bike."""
        return ended(self.begin(replica, "GET", f"/bikes/{bike_id}/booking"))

    def renews_until_free(self, bike_id: str, last: Answer) -> tuple[bool, Answer]:
        """Let ada renew b-2 until nobody has another bike; return whether that came to be, and her last answer.

        An answer that came after the end of the booking does not count: on a slow machine it is a new one, rightly.
        """
        answers = [last]

        def renew() -> None:
            answer = self.put(2, "b-2", "ada")
            answers.append(answers[-1] if answer.at >= answers[-1].ends else answer)

        def free() -> bool:
            renew()
            return self.get(3, bike_id).status == 404

        gone = eventually(free, within=OVER_SECONDS)
        renew()
        return gone, answers[-1]

    def everywhere(self, bike_id: str) -> list[Answer]:
        """Ask all replicas who has a bike."""
        return [self.get(replica, bike_id) for replica in (1, 2, 3)]

    def have_read(self, *replicas: int) -> None:
        """Return when these replicas have begun what was sent to them: their answers to us come behind that."""
        for replica in replicas * 2:
            ended(self.begin(replica, "GET", "/health/live"))

    def handed_over(self, bike_id: str) -> Answer | None:
        """Let ada give a bike back at replica 2 and bo book it there; None, when somebody came in between."""
        self.delete(2, bike_id, "ada")
        answer = self.put(2, bike_id, "bo")
        return answer if answer.status == 201 else None


def ended(line: http.client.HTTPConnection) -> Answer:
    """Return the answer to a request; one that never comes is a 504."""
    try:
        answer = line.getresponse()
        status, content = answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        status, content = 504, b""
    finally:
        line.close()
    try:
        fields = json.loads(content)
    except ValueError:
        fields = {}
    return Answer(status, fields if isinstance(fields, dict) else {}, time.time())


def answered(line: http.client.HTTPConnection) -> bool:
    """Tell whether the answer to a request is there."""
    return bool(select([line.sock], [], [], 0)[0])


def statuses(answers: Sequence[Answer]) -> list[int]:
    """Return the status of each answer."""
    return [answer.status for answer in answers]


def in_time(crowd: list[Answer]) -> list[Answer]:
    """Leave out what came when the first booking of a crowd had ended: on a slow machine there is a second one."""
    end = min((answer.ends for answer in crowd if answer.status == 201), default=0.0)
    return [answer for answer in crowd if answer.at < end or answer.ends == end]


def quiet(spy: Spy) -> bool:
    """Tell whether no reminder can come any more: none waits at the broker, and notices has read all that have come."""
    before = spy.stream("REMINDERS").state.last_seq
    kept, reader = spy.kept("REMINDERS"), spy.consumer("REMINDERS", "notices")
    due = [message.sequence for message in kept if message.subject == "reminder.due"]
    read = reader is not None and reader.ack_floor.stream_seq >= max(due, default=0)
    moved = spy.stream("REMINDERS").state.last_seq != before  # a reminder came while we looked: look again
    return read and len(kept) == len(due) and not moved


def notices(city: Any, spy: Spy) -> list[dict[str, Any]]:
    """Return the notices that riders have got, when no other one can come, or after QUIET_SECONDS."""
    with suppress(Exception):  # a stream that is not there any more: what has come has come
        eventually(lambda: quiet(spy), within=QUIET_SECONDS)
    return rows(city["notices"].data / "notices.db", "SELECT * FROM notices ORDER BY bike_id, came_at")


def reminders(found: list[dict[str, Any]]) -> Counter[tuple[str, float]]:
    """Count the notices: of which booking, due when."""
    return Counter((row["booking_id"], row["due_at"]) for row in found)


def shown(found: list[dict[str, Any]]) -> list[str]:
    """Tell of notices what a person can compare."""
    late = "{came:+.2f} s after it was due"
    return [f"{r['bike_id']} to {r['rider_id']}, {late.format(came=r['came_at'] - r['due_at'])}" for r in found]


class Wire:
    """The wire between the replicas and the broker; on it one message can be held up, as if its sender had slept."""

    def __init__(self) -> None:
        self.broker = ""  # host:port, once it is there
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._door.getsockname()[1]}"
        self._hold: tuple[bytes, ...] = ()
        self._passing = 0
        self._caught, self._gate = threading.Event(), threading.Event()
        start(self._accept)

    def hold(self, passing: int, *subjects: str) -> None:
        """Let so many messages pass on subjects that begin so, and hold up the next, and what its sender says then."""
        self._passing = passing
        self._caught.clear()
        self._gate.clear()
        self._hold = tuple(subject.encode() for subject in subjects)

    def caught(self, line: http.client.HTTPConnection) -> bool:
        """Tell, when it has come or this request was answered without it, whether it has come; hold up no other."""
        eventually(lambda: self._caught.is_set() or answered(line), within=CAUGHT_SECONDS)
        self._hold = ()
        return self._caught.is_set()

    def let_go(self, line: http.client.HTTPConnection) -> Answer:
        """Let it go on, and return the answer to a request."""
        self._gate.set()
        return ended(line)

    def close(self) -> None:
        """Let everything go on, and take no more connections."""
        self._gate.set()
        self._door.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here = self._door.accept()[0]
                there = socket.create_connection(urlsplit(self.broker).netloc.rsplit("@")[-1].split(":"))
                start(self._speak, here, there)
                start(self._answer, there, here)

    def _speak(self, here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError, ValueError), here, there, here.makefile("rb") as words:
            while line := words.readline():
                verb, *rest = line.split()
                content = words.read(int(rest[-1]) + 2) if verb.upper() in (b"PUB", b"HPUB") else b""
                if content and self._hold and rest[0].startswith(self._hold):
                    self._meet()
                there.sendall(line + content)

    def _meet(self) -> None:
        self._passing -= 1
        if self._passing < 0:
            self._hold = ()
            self._caught.set()
            self._gate.wait(HELD_SECONDS)

    def _answer(self, there: socket.socket, here: socket.socket) -> None:
        with suppress(OSError):
            while content := there.recv(65536):
                here.sendall(content)
            here.shutdown(socket.SHUT_RDWR)


def start(work: Any, *values: Any) -> None:
    """Begin something beside the check."""
    threading.Thread(target=work, args=values, daemon=True).start()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A wire for the broker of the shape later_wire."""
    made = Wire()
    yield made
    made.close()


def on_the_wire(city: Any, wire: Wire) -> Desk:
    """Start a city of the shape later_wire, whose replicas reach the broker by this wire."""
    city.start(replace={"wire": wire.url}, skip=["bookings"])
    wire.broker = city["broker"].url
    city.launch("bookings")
    return Desk(city)


RENEWAL = "a renewal without a revision writes over whoever came meanwhile: two riders were told that it is theirs"
LATE = (
    ("DELETE", "b-1", 0, ("$KV.BOOKINGS.b-1",), GIVE_BACK, "between the look and the write the bike became another's: "
     "a release without a revision takes it from him"),
    ("PUT", "b-2", 0, ("$KV.BOOKINGS.b-2",), TAKE, RENEWAL),
    ("PUT", "b-3", 1, ("$KV.BOOKINGS.b-3",), TAKE, RENEWAL),
    ("PUT", "b-4", 0, ("$KV.BOOKINGS.b-4",), TAKE, "free when we looked is not free when we write: a put writes over "
     "whoever was faster"),
    ("DELETE", "b-5", 0, ("$JS.API.STREAM.PURGE.", "$JS.API.STREAM.MSG.DELETE.", "reminder."), CANCEL, "who cancels "
     "late must not hit the reminder of the next one who has the bike"),
)  # fmt: skip


def test_one_of_twenty_gets_the_bike(city: Any) -> None:
    """Twenty riders book a bike in one moment, at three replicas: one has it, and every replica knows who."""
    desk = Desk(city)
    city.pause("broker")  # nobody is faster than the others: what all have asked is answered when it goes on
    lines = [desk.begin_one(1 + number % 3, "PUT", "b-1", f"r-{number}") for number in range(RIDERS)]
    desk.have_read(1, 2, 3)
    city.resume("broker")
    answers = [ended(line) for line in lines]
    won = [answer for answer in answers if answer.status == 201]
    expect(len(won) == 1 and statuses(answers).count(409) == RIDERS - 1,
           sent=f"PUT /bikes/b-1/booking for {RIDERS} riders in one moment, at three replicas",
           expected=f"201 once, 409 {RIDERS - 1} times", came=sorted(statuses(answers)),
           why="where looking and writing are two steps, all look first: many riders walk to one bike", look=TAKE,
           service="bookings")  # fmt: skip
    found = desk.everywhere("b-1")
    expect([answer.booking_id for answer in found] == 3 * [won[0].booking_id], sent="GET of b-1 at each replica",
           expected=f"the booking of who has it: {won[0]}", came=found, why="what one replica knows alone, the others "
           "give away again", look=TAKE, service="bookings")  # fmt: skip


def test_only_the_holder_renews_and_gives_back(city: Any) -> None:
    """Who has a bike may book it again and give it back, at any replica; nobody else may; then it is the next one's."""
    desk = Desk(city)
    first, before = desk.put(1, "b-1", "ada"), desk.everywhere("b-1")
    others = [desk.put(3, "b-1", "eve"), desk.delete(1, "b-1", "eve")]
    again, still = desk.put(2, "b-1", "ada"), desk.everywhere("b-1")
    same = {answer.booking_id for answer in [*before, again, *still]} == {first.booking_id}
    expect([first.status, *statuses(others), again.status] == [201, 409, 409, 200] and same,
           sent="PUT of b-1 for ada; PUT and DELETE for eve; PUT for ada again; GET at each replica before and after",
           expected="201, 409, 409, 200, and one booking of ada in all answers",
           came=[first, *others, again, *before, *still],
           why="a booking that others can end or renew is none, and a tap that is sent again is no second booking",
           look=f"{TAKE}, give_back", service="bookings")  # fmt: skip
    back, free, none = desk.delete(3, "b-1", "ada"), desk.everywhere("b-1"), desk.delete(1, "b-1", "ada")
    last, twice = desk.put(1, "b-1", "eve"), desk.delete(2, "b-1", "ada")
    expect(statuses([back, *free, none, last, twice]) == [204, 404, 404, 404, 404, 201, 409]
           and last.booking_id != first.booking_id, sent="DELETE of b-1 for ada, GET at each replica, DELETE for ada "
           "again, PUT for eve, DELETE for ada", expected="204, 404, 404, 404, 404, 201 with a new booking_id, 409",
           came=[back, *free, none, last, twice], why="who gave a bike back has it no more, and who comes next has it "
           "at once", look=GIVE_BACK, service="bookings")  # fmt: skip


@pytest.mark.city(shape="later_wire", started=False)
def test_what_is_written_late_takes_nothing_away(city: Any, spy_on: Any, wire: Wire) -> None:
    """What a replica writes late, when the bike is another's, changes nothing; an answer comes when all is written."""
    desk, spy = on_the_wire(city, wire), spy_on(city)
    first = [desk.put(2, bike, "ada") for bike in ("b-1", "b-2", "b-3", "b-5")]
    for method, bike, passing, subjects, look, why in LATE:
        wire.hold(passing, *subjects)
        line = desk.begin_one(1, method, bike, "ada")
        caught, bo = wire.caught(line), eventually(lambda bike=bike: desk.handed_over(bike), within=OVER_SECONDS)
        late, now = wire.let_go(line), desk.get(2, bike)
        waits = any(now.booking_id.encode() in message.data for message in spy.kept("REMINDERS"))
        right = bo and bo.booking_id == now.booking_id and (waits or method == "PUT")
        expect(right and statuses(first) == [201] * 4 and (late.status >= 400 or bike == "b-5" or not caught), sent=
               f"{method} of {bike} for ada at replica 1, whose write to the broker comes when bo has the bike",
               expected=f"409, and bo has it: {bo}, and his reminder waits", why=why, look=look, service="bookings",
               came=f"{late}; then {now}, and {'one' if waits else 'no'} reminder of it waits")  # fmt: skip
    wire.hold(0, "reminder.")
    line = desk.begin_one(1, "PUT", "b-6", "ada")
    wire.caught(line)
    too_early = eventually(lambda: answered(line), within=EARLY_SECONDS)
    expect(not too_early, sent="PUT of b-6, whose reminder does not get to the broker yet", expected="no answer yet",
           came=wire.let_go(line), why="a replica that dies right after its answer has promised a reminder that "
           "nobody knows", look=REMIND, service="bookings")  # fmt: skip


@short
def test_a_booking_ends_by_itself(city: Any) -> None:
    """A booking ends after its time, also when its replica is dead; one of many gets the bike; who renews keeps it."""
    desk = Desk(city)
    hers, second = desk.put(1, "b-2", "ada"), [desk.put(1, "b-3", "ada"), desk.put(1, "b-3", "ada")]
    first = desk.put(1, "b-1", "ada")
    city.kill("bookings", replica=1)
    gone, last = desk.renews_until_free("b-1", hers)
    early = first.ends - time.time()
    crowd = together([lambda n=n: desk.put(2 + n % 2, "b-1", f"r-{n}") for n in range(CROWD)])
    first_ones = in_time(crowd)
    ended_too = gone and eventually(lambda: desk.get(2, "b-3").status == 404, within=OVER_SECONDS)
    expect(gone and early <= 0 and sorted(statuses(first_ones)) == [201] + [409] * (len(first_ones) - 1), look=BUCKET,
           sent=f"PUT of b-1 for ada at replica 1, which is killed; PUT for {CROWD} others when GET says 404",
           expected=f"404 after {LEASE_SECONDS:g} s, and not before; then 201 once and 409 {CROWD - 1} times",
           came=f"404 {-early:+.2f} s after its end, {statuses(crowd)}" if gone else f"no 404 in {OVER_SECONDS:g} s",
           why="nobody is left who could end it: a bike that is booked for ever stands still",
           service="bookings")  # fmt: skip
    expect(last.booking_id == hers.booking_id, sent="PUT of b-2 for ada, again and again", came=last,
           expected=f"200, and the same booking: {hers}", why="a renewal that does not begin the time anew ends under "
           "the rider's hands", look=TAKE, service="bookings")  # fmt: skip
    expect(ended_too, sent="PUT of b-3 for ada, PUT once more, and then GET", expected="404 in the end", came=second,
           why="a renewal needs an end, too: without one the bike is booked for ever", look=TAKE,
           service="bookings")  # fmt: skip


@short
def test_a_reminder_outlives_who_has_set_it(city: Any, spy_on: Any) -> None:
    """Reminders come once, and in time, when the replica that set them was killed, and the broker, too."""
    desk, spy = Desk(city), spy_on(city)
    booked = [desk.put(1, "b-1", "ada"), desk.put(1, "b-2", "ada"), desk.put(1, "b-3", "bo")]
    city.kill("bookings", replica=1)
    city.kill("broker")
    city.launch("broker")
    eventually(lambda: desk.get(2, "b-1").status in (200, 404), within=OVER_SECONDS)
    known, found = desk.get(2, "b-1"), notices(city, spy)
    sent = "PUT of b-1, b-2 for ada, of b-3 for bo at replica 1, which is killed; the broker is killed and comes back"
    over = known.status == 404 and known.at >= booked[0].ends  # on a slow machine
    expect(over or known.booking_id == booked[0].booking_id, sent=sent,
           expected=f"GET of b-1 at replica 2: {booked[0]}", came=known, why="a broker that forgets who has a bike "
           "lets nobody, or the next one, have it", look=BUCKET, service="bookings")  # fmt: skip
    expect(reminders(found) == Counter(answer.reminder for answer in booked), sent=sent,
           expected="one notice of each of the three", came=shown(found) or "no notice", why="what waits in a process "
           "dies with it, what waits in a broker's memory dies with the broker; two that wait in one place are one",
           look=REMIND, service="notices")  # fmt: skip
    early = [row for row in found if row["came_at"] < row["due_at"] - ROUNDING_SECONDS]
    expect(not early, sent=sent, expected=f"no notice before its time, {REMIND_SECONDS:g} s before the end",
           came=shown(early), why="a reminder that comes at once reminds nobody of an end", look=REMIND,
           service="notices")  # fmt: skip


@short
def test_what_is_over_reminds_nobody(city: Any, spy_on: Any) -> None:
    """Who gave the bike back is not reminded, who renewed is reminded once, later; a bike's next rider gets his own."""
    desk, spy, bikes = Desk(city), spy_on(city), ("b-1", "b-2", "b-3")
    first = [desk.put(1, bike, "ada") for bike in bikes]
    then = [desk.delete(2, "b-1", "ada"), desk.put(3, "b-2", "ada"), desk.delete(3, "b-3", "ada")]
    his = desk.put(1, "b-3", "bo")
    told = reminders(found := notices(city, spy))
    for was, after in zip(first, then, strict=True):
        if after.at >= was.reminder[1]:  # a machine so slow that this was due before it was over: it may have come
            told.pop(was.reminder, None)
    over = [bike for bike, was in zip(bikes, first, strict=True) if was.reminder in told]
    sent = "PUT of b-1 to b-3 for ada; for her, elsewhere: DELETE of b-1, PUT of b-2, DELETE of b-3; PUT of b-3 for bo"
    expect(not over, sent=sent, expected="no notice of what was given back, or of the time before a renewal",
           came=[f"of the first booking of {bike}" for bike in over] + shown(found), why="a reminder of what is over "
           "sends a rider to a bike that is not hers", look=CANCEL, service="notices")  # fmt: skip
    expect(told == Counter([then[1].reminder, his.reminder]), sent=sent, expected="one notice of b-2 to ada, due "
           "as her renewal said, and one of b-3 to bo", came=shown(found) or [*first, *then, his], why="taking "
           "back one reminder leaves alone all others, and a new time needs a new reminder", look=f"{REMIND}, cancel",
           service="notices")  # fmt: skip


def test_what_is_no_bike_is_refused(city: Any, spy_on: Any) -> None:
    """What is no bike_id or no rider gets a 4xx that names it, and the broker keeps nothing; all else goes on."""
    desk, spy = Desk(city), spy_on(city)
    requests = [("PUT", "", b'{"rider_id": "ada"}'), ("GET", "", b""), ("DELETE", "?rider_id=ada", b"")]
    for bike, (method, query, content) in product(HOSTILE, requests):
        answer = ended(desk.begin(1, method, f"/bikes/{bike}/booking{query}", content))
        expect(answer.status == 422 and "bike_id" in json.dumps(answer.fields), sent=f"{method} /bikes/{bike}/booking",
               expected="422, which names bike_id", came=answer, why="a name that means something to the broker ends "
               "up in other people's bookings, or takes the service down", look=BIKE_ID,
               service="bookings")  # fmt: skip
    for content, field in BAD_BODIES:
        answer = ended(desk.begin(2, "PUT", "/bikes/b-1/booking", content))
        expect(400 <= answer.status < 500 and field in json.dumps(answer.fields), sent=f"PUT with {content[:40]!r}",
               expected=f"4xx, which names {field}", came=answer, why="who is refused has to know why", look=BIKE_ID,
               service="bookings")  # fmt: skip
    kept = [message.subject for name in ("KV_BOOKINGS", "REMINDERS") for message in spy.kept(name)]
    good = [desk.put(3, bike, "ada").status for bike in ("b", "B-_09" + 27 * "x")]
    expect(kept == [] and good == [201, 201], sent="all these, and then PUT of two good bikes for ada",
           expected="nothing kept by the broker of the bad ones, 201 and 201", came=[*kept, *good],
           why="whoever is refused must leave nothing behind", look=BIKE_ID, service="bookings")  # fmt: skip
