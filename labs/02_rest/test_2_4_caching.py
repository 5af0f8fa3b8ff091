"""Checks of task 2.4: what the desk remembers, and what it allows the caches in front of it."""

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from lab_services.bikeshare.cache_client import caching_client
from lab_services.checks import Call, eventually, expect, rows, together

ANSWER_SECONDS, CROWD_SECONDS = 2.5, 6.0
web = httpx.Client(
    timeout=ANSWER_SECONDS, trust_env=False, limits=httpx.Limits(max_connections=200, keepalive_expiry=2)
)
RULES = "desk.py: CACHE_RULES"
LOOK_UP = "desk.py: look_up"
TARIFF_SECONDS = 2
ROUNDING_SECONDS = 1  # Age counts whole seconds
SOON_SECONDS = 0.4  # nobody asks for so long before the copy expires: the crowd is the first to find it too old
DAY_SECONDS = 86_400
FEW = 20  # of 100 reads and more
CROWD, FEW_AT_ONCE = 100, 3
SLOW_SECONDS = 0.3
PATIENCE_SECONDS = 1.5  # the slow answer waits for so long to be overtaken
OLD = {"unlock_cents": 100, "minute_cents": 20, "cap_cents": 2000}
NEW = {"unlock_cents": 300, "minute_cents": 50, "cap_cents": 2000}


def read(url: str, path: str, rider: str = "", seconds: float = ANSWER_SECONDS) -> httpx.Response | Exception:
    """Return the answer, or what prevented it."""
    headers = {"Authorization": f"Bearer token-of-{rider}"} if rider else {}
    try:
        return web.get(url + path, headers=headers, timeout=seconds)
    except httpx.HTTPError as error:
        return error


def code(answer: Any) -> Any:
    return getattr(answer, "status_code", repr(answer))


def field(answer: Any, name: str) -> Any:
    """Return one field of a JSON answer, or None."""
    try:
        return answer.json().get(name)
    except (AttributeError, ValueError):
        return None


def told(answer: Any) -> dict[str, str]:
    """Return the directives of Cache-Control."""
    text = answer.headers.get("cache-control", "") if isinstance(answer, httpx.Response) else ""
    pairs = [part.strip().lower().partition("=") for part in text.split(",") if part.strip()]
    return {name: value for name, _, value in pairs}


