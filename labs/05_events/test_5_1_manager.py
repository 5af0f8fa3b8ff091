"""Checks of task 5.1: each handler has each event that it wants, whoever else fails, hangs, dies or goes in circles."""

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from lab_services.checks import Call, eventually, expect, rows, together

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with services of the check's own

SOURCE, MANAGER, ORDER = "event_source.py: accept, write_down", "event_manager.py: hand_out", "event_order.py: next_due"
NAMES = ("notices", "citymap", "maintenance")
RETRY_SECONDS, TRIES, MOST_HOPS, MOST_WAITING = 0.08, 3, 8, 10_000  # as in lab.toml; TRIES of the shape hasty
ANSWER_SECONDS, LOCKED_SECONDS, SEEN_SECONDS, GATE_SECONDS = 2.5, 0.3, 4.0, 8.0
SLOW_ROWS = 250_000  # that SQLite counts within one statement, in some 0.15 s, when a check makes it slow
NOW = datetime.now(UTC).replace(microsecond=0)
web = httpx.Client(trust_env=False)


class Service:
    """One of the three services, as a check wants it: it takes every event, unless it is told otherwise."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.rests: list[float] = []  # seconds between a no to an event and the next call with it
        self.took: list[str] = []
        self.status: Callable[[str, int], int] = lambda event_id, number: 200  # number: of the call with this event
        self.no_seconds = 0.0  # how long it takes to say no
        self.says: dict[str, list[Any]] = {}  # by type of event
        self.in_hand, self.most_in_hand = 0, 0
        self._refused: dict[str, float] = {}
        self._gates: dict[str, threading.Event] = {}
        self._guard = threading.Lock()

    def __call__(self, call: Call) -> tuple[int, Any]:
        """Answer a call."""
        event_id = call.body["id"]
        with self._guard:
            self.called.append(event_id)
            number = self.calls()[event_id]
            self.in_hand += 1
            self.most_in_hand = max(self.most_in_hand, self.in_hand)
            if event_id in self._refused:
                self.rests.append(time.monotonic() - self._refused.pop(event_id))
        for key in ("", event_id, f"{event_id} {number}"):
            if gate := self._gates.get(key):
                gate.wait(GATE_SECONDS)
        status = self.status(event_id, number)
        if status != 200:
            threading.Event().wait(self.no_seconds)
        with self._guard:
            self.in_hand -= 1
            if status == 200:
                self.took.append(event_id)
                return 200, {"says": self.says.get(call.body["type"], [])}
            self._refused[event_id] = time.monotonic()
            return status, {"detail": "told to fail"}

    def hold(self, which: str = "") -> None:
        """Leave calls without an answer: all, those with one event, or one of them (`e-1 2`: the second with e-1)."""
        self._gates[which] = threading.Event()

    def release(self, *which: str) -> None:
        """Answer them, also those that wait."""
        for each in which or tuple(self._gates):
            self._gates.pop(each).set()

    def calls(self) -> Counter[str]:
        """Count the calls by event."""
        return Counter(tuple(self.called))


class Town:
    """The city with its three services."""

    def __init__(self, city: Any, services: dict[str, Service]) -> None:
        self.city, self.services = city, services
        self.notices, self.citymap, self.maintenance = (services[name] for name in NAMES)
        self.file = city["events"].data / "events.db"

    def post(self, content: Any, seconds: float = ANSWER_SECONDS) -> Any:
        """Send an event, or whatever these bytes are; return the answer, or the exception in place of one."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        url, kind = f"{self.city['events'].url}/events", {"Content-Type": "application/json"}
        try:
            return web.post(url, content=body, headers=kind, timeout=seconds)
        except httpx.TransportError as error:
            return error

    def accepted(self, *events: dict[str, Any]) -> list[Any]:
        """Send them one after the other, up to the first that is not accepted; return the answers."""
        answers: list[Any] = []
        for each in events:
            answers.append(self.post(each))
            if getattr(answers[-1], "status_code", 0) != 202:
                break
        return [getattr(answer, "status_code", answer) for answer in answers]

    def post_all(self, *events: Any) -> list[Any]:
        """Send them in one moment; return the status of each, None where there was no answer."""
        answers = together([lambda event=event: self.post(event) for event in events])  # type: ignore[misc]
        return [getattr(answer, "status_code", None) for answer in answers]

    def states(self) -> dict[str, str]:
        """Return the state of each delivery, by event and handler."""
        found = rows(self.file, "SELECT event_id, handler, state FROM deliveries ORDER BY seq")
        return {f"{row['event_id']} {row['handler']}": row["state"] for row in found}

    def done(self, *deliveries: str) -> bool:
        """Wait until these deliveries (`e-1 notices`) are done, and tell whether they are."""
        return bool(eventually(lambda: all(self.states().get(each) == "done" for each in deliveries), SEEN_SECONDS))

    def quiet(self, most: int = MOST_WAITING) -> bool:
        """Wait until nothing waits, or there are more events than can be right; tell whether nothing waits."""
        eventually(lambda: "waiting" not in self.states().values() or len(self.events()) > most, SEEN_SECONDS)
        return "waiting" not in self.states().values()

    def took(self, **wanted: int) -> bool:
        """Wait until services have taken so many events, and tell whether they have."""
        return bool(eventually(lambda: all(len(self.services[n].took) >= c for n, c in wanted.items()), SEEN_SECONDS))

    def called(self, name: str, event_id: str, times: int = 1) -> bool:
        """Wait until a service was called so often with an event, and tell whether it was."""
        return bool(eventually(lambda: self.services[name].calls()[event_id] >= times, SEEN_SECONDS))

    def events(self) -> list[dict[str, Any]]:
        """Return the events that are written down, in their order."""
        return [json.loads(row["content"]) for row in rows(self.file, "SELECT content FROM events ORDER BY seq")]

    def caused_by(self, event_id: str) -> list[str]:
        """Return the types of the events that follow from one."""
        return [event["type"] for event in self.events() if event.get("caused_by") == event_id]

    def set_aside(self) -> dict[str, tuple[int, str]]:
        """Return tries and reason of what is set aside, by event and handler."""
        listed = web.get(f"{self.city['events'].url}/deliveries?state=set_aside", timeout=ANSWER_SECONDS).json()
        return {f"{row['event_id']} {row['handler']}": (row["tries"], row["reason"]) for row in listed}

    def again(self, event_id: str, handler: str) -> None:
        """Let wait anew what was set aside."""
        web.post(f"{self.city['events'].url}/deliveries/{event_id}/{handler}/again", timeout=ANSWER_SECONDS)

    def kill(self) -> None:
        """Kill the event manager, and start it."""
        self.city.kill("events")
        self.city.launch("events")

    def __repr__(self) -> str:
        """Say what a failure shows: who was called how often, and what is not done."""
        calls = {name: dict(service.calls()) for name, service in self.services.items()}
        return json.dumps({"calls": calls, "not done": {d: s for d, s in self.states().items() if s != "done"}})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Have the write lock of events.db: nobody else commits anything meanwhile."""
        with closing(sqlite3.connect(self.file, timeout=5, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield
            db.execute("ROLLBACK")

    @contextmanager
    def slow_disk(self, **moments: str) -> Iterator[None]:
        """Make statements slow enough for a kill in the middle: name = "INSERT ON events WHEN ..."."""
        numbers = f"n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {SLOW_ROWS})"
        with closing(sqlite3.connect(self.file, timeout=5)) as db:
            db.execute(f"CREATE VIEW slow AS WITH RECURSIVE {numbers} SELECT max(i) FROM n")
            for name, moment in moments.items():
                db.execute(f"CREATE TRIGGER {name} BEFORE {moment} BEGIN SELECT * FROM slow; END")
            yield
            for name in moments:
                db.execute(f"DROP TRIGGER {name}")
            db.execute("DROP VIEW slow")

    def fill(self, count: int) -> None:
        """Write down so many events that citymap wants, each of another bike."""
        new = [
            (f"f-{number}", json.dumps(event(f"f-{number}", f"bike-{number}", "ride.started")))
            for number in range(count)
        ]
        with closing(sqlite3.connect(self.file, timeout=5)) as db, db:
            db.executemany("INSERT INTO events(event_id, hops, content) VALUES (?, 0, ?)", new)
            owed = "INSERT INTO deliveries(event_id, handler, subject) VALUES (?, 'citymap', replace(?, 'f-', 'bike-'))"
            db.executemany(owed, [(event_id, event_id) for event_id, _ in new])


def event(event_id: str, bike_id: str, kind: str = "ride.ended", **more: Any) -> dict[str, Any]:
    """Return an event."""
    fields = {
        "id": event_id,
        "type": kind,
        "version": 1,
        "time": NOW.isoformat(),
        "subject": bike_id,
        "data": {"minutes": 7},
    }
    return {**fields, **more}


def other_bytes(same: dict[str, Any]) -> bytes:
    """Return the same event in other bytes."""
    return json.dumps(dict(reversed(same.items())), indent=1).encode()


@pytest.fixture
def town(city: Any, fake_service: Any) -> Iterator[Town]:
    """A city with services of the check's own; whoever still waits for them is let go at the end."""
    services = {name: Service() for name in NAMES}
    city.start(replace={name: fake_service(name, service).url for name, service in services.items()})
    yield Town(city, services)
    for service in services.values():
        service.release()


