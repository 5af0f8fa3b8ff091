"""Checks of task 2.5: a list of any length, read page by page while the city goes on."""

import re
import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil

from lab_services.checks import expect, rows

Ride = dict[str, Any]
web = httpx.Client(timeout=8, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
ZONE = "history.py: find_page"
LIMIT = "history.py: Limit and DEFAULT_LIMIT"
FIRST = datetime(2026, 1, 1, tzinfo=UTC)  # when the first ride started
MOST_RIDES = 500  # in a page, whatever is asked for
MOST_PAGES = 60  # that a walk follows: no list of these checks has as many
LONG = 100_000  # rides of one account: all of them in memory are 50 MB
SOME_PAGES = 5  # of them
MOST_MB = 12  # by which a process may grow that answers pages of them: ours grows by 1
POLL_SECONDS = 0.01
SQL = ("'", "' OR 1=1 --", "') OR 1=1 --", "') UNION SELECT * FROM rides --", "'; DELETE FROM rides; --")
NONSENSE = (*SQL, "x" * 8192, "\N{CLOUD}", "\0", "null", urlsafe_b64encode(b"[" * 6000).decode())

REFUSE = "a wrong cursor is the client's mistake, so a 4xx that says which parameter; a 500 wakes somebody up at night"


@dataclass
class Walk:
    """What a client gets that follows `next` to its end, and what kept it from getting there."""

    rides: list[Ride] = field(default_factory=list)
    pages: int = 0
    trouble: str = ""

    @property
    def ids(self) -> list[str]:
        """Return the ids in the order in which they came."""
        return [ride["ride_id"] for ride in self.rides]

    def fault(self, wanted: Iterable[str]) -> str:
        """Say what is wrong, measured by the rides that had to come; an empty text if nothing is."""
        never = [ride_id for ride_id in wanted if ride_id not in self.ids]
        again = [ride_id for place, ride_id in enumerate(self.ids) if ride_id in self.ids[:place]]
        text = f"{len(self.ids)} rides; {len(never)} never came {never[:3]}, {len(again)} came again {again[:3]}. "
        return text + self.trouble if never or again or self.trouble else ""


def ride(number: int, rider_id: str = "acme", together: int = 3) -> tuple[str, str, str]:
    """Return a row: `together` rides with consecutive numbers start in the same second."""
    second = FIRST + timedelta(seconds=number // together)
    return f"r-{number * 7919 % 1_000_003:06x}", rider_id, second.isoformat(timespec="seconds")


def store(city: Any, rides: Iterable[tuple[str, str, str]], gone: Sequence[str] = ()) -> None:
    """Put rides into rides.db as if they had been ridden, and remove those in `gone`."""
    insert = "INSERT INTO rides(ride_id, rider_id, started_at, minutes, cents) VALUES (?, ?, ?, 12, 340)"
    with closing(sqlite3.connect(city["rides"].data / "rides.db", timeout=5)) as db, db:
        db.executemany(insert, rides)
        db.executemany("DELETE FROM rides WHERE ride_id = ?", [[ride_id] for ride_id in gone])


def a_hundred(city: Any) -> list[str]:
    """Store 100 rides of acme in no order, among 50 of bo, and return the ids of acme's."""
    stored = [ride(n) for n in range(60)] + [ride(n, together=1000) for n in range(60, 100)]
    others = [ride(n, "bo") for n in range(100, 150)]
    store(city, Random(7).sample(stored + others, 150))
    return [ride_id for ride_id, _, _ in stored]


def content(answer: httpx.Response) -> Ride:
    """Return the JSON object of an answer; an empty one when it is none."""
    with suppress(ValueError):
        found = answer.json()
        return found if isinstance(found, dict) else {}
    return {}


def rides_of(answer: httpx.Response) -> list[Ride] | None:
    """Return the rides of a page, None if the answer is no page."""
    found = content(answer).get("rides")
    if answer.status_code != 200 or not isinstance(found, list):
        return None
    whole = [each for each in found if isinstance(each, dict) and {"ride_id", "rider_id", "started_at"} <= set(each)]
    return whole if len(whole) == len(found) else None


def follow(
    urls: Sequence[str],
    limit: int = 7,
    pages: int = MOST_PAGES,
    between: Callable[[int, list[Ride]], Any] | None = None,
) -> Walk:
    """Walk the list of acme, asking the addresses in turn; `between` hears of each page before the next is asked."""
    walk, address = Walk(), f"/rides?rider_id=acme&limit={limit}"
    while walk.pages < pages:
        answer = web.get(urls[walk.pages % len(urls)] + address)
        page, after = rides_of(answer), content(answer).get("next", "missing")
        walk.pages += 1
        if page is None or not (after is None or "?" in str(after)):
            walk.trouble = f"Page {walk.pages}: {answer.status_code} {answer.text[:200]}"
            return walk
        walk.rides += page
        if after is None:
            return walk
        if between and page:
            between(walk.pages, page)
        address = f"{urlsplit(str(after)).path or '/rides'}?{urlsplit(str(after)).query}"
    walk.trouble = f"After {pages} pages there is still a next one."
    return walk


def refuses(answer: httpx.Response, name: str) -> bool:
    """Tell whether an answer is a problem (4xx) that names this parameter."""
    a_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    return 400 <= answer.status_code < 500 and a_problem and name in answer.text


def growth(pids: Sequence[int], work: Callable[[], object], enough: int) -> int:
    """Do the work, and return by how many bytes the largest process grew meanwhile; look no longer than to `enough`."""
    processes = [psutil.Process(pid) for pid in pids]
    before = [process.memory_info().rss for process in processes]
    worker, most = Thread(target=work, daemon=True), 0
    worker.start()
    while worker.is_alive() and most < enough:
        grown = [process.memory_info().rss - rss for process, rss in zip(processes, before, strict=True)]
        most = max(most, *grown)
        worker.join(POLL_SECONDS)
    return most


def several_pages(urls: Sequence[str], into: list[Walk]) -> None:
    """Read the first pages of the long list at each address; a city that is stopped meanwhile ends it."""
    with suppress(httpx.HTTPError):
        for url in urls:
            into.append(follow([url], limit=500, pages=SOME_PAGES))


def with_sql(text: str) -> list[str]:
    """Return a text with SQL after its last letter or digit, one text for each attack."""
    return [re.sub(r"(\W*)$", lambda end, attack=attack: attack + end[0], text, count=1) for attack in SQL]


def forgeries(cursor: str) -> list[str]:
    """Return cursors that were handed out once and tampered with: cut, doubled, and with SQL written into them."""
    forged = [cursor[: len(cursor) // 2], cursor[1:], cursor[:-5], cursor * 2, cursor + "x", *with_sql(cursor)]
    with suppress(ValueError):
        plain = urlsafe_b64decode(cursor + "===").decode()
        no_text = re.sub(r'"[^"]*"(\W*)$', r"{}\1", plain)  # of JSON: an object where the last text was
        inside = [*with_sql(plain), plain + "|x", plain + "\0", plain[:-5], no_text]
        forged += [urlsafe_b64encode(text.encode()).decode() for text in inside]
    return forged


def at_cursor(city: Any, cursor: str, rider_id: str = "acme") -> httpx.Response:
    """Ask for the page at a cursor, which may hold any characters."""
    wanted = {"rider_id": rider_id, "limit": 7, "cursor": cursor}
    return web.get(city["rides"].url + "/rides", params=wanted)


def harmless(answer: httpx.Response, rider_id: str) -> bool:
    """Tell whether a cursor was refused by name, or led to a page of this rider's own rides."""
    page = rides_of(answer)
    return refuses(answer, "cursor") if page is None else {each["rider_id"] for each in page} <= {rider_id}


def test_every_ride_comes_once_newest_first(city: Any) -> None:
    """Who follows next to its end has met each ride of the account once, newest first, in the same order each time."""
    stored, urls = a_hundred(city), city["rides"].replica_urls
    walk, again = follow(urls[:1]), follow(urls[1:])
    expect(
        not walk.fault(stored),
        sent="GET /rides?rider_id=acme&limit=7 and each next: 100 rides, 3 in a second, at last 40 in one second",
        expected="each ride once, and next = null on the last page",
        came=walk.fault(stored),
        why="a page that ends within a second must be continued within that second, or rides vanish between two pages",
        look=ZONE,
        service="rides",
    )
    seconds, owners = [each["started_at"] for each in walk.rides], {each["rider_id"] for each in walk.rides}
    expect(
        seconds == sorted(seconds, reverse=True) and owners == {"acme"},
        sent="GET /rides?rider_id=acme&limit=7 and each next",
        expected="rides of acme, by started_at, newest first",
        came=[sorted(owners), seconds],
        why="riders look for their last ride first, and for nobody else's",
        look=ZONE,
        service="rides",
    )
    expect(again.ids == walk.ids, sent="the same walk at replica 1 and at replica 2", expected=walk.ids, came=again.ids,
           why="an order that is not the same twice has no next page", look=ZONE, service="rides")  # fmt: skip


def test_rides_that_come_and_go_shift_nothing(city: Any) -> None:
    """While a client turns pages, rides start and others are removed: each that was there still comes exactly once."""
    stored = a_hundred(city)

    def meanwhile(page: int, rides: list[Ride]) -> None:
        last = rides[-1]["started_at"]
        fresh = [(f"r-{sign}{page:03}", "acme", last) for sign in "0z"] + [ride(page + 9000)]
        store(city, fresh, gone=[rides[0]["ride_id"], rides[-1]["ride_id"]] if page % 2 else [])

    walk = follow([city["rides"].url], between=meanwhile)
    expect(
        not walk.fault(stored),
        sent="GET page after page; after each, three rides start; after each second, two that were read go",
        expected="each of the 100 rides of before exactly once",
        came=walk.fault(stored),
        why="a page number counts rows from the top, and the top moves: a cursor says where, not how many",
        look=ZONE,
        service="rides",
    )


def test_a_cursor_needs_no_memory_of_a_process(city: Any) -> None:
    """A cursor works at the other replica, and after both were killed and started again."""
    stored = a_hundred(city)

    def reboot(page: int, rides: list[Ride]) -> None:
        if page == 4:
            city.kill("rides")
            city.launch("rides")

    walk = follow(city["rides"].replica_urls, between=reboot)
    expect(
        not walk.fault(stored),
        sent="GET page after page at two replicas in turn; both are killed and launched after the fourth",
        expected="each of the 100 rides exactly once",
        came=walk.fault(stored),
        why="a client may ask for the next page tomorrow, and the balancer asks whom it likes",
        look=ZONE,
        service="rides",
    )


def test_a_page_is_bounded(city: Any) -> None:
    """No page has more than 500 rides: a limit that is no number from 1 to 500 is refused by name, or capped."""
    store(city, [ride(number) for number in range(1200)])
    address = city["rides"].url + "/rides?rider_id=acme"
    for limit, most in {"": 500, "&limit=7": 7, "&limit=500": 500}.items():
        answer = web.get(address + limit)
        number = len(rides_of(answer) or [])
        expect(1 <= number <= most, sent=f"GET /rides?rider_id=acme{limit} of 1200 rides",
               expected=f"200 and a page of 1 to {most} rides", came=f"{answer.status_code}, {number} rides",
               why="the client who names no limit is the one that brings down the service", look=LIMIT,
               service="rides")  # fmt: skip
    for limit in ("1000000", "501", "9" * 20, "0", "-1", "ten", "7.5"):
        answer = web.get(f"{address}&limit={limit}")
        number = len(rides_of(answer) or [])
        expect(
            refuses(answer, "limit") or 1 <= number <= MOST_RIDES,
            sent=f"GET /rides?rider_id=acme&limit={limit} of 1200 rides",
            expected="4xx, a problem that names limit; or 200 and a page of 1 to 500 rides",
            came=f"{answer.status_code}, {number} rides, {answer.text[:200]}",
            why="who may ask for a million rides asks for them; and a page of no rides has no next one",
            look=LIMIT,
            service="rides",
        )


def test_a_long_list_needs_little_memory(city: Any) -> None:
    """Pages of a list of 100,000 rides are answered by processes that grow by less than 12 MB."""
    store(city, map(ride, range(LONG)))
    urls = city["rides"].replica_urls
    for url in urls:
        web.get(f"{url}/rides?rider_id=bo&limit=500")
    walks: list[Walk] = []
    most = growth(city["rides"].pids, lambda: several_pages(urls, walks), MOST_MB * 1_000_000)
    expect(
        most < MOST_MB * 1_000_000,
        sent=f"GET /rides?rider_id=acme&limit=500 of 100,000 rides, {SOME_PAGES} pages at each replica",
        expected=f"a process that grows by less than {MOST_MB} MB",
        came=f"a process that grew by {most // 1_000_000} MB and more",
        why="who fetches all rows to show one page is ended by the first large customer: let the database stop early",
        look=ZONE,
        service="rides",
    )
    read = [(walk.pages, len(set(walk.ids)) == len(walk.ids) > 0) for walk in walks]
    expect(read == [(SOME_PAGES, True)] * 2, sent=f"{SOME_PAGES} pages of 100,000 rides at each replica",
           expected="pages of rides, none of them twice", came=[walk.trouble for walk in walks],
           why="a short answer saves memory too, but nobody any time", look=ZONE, service="rides")  # fmt: skip


def test_a_bad_cursor_is_refused_by_name(city: Any) -> None:
    """A cursor that nobody handed out is refused as a problem that names it; one that was altered shows no more."""
    a_hundred(city)
    first = web.get(city["rides"].url + "/rides?rider_id=acme&limit=7")
    cursor = parse_qs(urlsplit(str(content(first).get("next"))).query).get("cursor", [""])[0]
    expect(cursor, sent="GET /rides?rider_id=acme&limit=7", expected="a next with the parameter cursor", came=first,
           why="the contract calls it so", look="history.py: list_rides", service="rides")  # fmt: skip
    for wrong in NONSENSE:
        answer = at_cursor(city, wrong)
        expect(refuses(answer, "cursor"), sent=f"GET /rides?rider_id=acme&limit=7&cursor={wrong[:60]!r}",
               expected="4xx, a problem that names cursor", came=answer, why=REFUSE, look=ZONE,
               service="rides")  # fmt: skip
    altered = [(forged, "acme") for forged in forgeries(cursor)]
    for forged, rider_id in [*altered, (cursor, "bo")]:
        answer = at_cursor(city, forged, rider_id)
        expect(harmless(answer, rider_id), sent=f"GET /rides?rider_id={rider_id}, cursor of acme, altered: {forged}",
               expected=f"4xx, a problem that names cursor; or 200 and rides of {rider_id} only", came=answer,
               why="what comes back from a client is input, also if you wrote it: no SQL, no other rider's rides",
               look=ZONE, service="rides")  # fmt: skip
    left = len(rows(city["rides"].data, "SELECT ride_id FROM rides"))
    expect(left == 150, sent="GET with SQL in the cursor", expected="150 rides in rides.db", came=left,
           why="a GET changes nothing", look=ZONE, service="rides")  # fmt: skip
