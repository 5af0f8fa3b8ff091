"""Checks of task 2.2: a tap that is sent again, by whom and whenever, starts one ride; two replicas take the taps."""

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from lab_services.checks import eventually, expect, rows, together

web = httpx.Client(timeout=3, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
ONCE = "starts.py: once"
AGAIN = (409, 425, 503, 504)  # "still at work", "too early", "not now", silence: a client may send the tap again
RETRY_SECONDS, PAUSE_SECONDS = 3.0, 0.05  # how long a client keeps trying, and its rest between two tries
ALERTS, UNUSED_TABLES = 4, 8
GATE_SECONDS = 8.0
TAPS = 20
SHOWN_CHARACTERS = 125  # of each body, in a failure


@dataclass(frozen=True, repr=False)
class Heard:
    """What a client heard; two answers are equal when status, Location and body are."""

    status_code: int
    location: str
    text: str

    def __repr__(self) -> str:
        return f"{self.status_code} {self.location} {self.text[:SHOWN_CHARACTERS]}"

    @property
    def content(self) -> dict[str, Any]:
        """Return the body as a dictionary; an empty one when it is no JSON object."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def heard(answer: httpx.Response) -> Heard:
    """Return what can be compared of an answer."""
    try:
        text = json.dumps(answer.json(), sort_keys=True)  # the order of the fields is nobody's business
    except ValueError:
        text = answer.text
    return Heard(answer.status_code, answer.headers.get("location", ""), text)


def tap(url: str, key: str, rider_id: str = "ada", station_id: str = "A1", route: str = "/rides") -> Heard:
    """Send a tap once; silence is heard as a 504."""
    wish = {"rider_id": rider_id, "station_id": station_id}
    try:
        return heard(web.post(url + route, json=wish, headers={"Idempotency-Key": key}))
    except httpx.HTTPError as error:
        return Heard(504, "", f"no answer: {type(error).__name__}")


def insist(url: str, key: str, rider_id: str = "ada", route: str = "/rides") -> Heard:
    """Send a tap as a phone does: again, after a short rest, as long as the answer is no final one."""
    give_up = time.monotonic() + RETRY_SECONDS
    while True:
        answer = tap(url, key, rider_id, route=route)
        if answer.status_code not in AGAIN or time.monotonic() > give_up:
            return answer
        threading.Event().wait(PAUSE_SECONDS)


def new_key() -> str:
    """Make up a key as a phone does."""
    return str(uuid4())


def made(city: Any) -> dict[str, int]:
    """Return what all taps have made so far: open holds of money, bikes that are out, rides that are started."""
    started = rows(city["rides"].data / "rides.db", "SELECT ride_id FROM rides WHERE state = 'started'")
    return {"holds": len(open_holds(city)), "bikes": len(bikes_out(city)), "rides": len(started)}


def rides(count: int) -> dict[str, int]:
    """Return what so many rides have made, and nothing besides."""
    return {"holds": count, "bikes": count, "rides": count}


def open_holds(city: Any) -> list[str]:
    """Return the rides for which the wallet holds money."""
    return [row["ride_id"] for row in rows(city["wallet"].data, "SELECT ride_id FROM holds WHERE state = 'open'")]


def bikes_out(city: Any) -> list[str]:
    """Return the rides that have a bike."""
    return [row["ride_id"] for row in rows(city["stations"].data, "SELECT ride_id FROM bikes WHERE ride_id NOT NULL")]


def make_slow_to_open(city: Any) -> None:
    """Give rides.db tables that nobody needs: from now on each transaction takes some milliseconds to begin."""
    columns = ", ".join(f"column_{number}" for number in range(1000))
    with closing(sqlite3.connect(city["rides"].data / "rides.db", timeout=2)) as db:
        for number in range(UNUSED_TABLES):
            db.execute(f"CREATE TABLE unused_{number}({columns})")
        db.commit()


def alerts_after_many_taps(city: Any) -> int:
    """Ask for ALERTS alerts, each with eight taps at once, four at each replica; return how many were written."""
    taps = [(key, url) for key in [new_key() for _ in range(ALERTS)] for url in city["rides"].replica_urls * 4]
    together([lambda key=key, url=url: insist(url, key, route="/alerts") for key, url in taps], within=6)
    return len(rows(city["rides"].data / "rides.db", "SELECT alert_id FROM alerts"))


def hang_up(city: Any, url: str, key: str) -> list[str]:
    """Send a tap of ada, wait until its ride has a bike, and hang up without reading; return the rides with a bike."""
    body = json.dumps({"rider_id": "ada", "station_id": "A1"})
    head = f"POST /rides HTTP/1.1\r\nHost: rides\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=4) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return eventually(lambda: bikes_out(city), within=4)


class Gate:
    """Hold up the first call to a fake service; `reached` says that it has come, `let_in` lets it go on."""

    def __init__(self, service: Any) -> None:
        self.reached, self._opened, self._passed = threading.Event(), threading.Event(), threading.Event()
        self._handle, service.handler = service.handler, self.handle
        self._first = threading.Lock()

    def handle(self, call: Any) -> Any:
        """Answer a call: the first one late, every other one at once."""
        if not self._first.acquire(blocking=False):
            return self._handle(call)
        self.reached.set()
        self._opened.wait(GATE_SECONDS)
        try:
            return self._handle(call)
        finally:
            self._passed.set()

    def let_in(self) -> None:
        """Return when the first call has done its work."""
        self._opened.set()
        self._passed.wait(GATE_SECONDS)


def later(work: Callable[[], object]) -> threading.Thread:
    """Begin something beside the check."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_tap_without_a_good_key_is_refused(city: Any) -> None:
    """A tap without a key, or with one that is empty, too long or no plain text, gets 400 and starts nothing."""
    bad: list[list[bytes]] = [[], [b""], [b"k" * 8192], [b"a\tb"], [b'"half'], [b"k\xe9y"], [b"one", b"two"]]
    wish = {"rider_id": "ada", "station_id": "A1"}
    for number, values in enumerate(bad):
        url = city["rides"].replica_urls[number % 2]
        answer = web.post(url + "/rides", json=wish, headers=[(b"Idempotency-Key", value) for value in values])
        expect(
            answer.status_code == 400 and "Idempotency-Key" in answer.text and made(city) == rides(0),
            sent=f"POST /rides with {[value[:12] for value in values] or 'no'} as Idempotency-Key",
            expected="400 and a problem that names the header; nothing is started",
            came=answer,
            why="a key that the server makes up, or cuts short, is another one at each retry",
            look="taps.py: read_key",
            service="rides",
        )


def test_twenty_taps_start_one_ride(city: Any) -> None:
    """Twenty taps with one key, all at once and at both replicas, start one ride, and all hear the same answer."""
    make_slow_to_open(city)
    urls, key = city["rides"].replica_urls, new_key()
    answers = together([lambda place=place: insist(urls[place % 2], key) for place in range(TAPS)], within=6)
    expect(
        made(city) == rides(1),
        sent=f"POST /rides {TAPS} times with one Idempotency-Key, all at once, half of them at each replica",
        expected=f"one ride, one hold, one bike: {rides(1)}",
        came=made(city),
        why="where looking for a key and writing it are two steps, other taps come in between and find nothing either",
        look=ONCE,
        service="rides",
    )
    expect(len(set(answers)) == 1 and answers[0].status_code == 201,
           sent=f"POST /rides {TAPS} times with one Idempotency-Key, each again while the answer was {AGAIN}",
           expected=f"{TAPS} times 201 with one Location and one body within {RETRY_SECONDS:g} s",
           came=sorted({repr(answer) for answer in answers}),
           why="all of them are one tap, and its rider gets to know one ride", look=ONCE, service="rides")  # fmt: skip
    alerts = alerts_after_many_taps(city)
    expect(alerts == ALERTS, sent=f"POST /alerts with {ALERTS} keys, eight taps of each, all at once",
           expected=f"{ALERTS} alerts", came=f"{alerts} alerts", why="where looking for a key and writing it are two "
           "steps, other taps come in between, if not today", look=ONCE, service="rides")  # fmt: skip


def test_another_body_is_refused(city: Any) -> None:
    """A key that comes again with another body is refused and starts nothing; with its own body it still answers."""
    urls, key = city["rides"].replica_urls, new_key()
    first = insist(urls[0], key)
    other = [tap(url, key, station_id="B2") for url in urls]
    expect(
        all(answer.status_code in (409, 422) for answer in other) and made(city) == rides(1),
        sent="POST /rides for A1, then with the same Idempotency-Key for B2, at both replicas",
        expected=f"422 (or 409) for B2, and {rides(1)}",
        came=f"{other}; and {made(city)}",
        why="a rider at B2 who hears of a ride from A1 waits in front of a locked bike",
        look=ONCE,
        service="rides",
    )
    again = insist(urls[1], key)
    expect(again == first, sent="the tap for A1 once more", expected=first, came=again,
           why="a phone that was cut off knows only what this answer says", look=ONCE, service="rides")  # fmt: skip


def test_a_key_belongs_to_one_rider_and_route(city: Any) -> None:
    """The same key from another rider, or on another route, is another request with an answer of its own."""
    urls, key = city["rides"].replica_urls, new_key()
    everybody = [
        lambda url: insist(url, key),
        lambda url: insist(url, key, "bo"),
        lambda url: insist(url, key, route="/alerts"),
    ]
    first = [ask(urls[0]) for ask in everybody]
    whose = [(answer.status_code, answer.content.get("rider_id"), answer.location[:6]) for answer in first]
    expect(
        whose == [(201, "ada", "/rides"), (201, "bo", "/rides"), (201, "ada", "/alert")] and made(city) == rides(2),
        sent="with one Idempotency-Key: POST /rides for ada, POST /rides for bo, POST /alerts for ada",
        expected=f"201 three times: a ride of ada, a ride of bo, an alert of ada; and {rides(2)}",
        came=f"{first}; and {made(city)}",
        why="a key is as unique as the phone that made it up: nobody may be told of the ride of somebody else",
        look=ONCE,
        service="rides",
    )
    again = [ask(urls[1]) for ask in everybody]
    expect(again == first, expected=first, came=again,
           sent="POST /rides for ada, for bo, POST /alerts for ada once more, at the other replica",
           why="each of the three is remembered by itself", look=ONCE, service="rides")  # fmt: skip


def test_two_keys_are_two_rides(city: Any) -> None:
    """Two taps of one rider that differ only in their key are two rides."""
    long = new_key() * 6
    answers = [insist(url, long + end) for url, end in zip(city["rides"].replica_urls, "ab", strict=True)]
    codes = [answer.status_code for answer in answers]
    expect(
        codes == [201, 201] and answers[0].location != answers[1].location and made(city) == rides(2),
        sent="POST /rides for ada at A1, twice, with two Idempotency-Keys that differ in their last letter",
        expected=f"201 with two Locations, and {rides(2)}",
        came=f"{answers}; and {made(city)}",
        why="ada and her child take two bikes: only the key says whether a tap is a new one",
        look=ONCE,
        service="rides",
    )


def test_a_failed_attempt_does_not_burn_the_key(city: Any) -> None:
    """A tap that failed because the wallet or the stations were down starts its ride when it is sent again."""
    urls = city["rides"].replica_urls
    for number, (down, rider_id) in enumerate([("wallet", "ada"), ("stations", "bo")], 1):
        key = new_key()
        city.kill(down)
        failed = tap(urls[0], key, rider_id)
        city.launch(down)
        answer = insist(urls[1], key, rider_id)
        broken = city.laws().broken
        expect(
            (failed.status_code, answer.status_code) == (503, 201) and made(city) == rides(number) and not broken,
            sent=f"POST /rides while {down} is down, then the same tap again when it is back",
            expected=f"503, then 201 with an open hold and a bike: {rides(number)}; all laws kept",
            came=f"{failed}, then {answer}; and {made(city)} {list(broken)}",
            why="trouble passes: a key that keeps it is a rider who can never start, and what was undone is not done",
            look=ONCE,
            service="rides",
        )


def test_a_lost_answer_is_told_again(city: Any) -> None:
    """A client that hung up before it read gets the answer of its ride at the other replica, and after a restart."""
    urls, key = city["rides"].replica_urls, new_key()
    ride_ids = hang_up(city, urls[0], key)
    first = insist(urls[1], key)
    expect(
        first.status_code == 201 and [first.content.get("ride_id")] == ride_ids and made(city) == rides(1),
        sent="POST /rides, the line is cut as soon as the bike is out, then the same tap at the other replica",
        expected=f"201 with ride {ride_ids}, and {rides(1)}",
        came=f"{first}; and {made(city)}",
        why="a bike and no ride on the screen: of course she taps again, and the balancer asks whom it likes",
        look=ONCE,
        service="rides",
    )
    city.kill("rides")
    city.launch("rides")
    answers = [insist(url, key) for url in city["rides"].replica_urls]
    expect(
        answers == [first, first] and made(city) == rides(1),
        sent="then kill -9 of both replicas, launch, and the same tap again at each",
        expected=f"twice the same answer: {first}; and {rides(1)}",
        came=f"{answers}; and {made(city)}",
        why="phones try again for minutes, and every deployment is a restart",
        look=ONCE,
        service="rides",
    )


@pytest.mark.city(started=False)
def test_a_replica_dies_in_the_middle(city: Any, fake_lock: Any) -> None:
    """A replica is killed in the middle of a start; the same tap at the other one ends that start, in bounded time."""
    gate = Gate(fake_lock)
    city.start(replace={"stations": fake_lock.url})
    urls, key = city["rides"].replica_urls, new_key()
    later(lambda: tap(urls[0], key))
    gate.reached.wait(GATE_SECONDS)  # the money is held, the answer of the dock is not there yet
    city.kill("rides", replica=1)
    answer = insist(urls[1], key)
    expect(answer.status_code == 201, came=answer,
           sent=f"POST /rides, kill -9 of its replica after the hold, then {RETRY_SECONDS:g} s long at the other",
           expected="201, once the claim of the dead replica is older than LEASE_SECONDS (here 1 s)",
           why="who dies cannot say goodbye: a claim without an end keeps this rider from riding for ever",
           look=ONCE, service="rides")  # fmt: skip
    gate.let_in()
    holds, docks = open_holds(city), [opening.ride_id for opening in fake_lock.openings]
    expect(
        [answer.content.get("ride_id")] == holds == docks,
        sent="POST /rides, kill -9 of its replica, again at the other; then the first one's call to the dock arrives",
        expected="one hold and one opened dock, of the ride in the answer",
        came={"answer": answer.content, "holds": holds, "docks": docks},
        why="the dead replica's work still counts: under another ride_id the rider holds money and a bike twice",
        look=ONCE,
        service="rides",
    )