def all_done(town: Town, sent: str, why: str, look: str = MANAGER) -> None:
    """Expect that nothing is waiting any more, and nothing is set aside."""
    expect(town.quiet() and set(town.states().values()) == {"done"}, sent=sent, came=town, why=why, look=look,
           expected="at last each handler has had each event that it wants", service="events")  # fmt: skip


def test_a_request_waits_for_no_handler(town: Town) -> None:
    """While citymap hangs, events are accepted, copies are known, and the other handlers get theirs."""
    town.citymap.hold()
    events = [event(f"e-{number}", f"b-{number}") for number in range(4)]
    sent = "4 events in one moment, while citymap does not answer"
    answers = town.post_all(*events)
    expect(answers == [202] * 4, sent=sent, expected="202 for each", came=answers, look=SOURCE, service="events",
           why="a request that waits for the slowest handler hangs as soon as one of them does")  # fmt: skip
    copies = town.post_all(*map(other_bytes, events), *map(other_bytes, events))
    expect(copies == [200] * 8, sent="each of them twice more, in other bytes", expected="200 for each", came=copies,
           look=SOURCE, service="events", why="whoever got no answer sends the same event again, and it is no news and "
           "no mistake")  # fmt: skip
    expect(town.took(notices=4, maintenance=4), sent=sent, expected="notices and maintenance have all 4 meanwhile",
           came=town, look=MANAGER, service="events",
           why="whoever is slow waits alone: riders shall not miss a notice because a map hangs")  # fmt: skip
    town.citymap.release()
    all_done(town, f"{sent}, and then does", "an event that is accepted is owed to each handler")
    calls = [set(service.calls().values()) for service in town.services.values()]
    expect(calls == [{1}] * 3, sent=f"{sent}, and each twice more", expected="one call of each handler for each event",
           came=town, look=MANAGER, service="events", why="a copy is no second event, and done is done")  # fmt: skip