def whole(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0


def promised(answer: Any) -> int:
    """Return for how many more seconds a shared cache may hand this answer out (RFC 9111 section 4.2)."""
    rules = told(answer)
    if not isinstance(answer, httpx.Response) or {"no-store", "no-cache", "private"} & set(rules):
        return 0
    return max(0, whole(rules.get("s-maxage", rules.get("max-age"))) - whole(answer.headers.get("age")))


def hits(city: Any) -> int:
    """Return how many requests the shared cache has passed on to the desk."""
    return int(web.get(city["cache"].url + "/.cache/hits").json()["origin"])


def questions(city: Any) -> int:
    """Return how many questions tariffs was asked."""
    return sum(web.get(city["tariffs"].url + "/asked").json().values())


def tariff(number: int, bike: str = "city") -> dict[str, Any]:
    return {"tariff": number, "bike": bike, **OLD, "minute_cents": 40 if bike == "cargo" else 20}


def board(today: dict[str, int]) -> Callable[[Call], tuple[int, Any]]:
    """Return the handler of a fake `tariffs` whose number of today can be changed while it runs."""

    def handle(call: Call) -> tuple[int, Any]:
        number = int(call.path.rsplit("/", 1)[-1]) if call.path.startswith("/tariffs/") else today["number"]
        if number > today["number"]:
            return 404, {"title": "unknown tariff", "status": 404, "detail": f"there is no tariff {number} yet"}
        return 200, tariff(number, call.query.get("bike", "city"))

    return handle


def start_with(city: Any, tariffs: Any) -> tuple[str, str]:
    """Start the city with a fake in place of tariffs, and return the addresses of the desk and of the shared cache."""
    city.start(replace={"tariffs": tariffs.url})
    return city["desk"].url, city["cache"].url


def patient(overtaken: Event, gave_up: Event) -> Callable[[Call], tuple[int, Any]]:
    """Return the handler of a fake `tariffs` that answers for tariff 5 only when it was overtaken, or gives up."""

    def handle(call: Call) -> tuple[int, Any]:
        if call.path == "/tariffs/5" and not overtaken.wait(PATIENCE_SECONDS):
            gave_up.set()
        return 200, tariff(int(call.path[-1]))

    return handle


def longest_promise(url: str, number: int, seconds: float) -> tuple[float, httpx.Response | None]:
    """Read the tariff of today for so long; of the answers with this number return the one that may be handed out
    until the latest, and when it was asked for."""
    began, found = time.monotonic(), list[tuple[float, httpx.Response]]()

    def look() -> bool:
        at = time.monotonic() - began
        answer = read(url, "/tariff")
        if isinstance(answer, httpx.Response) and field(answer, "tariff") == number:
            found.append((at, answer))
        return at >= seconds

    eventually(look, within=seconds + ROUNDING_SECONDS)
    return max(found, key=lambda each: each[0] + promised(each[1]), default=(0.0, None))


def test_two_hundred_reads_cost_a_few_questions(city: Any) -> None:
    """200 reads of the tariff through the shared cache, and 100 of a phone with a cache, reach the desk a few times."""
    shared = city["cache"].url
    answers = [read(shared, "/tariff") for _ in range(200)]
    asked, desk_asked = questions(city), hits(city)
    with caching_client(shared) as phone:
        kept = [phone.get("/tariff").extensions["caching"]["from_cache"] for _ in range(100)]
    expect(
        {field(answer, "tariff") for answer in answers} == {7} and max(asked, desk_asked) <= FEW,
        sent="200 times GET /tariff through the shared cache",
        expected=f"tariff 7 each time; the desk and tariffs are asked {FEW} times at most",
        came=f"the desk was asked {desk_asked} times, tariffs {asked} times; the last answer: {code(answers[-1])}",
        why="what is the same for everybody is worked out once; the rest are answers from the nearest memory",
        look=RULES,
        service="desk",
    )
    expect(kept.count(False) <= FEW, sent="100 times GET /tariff by a phone that has a cache of its own",
           expected=f"{FEW} requests at most leave the phone", came=f"{kept.count(False)} requests",
           why="the fastest request is the one that is not sent", look=RULES, service="desk")  # fmt: skip
    numbered = read(shared, "/tariffs/7")
    expect(promised(numbered) >= DAY_SECONDS, sent="GET /tariffs/7, which never changes again",
           expected="Cache-Control that lets every cache keep it for a year", came=[code(numbered), told(numbered)],
           why="a new tariff gets a new number: nobody ever has to ask for an old one twice", look=RULES)  # fmt: skip


def test_nobody_sees_another_riders_wallet(city: Any) -> None:
    """Ada reads her wallet through the shared cache; bo, and who has no token, still get none of it."""
    shared = city["cache"].url
    hers = [read(shared, "/wallets/ada", "ada") for _ in range(3)]
    codes = [code(read(shared, "/wallets/ada", rider)) for rider in ("bo", "", "nobody") * 2]
    expect(
        [code(answer) for answer in hers] == [200] * 3 and codes == [403, 401, 401] * 2,
        sent="GET /wallets/ada through the shared cache: ada three times, then bo, nobody and a forger, twice",
        expected="200 for ada, then 403, 401, 401",
        came=[code(answer) for answer in hers] + codes,
        why="a shared cache hands what is public to everybody: rider B must never see A's money",
        look=RULES,
        service="desk",
    )
    back = [field(read(shared, f"/wallets/{rider}", rider), "rider_id") for rider in ("bo", "ada", "bo")]
    expect(back == ["bo", "ada", "bo"], sent="bo, ada and bo again read their own wallets", expected="each her own",
           came=back, why="nor may a refusal be kept for the one who may", look=RULES, service="desk")  # fmt: skip
    expect({"no-store", "private", "no-cache"} & set(told(hers[0])), sent="GET /wallets/ada, its Cache-Control",
           expected="a word that keeps it out of shared caches", came=told(hers[0]) or "no Cache-Control",
           why="a cache that is told nothing may guess (RFC 9111 section 4.2.2)", look=RULES)  # fmt: skip


def test_the_price_charged_is_the_price_quoted(city: Any) -> None:
    """The tariff changes while ada rides: she pays by the one she was quoted, and sees her balance at once."""
    shared, wallet = city["cache"].url, city["wallet"].url
    with caching_client(shared, {"Authorization": "Bearer token-of-ada"}) as phone:
        quoted = field(phone.get("/tariff"), "tariff")
        changed = web.put(city["tariffs"].url + "/tariff", json=NEW).json()["tariff"]
        balances = [field(phone.get("/wallets/ada"), "balance_cents")]
        for ride_id, number in (("r-quoted", quoted), ("r-changed", changed)):
            web.put(f"{wallet}/holds/{ride_id}", json={"rider_id": "ada", "cents": 2000})
            wish = {"minutes": 12, "tariff": number, "bike": "city"}
            answer = web.put(f"{shared}/rides/{ride_id}/charge", json=wish)
            balances.append(field(phone.get("/wallets/ada"), "balance_cents"))
    taken = {row["ride_id"]: row["captured_cents"] for row in rows(city["wallet"].data, "SELECT * FROM holds")}
    expect(
        taken == {"r-quoted": 340, "r-changed": 900},
        sent=f"12 minutes quoted by tariff {quoted}, charged after a change, and 12 quoted by tariff {changed}",
        expected={"r-quoted": 340, "r-changed": 900},
        came={**taken, "last answer": getattr(answer, "text", "")},
        why="a copy may be old, a promise may not: what was quoted when she got on is what she pays",
        look="desk.py: tariff_of",
        service="desk",
    )
    expect(balances == [5000, 4660, 3760], sent="GET /wallets/ada by her phone, before and after each charge",
           expected=[5000, 4660, 3760], came=balances, why="who has paid looks at her balance, and must see it",
           look=RULES, service="desk")  # fmt: skip


@pytest.mark.city(started=False)
def test_a_new_tariff_is_seen_in_time(city: Any, fake_service: Any) -> None:
    """A new tariff is seen after TARIFF_SECONDS, whatever caches are passed; a crowd that wants it asks a few times."""
    today = {"number": 7}
    tariffs = fake_service("tariffs", board(today))
    desk, _ = start_with(city, tariffs)
    read(desk, "/tariff")
    expired_at = time.monotonic() + TARIFF_SECONDS
    today["number"] = 8
    at, last = longest_promise(desk, 7, TARIFF_SECONDS - SOON_SECONDS)
    expect(at + promised(last) <= TARIFF_SECONDS + ROUNDING_SECONDS,
           sent=f"GET /tariff at the desk, {at:.1f} s after it had asked for tariff 7, which is old by now",
           expected=f"an answer that the next cache keeps for {TARIFF_SECONDS} s less its age",
           came=f"max-age {told(last).get('max-age')}, Age {last and last.headers.get('age')}: {promised(last)} s more",
           why="each cache that begins to count anew adds its seconds: three in a row show a tariff of long ago",
           look=LOOK_UP, service="desk")  # fmt: skip
    tariffs.delay(SLOW_SECONDS)
    eventually(lambda: time.monotonic() > expired_at, within=TARIFF_SECONDS)
    before = len(tariffs.calls)
    crowd = together([lambda: read(desk, "/tariff", seconds=CROWD_SECONDS)] * CROWD, within=CROWD_SECONDS)
    seen, asked = [field(answer, "tariff") for answer in crowd], len(tariffs.calls) - before
    expect(asked <= FEW_AT_ONCE, sent=f"{CROWD} riders at once at expiry, while tariffs takes {SLOW_SECONDS} s",
           expected=f"{FEW_AT_ONCE} questions to tariffs at most", came=f"{asked} questions",
           why="the moment when a copy expires is when everybody asks: the crowd must not reach the origin",
           look=LOOK_UP, service="desk")  # fmt: skip
    expect(seen == [8] * CROWD, sent=f"{CROWD} riders at once, {TARIFF_SECONDS} s after the tariff has changed",
           expected="tariff 8 for each", came={str(each): seen.count(each) for each in set(seen)},
           why="what never expires is not a copy, it is another truth", look=LOOK_UP, service="desk")  # fmt: skip


@pytest.mark.city(started=False)
def test_errors_and_gaps_are_not_remembered(city: Any, fake_service: Any) -> None:
    """After a failure the next answer is good, a tariff made later is found, and a cargo bike is no city bike."""
    today = {"number": 7}
    tariffs = fake_service("tariffs", board(today))
    desk, shared = start_with(city, tariffs)
    bikes = [field(read(shared, f"/tariff?bike={bike}"), "minute_cents") for bike in ("city", "cargo", "city")]
    expect(bikes == [20, 40, 20], sent="GET /tariff?bike=city, then cargo, then city", expected=[20, 40, 20],
           came=bikes, why="the query is a part of the question: whoever leaves it out sells cargo bikes for half",
           look=LOOK_UP, service="desk")  # fmt: skip
    tariffs.fail(times=2, path="/tariffs/7")
    codes = [code(read(url, "/tariffs/7")) for url in (desk, shared, shared, desk)]
    expect(codes[2:] == [200, 200], sent="GET /tariffs/7 while tariffs fails twice, and twice when it is well again",
           expected="200 as soon as it is well again", came=codes, look=f"{RULES} and look_up", service="desk",
           why="a failure that is remembered, or that keeps a lock, makes a short outage a long one")  # fmt: skip
    codes = [code(read(url, "/tariffs/8")) for url in (desk, shared)]
    today["number"] = 8
    within = TARIFF_SECONDS + ROUNDING_SECONDS
    found = eventually(lambda: [code(read(url, "/tariffs/8")) for url in (desk, shared)] == [200, 200], within=within)
    expect(found and codes == [404, 404], sent="GET /tariffs/8 before and after there is a tariff 8",
           expected=f"404, then 200 within {TARIFF_SECONDS} s, at the desk and through the shared cache",
           came=[*codes, code(read(desk, "/tariffs/8")), code(read(shared, "/tariffs/8"))], look=LOOK_UP,
           service="desk", why="'not there' is true now; kept for a year it hides what is made later")  # fmt: skip


@pytest.mark.city(started=False)
def test_a_slow_question_holds_nobody_else_up(city: Any, fake_service: Any) -> None:
    """While tariffs works on the answer to one question, another question is asked and answered."""
    overtaken, gave_up = Event(), Event()
    tariffs = fake_service("tariffs", patient(overtaken, gave_up))
    desk, _ = start_with(city, tariffs)
    slow = Thread(target=read, args=[desk, "/tariffs/5"])
    slow.start()
    eventually(lambda: tariffs.calls_to("GET", "/tariffs/5"))
    quick = read(desk, "/tariffs/6")
    in_time = not gave_up.is_set()
    overtaken.set()
    slow.join()
    expect(in_time and field(quick, "tariff") == 6, sent="GET /tariffs/5, which is slow, and meanwhile /tariffs/6",
           expected="tariff 6 while the other is on its way", came=quick if in_time else "it waited for the other",
           why="one lock for everything makes everybody wait for the slowest question", look=LOOK_UP,
           service="desk")  # fmt: skip
