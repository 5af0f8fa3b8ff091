"""Checks of task 4.3: each question has its answer or an honest end, and a bolt moves once for a ride."""

import json
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from lab_services.checks import eventually, expect, rows, together
from lab_services.servers.nats import monitoring

ASK, ASK_ALL, UNLOCK = "asking.py: ask", "asking.py: ask_all", "desk.py: unlock"
HEAR, MOVE = "gateways.py: hear", "gateways.py: unlock"
ANSWER_SECONDS, AT_ONCE_SECONDS = 3.0, 1.5  # of the desk of shape asking; what comes sooner has not waited for it
HASTY_SECONDS, MOST_TRIES = 0.4, 2  # of the desk of shape hasty_asking
CALL_SECONDS, SOON_SECONDS, QUIET_SECONDS = 7.0, 3.0, 0.2
HANG_UP_SECONDS = 0.1
LONG_SECONDS = 5.0  # the longest that a rider may wait for all batteries
MOST_AT_WORK, TOO_MANY = 20, 5
LOCKS = 12  # of a district
LOST = ("confirmations_lost", 1)
MEGABYTE = 1024 * 1024
DISTRICTS = ["north", "middle", "south"]
web = httpx.Client(timeout=CALL_SECONDS, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass(frozen=True)
class Came:
    """What came back from the desk; silence has the status 0."""

    status: int
    content: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    seconds: float = 0.0

    def __repr__(self) -> str:
        return f"{self.status or 'no answer'} {self.content} after {self.seconds:.2f} s"

    def is_problem(self, status: int) -> bool:
        """Tell whether this is a problem document (RFC 9457) of this status."""
        return self.status == status == self.content.get("status") and self.kind == "application/problem+json"

    @property
    def state(self) -> str:
        return str(self.content.get("state"))


class Riders:
    """Whoever asks the desk; and what is noted in locks.db."""

    def __init__(self, city: Any, threads: ThreadPoolExecutor) -> None:
        self._city, self._threads = city, threads
        self._desk = city["desk"].url

    def _call(self, method: str, path: str, **options: Any) -> Came:
        began = time.monotonic()
        try:
            answer = web.request(method, self._desk + path, **options)
        except httpx.HTTPError as error:
            return Came(0, {"error": repr(error)}, "", time.monotonic() - began)
        kind = answer.headers.get("content-type", "")
        content = answer.json() if "json" in kind else {"text": answer.text}
        return Came(answer.status_code, content, kind, time.monotonic() - began)

    def battery(self, lock_id: str) -> Came:
        return self._call("GET", f"/locks/{lock_id}/battery")

    def hang_up(self, lock_id: str) -> None:
        """Ask for a battery, and leave before the answer."""
        with suppress(httpx.TimeoutException):
            web.get(f"{self._desk}/locks/{lock_id}/battery", timeout=HANG_UP_SECONDS)

    def batteries(self, within: float) -> Came:
        return self._call("GET", "/batteries", params={"within": within})

    def unlock(self, ride_id: str, lock_id: str) -> Came:
        return self._call("PUT", f"/rides/{ride_id}/unlocked", json={"lock_id": lock_id})

    def begin(self, work: Any, *args: Any) -> "Future[Came]":
        """Begin a call, which goes on beside the check."""
        return self._threads.submit(work, *args)

    def openings(self, lock_id: str) -> list[str]:
        """Return for which requests a bolt has moved."""
        query = "SELECT request_id FROM openings WHERE lock_id = ? ORDER BY seq"
        return [row["request_id"] for row in rows(self._city["gateways"].data / "locks.db", query, lock_id)]

    def percents(self) -> dict[str, int]:
        """Return what is in every battery."""
        found = rows(self._city["gateways"].data / "locks.db", "SELECT lock_id, battery_percent FROM locks")
        return {row["lock_id"]: row["battery_percent"] for row in found}

    def change(self, lock_id: str, **columns: Any) -> None:
        """Change the row of a lock."""
        with closing(sqlite3.connect(self._city["gateways"].data / "locks.db", timeout=2)) as db, db:
            for name, value in columns.items():
                db.execute(f"UPDATE locks SET {name} = ? WHERE lock_id = ?", [value, lock_id])


@pytest.fixture
def riders(city: Any) -> Iterator[Riders]:
    """Riders of a running city."""
    with ThreadPoolExecutor(8) as threads:
        yield Riders(city, threads)


def content(**fields: Any) -> bytes:
    """Return the bytes of a message."""
    return json.dumps(fields).encode()


def told(heard: Any) -> dict[str, Any]:
    """Return what a gateway has answered; {"error": "silence"} for nothing at all."""
    try:
        found = json.loads(heard.data) if heard else {"error": "silence"}
    except ValueError:
        return {"error": f"no JSON: {heard.data[:40]!r}"}
    return found if isinstance(found, dict) else {"error": f"no object: {found}"}


def later(seconds: float = CALL_SECONDS) -> float:
    """Return an `until` that is far enough away."""
    return time.time() + seconds


def test_answers_find_their_requests(city: Any, riders: Riders) -> None:
    """Fifteen questions at once have each their own answer, the slowest first asked, and wait for no slow lock."""
    percents = riders.percents()
    asked = [f"{letter}-{number:02}" for number in range(1, 6) for letter in "nms"]
    for place, lock_id in enumerate(asked):
        riders.change(lock_id, seconds=0.2 - 0.01 * place)
    riders.change("n-12", seconds=10 * ANSWER_SECONDS)
    riders.hang_up("n-12")
    came = dict(zip(asked, together([partial(riders.battery, lock_id) for lock_id in asked]), strict=True))
    city.kill("desk")  # which would wait for n-12 before it leaves
    late = {lock_id: end for lock_id, end in came.items() if end.status in (0, 504) or end.seconds > ANSWER_SECONDS}
    expect(not late, sent=f"GET /locks/.../battery for {len(asked)} locks, while the lock n-12 is at work for 30 s",
           expected="an answer for each of them, in time", came=late, look=f"{HEAR}; {ASK}", service="gateways",
           why="nats-py waits for a callback before it hands over more: one slow lock stops a district")  # fmt: skip
    right = {lock_id: {"lock_id": lock_id, "battery_percent": percents[lock_id]} for lock_id in asked}
    wrong = {lock_id: end for lock_id, end in came.items() if end.content != right[lock_id]}
    expect(not wrong, sent=f"these {len(asked)} at once; each takes its own time, the first one the longest",
           expected="200 with the lock's own percent, each time", came=wrong, look=ASK, service="desk",
           why="on a subject that all share, a mechanic changes the battery of somebody else's bike")  # fmt: skip


def test_nobody_there_is_told_at_once(city: Any, riders: Riders) -> None:
    """Without its gateway a lock's riders get 503 at once; a lock that nobody has is 404; all others go on."""
    city.kill("gateways", replica=2)
    came = together([*3 * [partial(riders.battery, "m-01")], *3 * [partial(riders.unlock, "r-1", "m-01")]])
    quick = [min(end.seconds for end in part) < AT_ONCE_SECONDS for part in (came[:3], came[3:])]
    expect(all(end.is_problem(503) for end in came) and all(quick),
           sent="GET /locks/m-01/battery and PUT /rides/r-1/unlocked for m-01, three times each, without its gateway",
           expected=f"a problem 503 each time, at once: not after {ANSWER_SECONDS:g} s", came=came,
           why="the broker says at once that nobody listens: no rider needs to stand there and wait for it", look=ASK,
           service="desk")  # fmt: skip
    others = [riders.battery("n-01").status, riders.unlock("r-2", "s-01").status]
    unknown = [riders.battery("n-99"), riders.battery("x-01"), riders.unlock("r-3", "n-99")]
    expect(others == [200, 200] and all(end.is_problem(404) for end in unknown),
           sent="a battery in the north, an unlock in the south; then locks that there are not: n-99, x-01, n-99",
           expected="200, 200; 404 three times", came=f"{others}; {unknown}",
           why="a gateway that knows no such lock says so: that is an answer, and not silence", look=HEAR,
           service="gateways")  # fmt: skip
    city.kill("gateways")
    came = together(2 * [partial(riders.batteries, ANSWER_SECONDS)])
    quick = [min(end.seconds for end in came) < AT_ONCE_SECONDS]
    expect(all(end.content.get("missing") == DISTRICTS for end in came) and all(quick), came=came,
           sent=f"GET /batteries?within={ANSWER_SECONDS:g}, twice, without any gateway",
           expected=f"200 at once; missing: {DISTRICTS}", look=ASK_ALL, service="desk",
           why="where nobody listens nothing can come: whoever waits, waits for nothing")  # fmt: skip


def in_place_of_the_north(city: Any, spy_on: Any, *subjects: str) -> Any:
    """Kill the gateway of the north, and hear what it would hear."""
    spy = spy_on(city)
    city.kill("gateways", replica=1)
    spy.hears(*subjects)
    return spy


def answer(spy: Any, heard: Any, **fields: Any) -> None:
    """Answer a request, as a gateway does."""
    if heard.reply:
        spy.publish(heard.reply, content(**fields))


def unlock_again(riders: Riders, ride_id: str, lock_id: str) -> Came:
    """Send a PUT again until it has opened, or SOON_SECONDS long."""
    came: list[Came] = []
    eventually(lambda: came.append(riders.unlock(ride_id, lock_id)) or came[-1].state == "opened", SOON_SECONDS)
    return came[-1]


def expect_no_late_answer(riders: Riders, spy: Any) -> None:
    """Ask for a battery of the north, and answer an earlier question about another one in place of this one."""
    call, before = riders.begin(riders.battery, "n-02"), spy.on("lock.north.battery")
    asked = eventually(lambda: spy.on("lock.north.battery")[len(before) :], SOON_SECONDS)
    for percent, heard in enumerate([*before, *asked], 1):
        answer(spy, heard, battery_percent=percent)
    expect(call.result().content.get("battery_percent") != 1, came=call.result(),
           sent="GET /locks/n-02/battery; then the answer to the question before comes, about n-01: 1 percent",
           expected="not this answer: it is not to this question", look=ASK, service="desk",
           why="a late answer is for somebody who has left, and not for who is next")  # fmt: skip


def expect_two_tries(spy: Any, began: float) -> None:
    """Look at what was asked for a ride, whose gateway has said nothing."""
    tries = [json.loads(heard.data) for heard in spy.on("lock.north.unlock")]
    expect(len(tries) == MOST_TRIES and tries[1].get("until", 0) > began + HASTY_SECONDS * 1.5, came=tries,
           sent="PUT /rides/r-2/unlocked for n-02; nothing is said to the first try", look=UNLOCK, service="desk",
           expected=f"{MOST_TRIES} tries, and an `until` of the second that has not passed when it is sent",
           why="what may be asked twice is asked again; and a try that is late when it is sent is none")  # fmt: skip


def expect_nothing_opens_late(city: Any, riders: Riders) -> None:
    """Let the gateway of the middle go on, and ask again for the ride r-1."""
    city.resume("gateways", replica=2)
    late = eventually(lambda: riders.openings("m-02"), within=QUIET_SECONDS)
    again = unlock_again(riders, "r-1", "m-02")
    expect(not late and again.status == 200 and len(riders.openings("m-02")) == 1,
           sent="then the gateway of the middle goes on; and PUT /rides/r-1/unlocked again",
           expected='nothing opens by itself, as its `until` has passed; then 200 "opened", once',
           came=f"opened by itself: {late}; the PUT: {again}; the ledger: {riders.openings('m-02')}",
           why="a request that waits in a buffer opens a bike when its rider sits in the tram", look=UNLOCK,
           service="desk")  # fmt: skip


def refuse_second_try(spy: Any) -> None:
    """Wait for the second try of an unlock in the north, and answer it: busy."""
    tries = eventually(lambda: spy.on("lock.north.unlock")[1:], SOON_SECONDS)
    for heard in tries:
        answer(spy, heard, error="busy", detail="so many requests")


@pytest.mark.city(shape="hasty_asking")
def test_silence_does_not_say_no(city: Any, riders: Riders, spy_on: Any) -> None:
    """Silent gateways: 504 for a battery, "unknown" for an unlock, some of all batteries; late is no answer."""
    spy = in_place_of_the_north(city, spy_on, "lock.north.battery", "lock.north.unlock")
    city.pause("gateways", replica=2)
    wishes = [partial(riders.unlock, "r-1", "m-02"), partial(riders.unlock, "r-2", "n-02")]
    questions = [partial(riders.battery, "m-01"), partial(riders.battery, "n-01"), partial(riders.batteries, 0.8)]
    began = time.time()
    *came, found, _ = together([*wishes, *questions, partial(refuse_second_try, spy)])
    ends = [end.state if end.status == 202 else end.is_problem(504) for end in came]
    expect(ends == ["unknown", "unknown", True, True],
           sent="PUT /rides/r-1/unlocked for m-02, r-2 for n-02; GET /locks/m-01/battery, n-01: nobody answers; "
           "but for the second try of r-2: busy",
           expected='202 with the state "unknown", twice; a problem 504, twice', came=came,
           why="silence does not say no: a rider who is told 'it did not open' walks away from a bike that may open",
           look=f"{ASK}; {UNLOCK}", service="desk")  # fmt: skip
    expect(len(found.content.get("batteries", {})) == LOCKS and found.content["missing"] == ["north", "middle"],
           sent="GET /batteries?within=0.8 at the same time", came=found,
           expected="200 with the batteries of the south; north and middle are missing", look=ASK_ALL, service="desk",
           why="two districts out of order are no reason to hide the third, nor to take it for the city")  # fmt: skip
    expect_two_tries(spy, began)
    expect_no_late_answer(riders, spy)
    expect_nothing_opens_late(city, riders)


def unlock_and_kill(city: Any, riders: Riders, ride_id: str, lock_id: str) -> Came:
    """Unlock in the middle; when the bolt has moved, and before word of it, kill the gateway."""
    call = riders.begin(riders.unlock, ride_id, lock_id)
    eventually(lambda: riders.openings(lock_id), SOON_SECONDS)
    city.kill("gateways", replica=2)
    return call.result()


def unlock_twice(spy: Any, ride_id: str, lock_id: str) -> None:
    """Send one wish to the gateway of the south twice, at once."""
    for _ in range(2):
        wish = content(lock_id=lock_id, request_id=ride_id, until=later())
        spy.publish("lock.south.unlock", wish, reply="twice.answer")


def expect_other_wishes(riders: Riders) -> None:
    """Open another lock for a ride that has one, and a lock for two rides."""
    other, *_ = [riders.unlock("r-1", "n-02"), riders.unlock("r-6", "n-04"), riders.unlock("r-7", "n-04")]
    moved = {lock_id: riders.openings(lock_id) for lock_id in ("n-02", "n-04")}
    expect(other.is_problem(409) and [len(requests) for requests in moved.values()] == [0, 2],
           sent="PUT /rides/r-1/unlocked for n-02; then r-6 and r-7 for n-04",
           expected="409, and nothing opens; n-04 opens twice, once for each ride", came=f"{other}; {moved}",
           why="one ride is one bike; and the next ride of a bike is another wish", look=f"{UNLOCK}; {MOVE}",
           service="gateways")  # fmt: skip


@pytest.mark.city(shape="hasty_asking")
def test_a_wish_moves_a_bolt_once(city: Any, riders: Riders, spy_on: Any) -> None:
    """Answers get lost, wishes come twice, a gateway dies: a bolt moves once for a ride, and nobody is told a no."""
    rides = {"r-1": "n-01", "r-3": "m-03", "r-5": "s-05"}
    for lock_id, column, value in (("n-01", *LOST), ("m-03", *LOST), ("s-05", "seconds", 0.2)):
        riders.change(lock_id, **{column: value})
    unlock_twice(spy_on(city), "r-5", "s-05")
    came = together([partial(riders.unlock, "r-1", "n-01"), partial(unlock_and_kill, city, riders, "r-3", "m-03")])
    expect({end.state for end in came} <= {"opened", "unknown"},
           sent="PUT /rides/r-1/unlocked for n-01, r-3 for m-03: both open, no word of it comes; m-03's gateway dies",
           expected='200 "opened" or 202 "unknown"', came=came, look=UNLOCK, service="desk",
           why="that nobody is there for the second try says nothing of the first, which has opened")  # fmt: skip
    city.launch("gateways")
    again = [unlock_again(riders, ride_id, lock_id) for ride_id, lock_id in rides.items()]
    moved = {lock_id: riders.openings(lock_id) for lock_id in rides.values()}
    expect([len(requests) for requests in moved.values()] == [1, 1, 1], came=moved, service="gateways",
           sent="these; r-5 for s-05 twice at once, straight to its gateway; a new gateway; the three PUTs again",
           expected="one movement of each bolt in the ledger", look=f"{UNLOCK}; {MOVE}",
           why="who asks again has the same wish; a bolt that moves again opens a locked bike")  # fmt: skip
    expect([end.status for end in again] == [200, 200, 200], sent="the same three PUTs, again and again",
           expected='200 "opened", each', came=again, look=MOVE, service="gateways",
           why="the ledger knows that it has opened: nobody has to wait for word of the lock")  # fmt: skip
    expect_other_wishes(riders)


def of_the_north(percent: int) -> bytes:
    """Return what a gateway of the north could say."""
    return content(district="north", batteries={"n-01": percent})


def ask_for_all(riders: Riders, spy: Any, within: float) -> tuple["Future[Came]", str]:
    """Ask for all batteries; return the call, which goes on, and where the spy, as the north, has to answer."""
    before = len(spy.heard)
    call = riders.begin(riders.batteries, within)
    eventually(lambda: len(spy.heard) > before, SOON_SECONDS)
    return call, (len(spy.heard) > before and spy.heard[-1].reply) or "nobody.has.asked"


NOISE = (b"[", b"", content(district="moon", batteries={}), content(error="mistake"))


def expect_an_end(riders: Riders, spy: Any) -> str:
    """Ask for all batteries, and make noise until it has ended; return where the answer could have been sent."""
    call, reply = ask_for_all(riders, spy, 0.1)
    eventually(lambda: spy.publish(reply, b"noise") or call.done(), within=SOON_SECONDS)
    expect(call.done() and call.result().status == 200, look=ASK_ALL, service="desk",
           sent="GET /batteries?within=0.1, and noise without end for an answer", expected="200 after 0.1 s",
           came=call.result() if call.done() else f"nothing for {SOON_SECONDS:g} s",
           why="a limit for each answer is none for all of them")  # fmt: skip
    return reply


def test_all_districts_are_asked_at_once(city: Any, riders: Riders, spy_on: Any) -> None:
    """All batteries: ends when each district is there, or in time; doubles, noise, late answers count for nothing."""
    spy = in_place_of_the_north(city, spy_on, "lock.all.batteries")
    riders.change("s-05", seconds=0.2)
    call, reply = ask_for_all(riders, spy, LONG_SECONDS)
    for data in (*NOISE, *3 * [of_the_north(11)]):
        spy.publish(reply, data)
    came = call.result()
    expect(len(came.content.get("batteries", {})) == 2 * LOCKS + 1 and came.content["missing"] == [], came=came,
           sent=f"GET /batteries?within={LONG_SECONDS:g}; the north says nonsense, then its answer three times at once",
           expected="the batteries of all three districts", look=ASK_ALL, service="desk",
           why="three answers are not three districts: count who has answered")  # fmt: skip
    expect(came.seconds < LONG_SECONDS / 2, sent="the same; the slowest district takes 0.2 s",
           expected="an answer when all are there", came=came, look=ASK_ALL, service="desk",
           why="a mechanic who may wait five seconds does not want to, where everything is there")  # fmt: skip
    before = expect_an_end(riders, spy)
    call, reply = ask_for_all(riders, spy, LONG_SECONDS)
    for subject, percent in ((before, 12), (reply, 13), (before, 12)):
        spy.publish(subject, of_the_north(percent))
    expect(call.result().content.get("batteries", {}).get("n-01") == 13, came=call.result(), look=ASK_ALL,
           sent="GET /batteries again; the north answers the question before (12 percent), and this one (13)",
           expected="13 percent for n-01", why="a late answer tells of another time", service="desk")  # fmt: skip


BAD = (b"", b"battery, please", b"[]", b"{}", b"\xff\xfe", content(lock_id=["n-01"]), content(lock_id="n 01"),
       b"[" * 4000, b" " * MEGABYTE)  # fmt: skip


def asked_all(spy: Any, questions: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """Ask all of these at once, and return their answers in order."""
    spy.hears(f"{(inbox := uuid4().hex)}.*")
    subjects = [f"{inbox}.{place}" for place, _ in enumerate(questions)]
    for (subject, data), reply in zip(questions, subjects, strict=True):
        spy.publish(subject, data, reply=reply)
    eventually(lambda: all(spy.on(subject) for subject in subjects), SOON_SECONDS)
    return [told(next(iter(spy.on(subject)), None)) for subject in subjects]


def expect_a_bound(riders: Riders, spy: Any) -> None:
    """Send more requests than a gateway takes, for a lock that takes its time."""
    riders.change("n-03", seconds=ANSWER_SECONDS / 2)
    spy.hears("many.answers")
    for _ in range(MOST_AT_WORK + TOO_MANY):
        spy.publish("lock.north.battery", content(lock_id="n-03"), reply="many.answers")
    eventually(lambda: len(spy.on("many.answers")) >= TOO_MANY)
    words = [told(one).get("error") for one in spy.on("many.answers")]
    expect(words == TOO_MANY * ["busy"], sent=f"{MOST_AT_WORK + TOO_MANY} requests for n-03, which takes 1.5 s",
           expected=f"{TOO_MANY} answers at once: busy", came=words, look=HEAR, service="gateways",
           why="work without a bound takes memory without a bound; and a no that comes at once is of use")  # fmt: skip


def test_gateways_answer_whatever_comes(city: Any, riders: Riders, spy_on: Any) -> None:
    """What cannot be read, done or taken in is answered with its reason; who cannot be told of it is not served."""
    spy = spy_on(city)
    bad = [(f"lock.north.{verb}", data) for data in BAD for verb in ("battery", "unlock")]
    came = asked_all(spy, [*bad, ("lock.north.unlock", content(lock_id="n-01", request_id="a b", until=later()))])
    words = [answer.get("error") for answer in came]
    expect(set(words) == {"malformed"}, sent=f"{[data[:20] for data in BAD]} for a battery and for an unlock",
           expected='{"error": "malformed", ...} each time', came=words, look=HEAR, service="gateways",
           why="who gets no answer waits until his time is over, and then asks the same again")  # fmt: skip
    riders.change("n-02", battery_percent="nonsense")
    wishes = [content(lock_id=lock_id) for lock_id in ("n-99", "s-01", "n-02", "n-01")]
    came = asked_all(spy, [("lock.north.battery", wish) for wish in wishes])
    log = eventually(lambda: "ValueError" in (lines := str(city.logs("gateways", 200).lines)) and lines) or ""
    right = [answer.get("error") for answer in came] == ["unknown", "unknown", "mistake", None] and "Traceback" in log
    expect(right and "nonsense" not in f"{came}", look=HEAR, service="gateways",
           sent="the batteries of n-99, of s-01 (both from the north), of n-02, whose row is nonsense, and of n-01",
           expected='"unknown", "unknown", "mistake", a percent; the log has the traceback, the answer nothing of it',
           came=f"{came}; traceback in the log: {'Traceback' in log}",
           why="a mistake has to be heard: by who asks as an answer, by who mends it in the log")  # fmt: skip
    spy.publish("lock.north.unlock", content(lock_id="n-01", request_id="r-1", until=later()))
    opened = riders.unlock("r-2", "n-01").state, riders.openings("n-01")
    expect(opened == ("opened", ["r-2"]), sent="an unlock without a reply subject; PUT /rides/r-2/unlocked for n-01",
           expected="one opening, for r-2", came=opened, why="who does not listen for the answer stands at no lock",
           look=HEAR, service="gateways")  # fmt: skip
    expect_a_bound(riders, spy)


def in_order(riders: Riders) -> bool:
    """Tell whether everything can be asked."""
    return riders.battery("n-01").status == 200 and riders.batteries(0.3).content.get("missing") == []


def test_the_desk_outlives_the_broker(city: Any, riders: Riders) -> None:
    """The broker dies: problems, at once, and nothing is kept to open later; it comes back: everything works again."""
    city.kill("broker")
    batteries = riders.batteries(0.2)  # long enough for the desk to notice
    came = together([partial(riders.battery, "n-01"), partial(riders.unlock, "r-1", "n-01")])
    expect(all(end.is_problem(503) for end in came) and batteries.status in (200, 503), came=[batteries, *came],
           sent="without the broker: GET /batteries?within=0.2, GET /locks/n-01/battery, PUT /rides/r-1/unlocked, n-01",
           expected="200 or 503 for the first; then a problem 503 at once, twice", look=ASK, service="desk",
           why="nats-py keeps what it cannot send: the rider waits for what nobody has heard")  # fmt: skip
    city.launch("broker")
    back = eventually(lambda: in_order(riders), CALL_SECONDS)
    late, again = riders.openings("n-01"), riders.unlock("r-1", "n-01")
    expect(back and not late and again.state == "opened", sent="then the broker is back; the same again",
           expected="200 with everything; nothing has opened by itself before", look=ASK, service="desk",
           came=f"{'everything' if back else 'not everything'}; opened by itself: {late}; {again}",
           why="an unlock that was kept while the broker was away opens a bike for who has left")  # fmt: skip


def desk_at(city: Any) -> dict[str, int]:
    """Return what the broker knows of the desk: its subscriptions; and how many connections there were, of all."""
    page = monitoring(city["broker"].data, city["broker"].pids[0])
    now, ever = [web.get(f"{page}/{name}").json() for name in ("connz", "varz")]
    subscriptions = [one["subscriptions"] for one in now["connections"] if one.get("name", "").startswith("desk")]
    return {"subscriptions": sum(subscriptions), "connections": ever["total_connections"]}


def test_questions_leave_nothing_behind(city: Any, riders: Riders) -> None:
    """However many questions there were, and however they ended: the broker keeps no more for the desk than before."""
    riders.battery("n-01"), riders.batteries(1)
    before = desk_at(city)
    city.kill("gateways", replica=2)
    asked = [partial(riders.battery, lock_id) for lock_id in ("n-01", "n-99", "m-01") for _ in range(5)]
    together([*asked, *[partial(riders.batteries, within) for within in (0.001, 0.05) for _ in range(5)]])
    eventually(lambda: desk_at(city)["subscriptions"] <= before["subscriptions"] + 1)
    after = desk_at(city)
    expect(after["subscriptions"] <= before["subscriptions"] + 1,
           sent="15 batteries (answered, unknown, nobody there), 10 times all batteries, of which some never come",
           expected=f"as before: {before}", came=after, look=f"{ASK}; {ASK_ALL}", service="desk",
           why="a subscription left behind for each question: one day the broker is full")  # fmt: skip
    expect(after["connections"] == before["connections"], sent="the same", expected=f"as before: {before}", came=after,
           why="a connection for each question costs more than its answer", look=ASK, service="desk")  # fmt: skip