def test_who_fails_is_asked_again_alone(town: Town) -> None:
    """An event that notices refuses is tried again there, with rests; its bike waits for it there, all others go on."""
    healed, town.notices.no_seconds = [], 1.5 * RETRY_SECONDS
    town.notices.status = lambda event_id, number: 503 if event_id in ("e-0", "e-1") and not healed else 200
    sent = "e-0; e-1 and e-2 of another bike; e-3 of a third; notices takes some time to answer 503 to e-0 and e-1"
    bikes = {"e-0": "b-0", "e-1": "b-1", "e-2": "b-1", "e-3": "b-3"}
    answers = town.accepted(*(event(event_id, bike_id) for event_id, bike_id in bikes.items()))
    expect(town.done("e-3 notices"), sent=sent, expected="e-3 is done at notices", came=town, look=ORDER,
           service="events", why="two bikes whose events fail must not stop the notices of the whole city")  # fmt: skip
    tried, rest = town.called("notices", "e-1", 3), min(town.notices.rests, default=RETRY_SECONDS)
    expect(rest >= RETRY_SECONDS / 2, sent=sent, expected=f"{RETRY_SECONDS} s between two tries", came=f"{rest:.3f} s",
           look=MANAGER, service="events",
           why="a service that is down gets no better from being asked without a rest")  # fmt: skip
    expect(tried and "e-2" not in town.notices.calls(), sent=sent, expected="e-1 is tried again, e-2 not yet",
           came={"answers": answers, "town": repr(town)}, look=f"{MANAGER}; {ORDER}", service="events",
           why="a failure that is forgotten is a lost event; and whoever hears the second before the first is told the "
           "history of a bike in the wrong order")  # fmt: skip
    healed.append(True)
    all_done(town, f"{sent}; then it takes both", "a failure is an event that is still owed")
    took = [service.took for service in town.services.values()]
    expect(took[1:] == [list(bikes)] * 2, sent=sent, expected="citymap and maintenance take each once, in order",
           came=town, look=MANAGER, service="events", why="who has an event does not get it again because somebody "
           "else has failed")  # fmt: skip
    expect(sorted(took[0]) == list(bikes) and took[0].index("e-1") < took[0].index("e-2"), sent=sent, came=took[0],
           expected="notices takes each once, e-1 before e-2", look=ORDER, service="events",
           why="events of one bike keep their order")  # fmt: skip


