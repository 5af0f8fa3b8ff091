"""Checks of task 1.3: three processes of pricing are one service, and one of them may die."""

from collections.abc import Callable
from typing import Any

import httpx

from lab_services.checks import expect, together

web = httpx.Client(timeout=5, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
ZONE = "pricing.py: make_quote, find_quote, demand"
REPLICAS = 3
CLIENTS, EACH = 6, 10
BUSY = CLIENTS * EACH  # offers that raise the price by 6 x 5 cents


def offer(url: str, minutes: int = 12) -> httpx.Response:
    return web.post(f"{url}/quotes", json={"minutes": minutes})


def read(url: str, quote_id: str) -> httpx.Response:
    return web.get(f"{url}/quotes/{quote_id}")


def replicas(city: Any) -> tuple[str, ...]:
    city.scale("pricing", REPLICAS)
    return tuple(city["pricing"].replica_urls)


def make_busy(*urls: str) -> None:
    """Ask for BUSY offers: CLIENTS at once, each at one of the addresses, one offer after the other."""

    def ask(place: int) -> None:
        with httpx.Client(base_url=urls[place % len(urls)], timeout=5, trust_env=False) as client:
            for _ in range(EACH):
                client.post("/quotes", json={"minutes": 5}).raise_for_status()

    together([lambda place=place: ask(place) for place in range(CLIENTS)])


def reader(url: str, quote_ids: list[str]) -> Callable[[], list[str]]:
    """Return a client that reads all offers again and again, and returns what went wrong."""

    def run() -> list[str]:
        with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
            answers = [client.get(f"/quotes/{quote_id}") for quote_id in quote_ids * 5]
        return [f"{answer.status_code} {answer.text[:80]}" for answer in answers if answer.status_code != 200]

    return run


def altered(quote_id: str) -> list[str]:
    """Return the id with one character changed, at each place in two ways."""
    places = range(len(quote_id))
    return [quote_id[:n] + sign + quote_id[n + 1 :] for n in places for sign in "1z" if quote_id[n] != sign]


def test_the_plain_price_stays(city: Any) -> None:
    """GET /quote still answers the plain price, which no demand changes: 100 and 20 a minute, 2000 at most."""
    url = city["pricing"].url
    make_busy(url)
    found = [web.get(f"{url}/quote", params={"minutes": minutes}).json()["cents"] for minutes in (0, 12, 1440)]
    expect(
        found == [100, 340, 2000],
        sent=f"GET /quote for 0, 12 and 1440 minutes, after {BUSY} offers",
        expected=[100, 340, 2000],
        came=found,
        why="rides charges by it, and old callers know nothing of offers",
        look="pricing.py: plain_price",
        service="pricing",
    )


def test_an_offer_keeps_its_price(city: Any) -> None:
    """An offer that is read again has the price it was made for, whatever the demand is by then."""
    url = city["pricing"].url
    made = offer(url)
    make_busy(url)
    found = read(url, made.json()["quote_id"])
    expect(
        (made.status_code, found.status_code, found.json()) == (201, 200, made.json()),
        sent=f"POST /quotes, {BUSY} more of them, then GET of the first",
        expected=made.text,
        came=found,
        why="a rider pays what was offered",
        look="pricing.py: find_quote",
        service="pricing",
    )


def test_nobody_writes_an_offer_of_their_own(city: Any) -> None:
    """An id that was not handed out finds no offer: changing a character never brings another price."""
    url = city["pricing"].url
    made = offer(url).json()
    with httpx.Client(base_url=url, timeout=5, trust_env=False) as client:
        answers = [client.get(f"/quotes/{forged}") for forged in altered(made["quote_id"])]
    forged = [a for a in answers if a.status_code >= 500 or (a.status_code == 200 and a.json() != made)]
    expect(
        not forged,
        sent="GET /quotes/{id} with one character of a real id changed, at every place",
        expected="404 each time",
        came=forged[0] if forged else "",
        why="an offer whose price stands unsigned in its id is an offer that riders write themselves",
        look="pricing.py: find_quote",
        service="pricing",
    )


def test_every_replica_knows_every_offer(city: Any) -> None:
    """An offer made by one replica is answered by each of the three, with the same price."""
    urls = replicas(city)
    made = [offer(url) for url in urls]
    answers = [read(url, quote.json()["quote_id"]) for quote in made for url in urls]
    wrong = [answer for answer in answers if answer.status_code != 200]
    expect(
        [answer.json() for answer in answers] == [quote.json() for quote in made for _ in urls],
        sent="POST /quotes at each of three replicas, then GET of each offer at each replica",
        expected="nine times 200 with the offer that was made",
        came=wrong[0] if wrong else [answer.text for answer in answers[:3]],
        why="the balancer asks whom it likes: what one process remembers, two of three have never heard of",
        look=ZONE,
        service="pricing",
    )


def test_nobody_notices_when_one_of_three_dies(city: Any) -> None:
    """One of three replicas is killed in the middle of the traffic, and no request fails."""
    replicas(city)
    url = city["pricing"].url
    ids = [offer(url).json()["quote_id"] for _ in range(9)]
    *failed, _ = together([*[reader(url, ids)] * 4, lambda: city.kill("pricing", replica=2)])
    after = [offer(url) for _ in range(6)]
    wrong = [problem for each in failed for problem in (each if isinstance(each, list) else [repr(each)])]
    wrong += [answer.text for answer in after if answer.status_code != 201]
    expect(
        not wrong,
        sent="180 reads of nine offers while replica 2 is killed, then six new offers",
        expected="200 for each read and 201 for each offer",
        came=f"{len(wrong)} failed, the first: {(wrong or [''])[0]}",
        why="replicas are there so that one may die; state in a process dies with it",
        look=ZONE,
        service="pricing",
    )


def test_an_offer_survives_a_restart(city: Any) -> None:
    """An offer is still there after pricing was killed and started again."""
    made = offer(city["pricing"].url)
    city.kill("pricing")
    city.launch("pricing")
    found = read(city["pricing"].url, made.json()["quote_id"])
    expect(
        found.status_code == 200 and found.json() == made.json(),
        sent="POST /quotes, kill -9 of pricing, launch, GET of the offer",
        expected=made.text,
        came=found,
        why="every deployment is a restart: riders would lose their offers with each of them",
        look=ZONE,
        service="pricing",
    )


def test_the_demand_of_all_replicas_adds_up(city: Any) -> None:
    """Each replica tells the demand of all three together, and the next offer costs what that demand says."""
    urls = replicas(city)
    make_busy(*urls)
    told = [web.get(f"{url}/demand").json()["quotes"] for url in urls]
    expect(
        told == [BUSY] * REPLICAS,
        sent=f"{BUSY} offers at once, a third at each replica, then GET /demand at each",
        expected=[BUSY] * REPLICAS,
        came=told,
        why="a counter in a module counts one process; read, add, write loses what came between",
        look=ZONE,
        service="pricing",
    )
    cents = offer(urls[0]).json()["cents"]
    expect(cents == 370, sent=f"one more offer of 12 minutes, after {BUSY}", expected="340 + 6 x 5 = 370 cents",
           came=cents, why="one city, one price", look=ZONE, service="pricing")  # fmt: skip