@pytest.mark.city(started=False, shape="event_manager_hasty")
def test_what_never_succeeds_is_set_aside(town: Town) -> None:
    """What fails or hangs again and again is set aside with tries and reason; its bike goes on; it can be taken up."""
    town.notices.status = lambda event_id, number: 500 if event_id == "e-1" and number <= TRIES else 200
    town.maintenance.hold("e-3")
    town.citymap.says = {"bike.serviced": [{"type": "bike.flies"}]}
    sent = (
        "e-1, e-2 of one bike; e-3; e-4. notices: 500 to e-1; maintenance: silent to e-3; citymap: says nonsense to e-4"
    )
    bikes = {"e-1": "b-1", "e-2": "b-1", "e-3": "b-3"}
    town.accepted(*(event(*each) for each in bikes.items()), event("e-4", "b-4", "bike.serviced"))
    quiet, found = town.quiet(), town.set_aside()
    wanted = {"e-1 notices": (TRIES, "500"), "e-3 maintenance": (TRIES, "Timeout"), "e-4 citymap": (1, "bike.flies")}
    expect(quiet and found.keys() == wanted.keys(), sent=sent, expected=f"set aside: {list(wanted)}; all else done",
           came={"set aside": found, "town": repr(town)}, look=MANAGER, service="events", why="what never succeeds has "
           "to be where somebody finds it: not in an endless loop, not gone, not in the way of others")  # fmt: skip
    told = {name: found[name][0] == tries and word in found[name][1] for name, (tries, word) in wanted.items()}
    expect(all(told.values()), sent=sent, expected=f"tries, and a word of the reason: {wanted}", came=found,
           look=MANAGER, service="events", why="whoever mends it asks how often and why")  # fmt: skip
    town.again("e-1", "notices")
    expect(town.done("e-1 notices"), sent="POST .../again, and notices takes e-1", expected="e-1 is done at notices",
           came=town, look=MANAGER, service="events", why="what is set aside is not thrown away")  # fmt: skip


def test_a_kill_in_the_middle_loses_nothing(town: Town) -> None:
    """Accepted is written down; kill -9 while a handler is at work costs nobody an event, and nobody else a second."""
    town.maintenance.says = {"ride.ended": [{"type": "bike.worn"}]}
    town.citymap.hold("e-0 1")
    town.citymap.status = lambda event_id, number: 503 if (event_id, number) == ("e-0", 1) else 200
    sent = "6 events of 3 bikes; kill -9 of the event manager while it waits for citymap to answer e-0, launch"
    answers = town.accepted(*(event(f"e-{number}", f"b-{number % 3}") for number in range(6)))
    expect(answers == [202] * 6, sent=sent, expected="202 for each", came=answers, look=SOURCE, service="events",
           why="who accepts an event waits for no handler")  # fmt: skip
    town.done(*(f"e-{number} {name}" for number in range(6) for name in ("notices", "maintenance")))
    town.kill()
    town.citymap.release()
    all_done(town, sent, "what is owed has to outlive the process: a list in memory dies with it, and so does an event "
             "that is ticked off before it is handled")  # fmt: skip
    took = {name: [town.services[name].took.count(f"e-{number}") for number in range(6)] for name in NAMES}
    worn = sum(each["type"] == "bike.worn" for each in town.events())
    expect(took["notices"] == took["maintenance"] == [1] * 6 and min(took["citymap"]) >= 1 and worn == 6, sent=sent,
           expected="notices and maintenance once each, citymap at least once; 6 bike.worn",
           came={**took, "bike.worn": worn}, look=MANAGER, service="events",
           why="who has an event keeps it over a crash, and one that is ticked off before it is handled dies with the "
           "process")  # fmt: skip
    no_promise_before_the_commit(town)


def no_promise_before_the_commit(town: Town) -> None:
    """Expect that nothing is accepted while nothing can be written down."""
    with town.locked():
        answer = town.post(event("e-6", "b-6"), LOCKED_SECONDS)
    expect(not hasattr(answer, "status_code"), sent="an event, while nobody can commit to events.db", look=SOURCE,
           expected="no answer yet", came=answer, service="events", why="202 is a promise: whoever gives it before the "
           "commit, and dies, has lost an event that nobody sends again")  # fmt: skip


def test_no_moment_is_deadly(town: Town) -> None:
    """Killed between any two writes, an event is owed to all its handlers, and what a handler says is said once."""
    town.maintenance.says = {"ride.ended": [{"type": "bike.worn"}]}
    with town.slow_disk(owed="INSERT ON deliveries WHEN NEW.event_id = 'e-1'"):
        posting = threading.Thread(target=town.post, args=(event("e-1", "b-1"),))
        posting.start()
        eventually(town.events, SEEN_SECONDS)
        if len(town.states()) < len(NAMES):
            town.kill()
        posting.join()
    town.post(event("e-1", "b-1"))
    expect(town.took(notices=1, citymap=1, maintenance=1), sent="e-1; kill -9 if its row in `events` can be seen "
           "before those in `deliveries`, launch; e-1 again, as the sender had no answer",
           expected="all 3 handlers have e-1", came=town, look=SOURCE, service="events",
           why="an event that is written down and owed to nobody is lost without a word")  # fmt: skip
    said_once(town)


def said_once(town: Town) -> None:
    """Expect that what a handler says is said once, whichever of the two writes a crash follows."""
    done = "UPDATE ON deliveries WHEN NEW.state = 'done' AND NEW.event_id = 'e-2' AND NEW.handler = 'maintenance'"
    said = 'INSERT ON events WHEN NEW.content LIKE \'%"caused_by":"e-2"%\''
    with town.slow_disk(done=done, said=said):
        town.post(event("e-2", "b-2"))
        eventually(lambda: town.states().get("e-2 maintenance") == "done" or town.caused_by("e-2"), SEEN_SECONDS)
        if town.states().get("e-2 maintenance") != "done" or not town.caused_by("e-2"):
            town.kill()
    town.quiet()
    expect(town.caused_by("e-2") == ["bike.worn"], sent="e-2, on account of which maintenance says bike.worn; kill -9 "
           "and launch, if one of the two can be seen before the other: done, or bike.worn",
           expected="one bike.worn that follows from e-2", came=town.caused_by("e-2"), look=MANAGER,
           service="events", why="if done comes first, the crash in between "
           "swallows what the handler says; if done comes last, the handler says it twice")  # fmt: skip


@pytest.mark.city(started=False, shape="event_manager_pair")
def test_two_replicas_have_one_effect(town: Town) -> None:
    """Of two replicas that have an event in hand, the second to end changes nothing; of 8 requests one is new."""
    answers = town.post_all(*[event("e-0", "b-0")] * 8)
    expect(sorted(map(str, answers)) == ["200"] * 7 + ["202"], sent="one event 8 times, in one moment", came=answers,
           expected="one 202 and seven 200", look=SOURCE, service="events",
           why="between a look and a write another request looks as well")  # fmt: skip
    town.maintenance.says = {"ride.ended": [{"type": "bike.moved"}]}
    town.maintenance.status = lambda event_id, number: 503 if event_id == "e-2" and number == 2 else 200
    for which in ("e-1", "e-2 1", "e-2 2", "e-3"):
        town.maintenance.hold(which)
    answers = town.accepted(*(event(f"e-{number}", "b-1") for number in (1, 2, 3)))
    expect(answers == [202] * 3, sent="3 events, while maintenance hangs", expected="202 for each", came=answers,
           look=SOURCE, service="events", why="who accepts an event waits for no handler")  # fmt: skip
    sent = "e-1, e-2, e-3 of one bike; both replicas have each in hand; both succeed with e-1, "
    both = town.called("maintenance", "e-1", 2)
    town.maintenance.release("e-1")
    both = both and town.called("maintenance", "e-2", 2)
    moved = town.caused_by("e-1")
    expect(both and moved == ["bike.moved"], came={"bike.moved": moved, "town": repr(town)}, sent=sent,
           expected="one bike.moved that follows from e-1", look=MANAGER, service="events",
           why="two replicas that both succeed have handled one event")  # fmt: skip
    one_has_failed(town, sent)


def one_has_failed(town: Town, sent: str) -> None:
    """Expect that what one replica has done stays done when the other one fails with it, later."""
    town.maintenance.release("e-2 1")
    town.done("e-2 maintenance")
    town.maintenance.release("e-2 2")
    both = town.called("maintenance", "e-3", 2)
    state = town.states()["e-2 maintenance"]
    expect(both and state == "done" and town.caused_by("e-2") == ["bike.moved"], look=MANAGER, service="events",
           sent=f"{sent}one with e-2; the other fails with it, later", expected="e-2 is done, one bike.moved follows",
           came={"e-2": state, "bike.moved": town.caused_by("e-2"), "town": repr(town)},
           why="who comes late with a failure must not undo what another one has done, and goes on with what is next: "
           "it does not rest with the handler in its hand")  # fmt: skip


def test_a_cycle_ends(town: Town) -> None:
    """Handlers that answer each other for ever come to an end that somebody sees; so do events from outside."""
    town.maintenance.says = {kind: [{"type": "bike.serviced"}] for kind in ("ride.ended", "bike.moved")}
    town.citymap.says = {"bike.serviced": [{"type": "bike.moved"}]}
    town.post(event("e-0", "b-1"))
    sent = "e-0; maintenance says bike.serviced on account of e-0 and of bike.moved, citymap bike.moved because of that"
    quiet, found, count = town.quiet(most=1 + MOST_HOPS), town.set_aside(), len(town.events())
    expect(quiet and count == 1 + MOST_HOPS, sent=sent, expected=f"e-0 and {MOST_HOPS} events that follow",
           came=f"{count} events so far", look=SOURCE, service="events", why="two handlers that mean well fill the "
           "disk in a night; and a guard that bites too soon breaks chains that have an end")  # fmt: skip
    expect([("hops" in reason, tries) for tries, reason in found.values()] == [(True, 1)], sent=sent, came=found,
           expected="one delivery is set aside at its first try, and its reason tells of hops", look=MANAGER,
           service="events", why="a cycle that ends in silence is found by nobody")  # fmt: skip
    causes = [None, *(f"c-{number}" for number in range(MOST_HOPS + 1))]
    chain = [event(f"c-{n}", "b-2", "ride.started", caused_by=cause) for n, cause in enumerate(causes)]
    answers = [town.post(each) for each in chain]
    statuses = [getattr(answer, "status_code", None) for answer in answers]
    expect(statuses == [202] * (MOST_HOPS + 1) + [422] and "hops" in answers[-1].text,
           sent=f"{len(chain)} events from outside, each caused by the one before",
           came={"statuses": statuses, "last": str(answers[-1])}, look=SOURCE, service="events",
           expected=f"202 for the first {MOST_HOPS + 1}, then 422 that tells of hops",
           why="a cycle can lead through a service that sends its events itself")  # fmt: skip
    many = town.post_all(*(event(f"m-{n}", f"b-{n}", "ride.started", caused_by="c-0") for n in range(MOST_HOPS + 2)))
    expect(set(many) == {202}, sent=f"{len(many)} events that are all caused by one", expected="202 for each",
           came=many, look=SOURCE, service="events", why="many branches are no cycle")  # fmt: skip


BAD = {  # what is sent, and a word of the reason
    b"": "bytes",
    b"\xff\xfe": "JSON",
    json.dumps({**event("x-1", "b-1"), "id": None}).encode(): "id",
    json.dumps(event("x-2", "b-1", "bike.flies")).encode(): "type",
    json.dumps(event("x-3", "b-1", version=2)).encode(): "version",
    json.dumps(event("x-4", "b-1", time=(NOW + timedelta(days=1)).isoformat())).encode(): "time",
    json.dumps(event("x-5", "*")).encode(): "subject",
    json.dumps(event("x-6", "b-1", caused_by="e-x")).encode(): "caused_by",
    json.dumps(event("x-7", "b-1", data={"note": "x" * 2**20})).encode(): "body",
}


def test_what_is_not_taken_is_refused(town: Town) -> None:
    """What is no event, another one with a known id, and what is too much, is refused with its reason."""
    town.maintenance.hold("m-1")
    town.maintenance.says = {"bike.worn": [{"type": "bike.moved"}]}
    town.post(event("m-1", "b-1", "bike.worn"))
    answers = {content[:80]: (town.post(content), word) for content, word in BAD.items()}
    wrong = {content: answer for content, (answer, word) in answers.items() if not _refused(answer, (413, 422), word)}
    expect(not wrong, sent=f"{len(BAD)} contents that are no events", expected="413 or 422, and the reason", came=wrong,
           look="event_form.py", service="events", why="whoever sends it has to know why")  # fmt: skip
    others = [event("m-1", "b-2", "bike.worn"), event("m-1", "b-1"), event("m-1", "b-1", "bike.worn", data={})]
    wrong = {
        number: answer for number, answer in enumerate(map(town.post, others)) if not _refused(answer, (409,), "m-1")
    }
    expect(not wrong, sent="3 events with the id of another one: of another bike, another type, other data", came=wrong,
           expected="409 for each, and the reason", look=SOURCE, service="events",
           why="two events with one id: one of them is taken for the other, and is lost without a word")  # fmt: skip
    written, owed = [each["id"] for each in town.events()], town.states()
    expect(written == ["m-1"] and [*owed] == ["m-1 maintenance"], sent="the same, after m-1, which maintenance wants",
           expected="the row of m-1, owed to maintenance, and no other", came={"events": written, "deliveries": owed},
           look=SOURCE, service="events", why="what is refused leaves nothing behind, and nobody is bothered with what "
           "does not concern it")  # fmt: skip
    too_much(town)


def too_much(town: Town) -> None:
    """Expect that with too many waiting nothing new is taken from outside, nothing is lost, and it passes."""
    town.citymap.hold()
    town.fill(MOST_WAITING)
    sent = f"{MOST_WAITING:,} events wait for citymap, which hangs"
    new, known = town.post(event("n-1", "b-1")), town.post(event("m-1", "b-1", "bike.worn"))
    eventually(lambda: town.citymap.in_hand, SEEN_SECONDS)
    most = town.citymap.most_in_hand
    expect(most == 1, sent=sent, expected="one event in the hand of citymap", came=f"{most}", look=MANAGER,
           service="events", why="ten thousand at once knock over whoever has just got up")  # fmt: skip
    expect(_refused(new, (503,), "") and getattr(known, "status_code", 0) == 200, look=SOURCE, service="events",
           sent=f"{sent}: a new event, and one that is written down", expected="503 and 200", came=f"{new}, {known}",
           why="a disk has an end as well: whoever sends can wait, and has to be told to")  # fmt: skip
    town.maintenance.release("m-1")
    followed = eventually(lambda: town.caused_by("m-1"), SEEN_SECONDS)
    expect(followed == ["bike.moved"], sent=f"{sent}: maintenance says bike.moved", expected="it is written down",
           came=followed, look=SOURCE, service="events", why="what follows from what waits has to be taken: "
           "otherwise the city is stuck, or loses it")  # fmt: skip
    town.citymap.release()
    taken = eventually(lambda: getattr(town.post(event("n-1", "b-1")), "status_code", 0) in (200, 202), SEEN_SECONDS)
    expect(taken, sent=f"{sent}; then it answers, and the new event is sent again", expected="202",
           came=f"{len(town.citymap.took)} taken by citymap", look=f"{SOURCE}; {ORDER}", service="events",
           why="what waits gets less, and then there is room")  # fmt: skip
    eventually(lambda: len(town.citymap.took) > 9, SEEN_SECONDS)
    first = town.citymap.took[:9]
    expect(first == [f"f-{number}" for number in range(9)], sent=sent, expected="citymap takes the oldest first",
           came=first, look=ORDER, service="events", why="who waits longest is next")  # fmt: skip


def _refused(answer: Any, statuses: tuple[int, ...], word: str) -> bool:
    return getattr(answer, "status_code", 0) in statuses and word in answer.json()["detail"]
