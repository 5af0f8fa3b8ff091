"""The shared cache of the city: what it keeps, for whom, for how long, and what it asks the origin (RFC 9111)."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from lab_services.bikeshare import cache
from lab_services.bikeshare.cache_client import caching_client
from tests.bikeshare.town import check_problem, eventually, in_this_process, together

Answerer = Callable[[Request], Response]


@dataclass
class Origin:
    """An origin that answers by `answer` and keeps what it was asked."""

    asked: list[Request] = field(default_factory=list)
    answer: Answerer = lambda request: Response("hello", headers={"cache-control": "max-age=60"})
    url: str = ""

    def says(self, content: str = "hello", status: int = 200, **headers: str) -> None:
        """Answer like this from now on; max_age="60" becomes the header max-age."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda request: Response(content, status, named)


@contextmanager
def origin_running() -> Iterator[Origin]:
    app, origin = FastAPI(openapi_url=None), Origin()

    @app.get("/health/ready")
    def ready() -> None:
        return None

    @app.api_route("/{path:path}", methods=["GET", "HEAD", "PUT", "POST", "DELETE"])
    def answer(request: Request) -> Response:
        origin.asked.append(request)
        return origin.answer(request)

    with in_this_process(app) as client:
        origin.url = str(client.base_url).rstrip("/")
        yield origin


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, collapse: str) -> Iterator[tuple[Origin, httpx.Client]]:
    monkeypatch.setenv("UPSTREAM", "desk")
    monkeypatch.setenv("COLLAPSE", collapse)
    with ExitStack() as stack:
        origin = stack.enter_context(origin_running())
        monkeypatch.setenv("DESK_URL", origin.url)
        yield origin, stack.enter_context(in_this_process(cache.app))


@pytest.fixture(params=["0", "1"], ids=["plain", "collapsing"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Origin, httpx.Client]]:
    with running(monkeypatch, request.param) as pair:
        yield pair


@pytest.fixture
def collapsing(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Origin, httpx.Client]]:
    with running(monkeypatch, "1") as pair:
        yield pair


def status(answer: httpx.Response) -> str:
    return answer.headers["cache-status"].removeprefix("bikeshare; ")


def test_a_fresh_answer_is_asked_for_once(both: tuple[Origin, httpx.Client]) -> None:
    """Within max-age the origin is asked once; a hit has an Age and says that it is one; both are counted."""
    origin, client = both
    answers = [client.get("/tariff") for _ in range(10)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, "hello")}
    assert [status(answer) for answer in answers] == ["fwd=miss; stored"] + ["hit"] * 9
    assert "age" not in answers[0].headers
    assert answers[9].headers["age"] == "0" and answers[9].headers["cache-control"] == "max-age=60"
    assert len(origin.asked) == 1
    assert client.get("/.cache/hits").json() == {"requests": 10, "origin": 1}


def test_an_answer_is_fresh_for_its_whole_max_age_and_not_longer(both: tuple[Origin, httpx.Client]) -> None:
    """max-age=1 is one second, not what is left of the second of its Date; then the new answer replaces the old.

    Never longer, in three tries. It may be less in one of them: hishel reads its clock once more, and a busy machine
    may let a second begin in between.
    """
    lives = [life_of_an_answer(*both, f"/tariff?try={number}") for number in range(3)]
    assert all(served < 1 for served, _ in lives)
    assert max(ended for _, ended in lives) >= 1, lives


def life_of_an_answer(origin: Origin, client: httpx.Client, path: str) -> tuple[float, float]:
    """Return seconds: from the receipt of an answer of max-age=1 to its last use, and from asking to its end."""
    origin.says("old", cache_control="max-age=1")
    asked_at = time.monotonic()
    client.get(path)
    received_at = time.monotonic()
    origin.says("new", cache_control="max-age=60")
    last_old = sent_at = received_at
    while (answer := client.get(path)).text == "old":
        last_old, sent_at = sent_at, time.monotonic()
        assert sent_at - asked_at < 5
    ended_at = time.monotonic()
    assert status(answer) == "fwd=stale; fwd-status=200"
    assert {client.get(path).text for _ in range(5)} == {"new"}
    return last_old - received_at, ended_at - asked_at


def test_the_age_of_the_origin_counts(collapsing: tuple[Origin, httpx.Client]) -> None:
    """An answer that comes 50 s old has 10 of its 60 s left, is passed on as 50 s old, and is stale if it is older."""
    origin, client = collapsing
    origin.says("kept", cache_control="max-age=60", age="50")
    assert [client.get("/a").headers["age"] for _ in range(2)] == ["50", "50"]
    assert len(origin.asked) == 1
    origin.says("too old", cache_control="max-age=60", age="60")
    assert [status(client.get("/b")) for _ in range(2)] == ["fwd=miss; stored", "fwd=stale; fwd-status=200"]
    origin.says("odd", cache_control="max-age=60", age="yesterday")
    assert [status(client.get("/c")) for _ in range(2)] == ["fwd=miss; stored", "hit"]


@pytest.mark.parametrize(
    "rule", ["no-store", "private, max-age=60", "private", "max-age=0", "no-cache", "public, no-cache, max-age=60", ""]
)
def test_what_must_not_be_reused_is_not(collapsing: tuple[Origin, httpx.Client], rule: str) -> None:
    """no-store, private, no-cache, no age at all: each request goes to the origin."""
    origin, client = collapsing
    origin.says(**({"cache_control": rule} if rule else {}))
    assert not [answer for answer in (client.get("/a") for _ in range(3)) if status(answer) == "hit"]
    assert len(origin.asked) == 3


@pytest.mark.parametrize(("rule", "asked"), [("max-age=60", 3), ("public, max-age=60", 1), ("s-maxage=60", 1),
                                             ("max-age=60, must-revalidate", 1)])  # fmt: skip
def test_an_answer_to_a_known_rider_is_kept_only_if_told(
    collapsing: tuple[Origin, httpx.Client], rule: str, asked: int
) -> None:
    """After a request with Authorization only public, s-maxage or must-revalidate allow to keep (section 3.5)."""
    origin, client = collapsing
    origin.says(cache_control=rule)
    for token in ("ada", "ada", "bo"):
        client.get("/a", headers={"authorization": f"Bearer {token}"})
    assert len(origin.asked) == asked
    assert origin.asked[0].headers["authorization"] == "Bearer ada"


def test_a_request_with_no_store_passes_by(collapsing: tuple[Origin, httpx.Client]) -> None:
    """What is asked for with no-store is not kept; with no-cache it is asked for anew and then kept."""
    origin, client = collapsing
    assert status(client.get("/a", headers={"cache-control": "no-store"})) == "fwd=bypass"
    assert status(client.get("/a")) == "fwd=miss; stored"
    origin.says("news", cache_control="max-age=60")
    assert client.get("/a", headers={"cache-control": "no-cache"}).text == "news"
    assert (client.get("/a").text, len(origin.asked)) == ("news", 3)


def test_each_variant_is_kept(collapsing: tuple[Origin, httpx.Client]) -> None:
    """Vary: three languages are three answers, also when asked for in turn; `Vary: *` is never reused."""
    origin, client = collapsing
    origin.answer = lambda request: Response(
        request.headers["accept-language"], headers={"cache-control": "max-age=60", "vary": "Accept-Language"}
    )
    for language in ["de", "en", "fr"] * 3:
        assert client.get("/a", headers={"accept-language": language}).text == language
    assert len(origin.asked) <= 4  # the first was kept before anybody knew that answers vary
    origin.says(cache_control="max-age=60", vary="*")
    assert "hit" not in [status(client.get("/b")) for _ in range(3)]


def test_the_query_is_a_part_of_the_key(collapsing: tuple[Origin, httpx.Client]) -> None:
    """Another query is another answer, and GET and HEAD are not mixed up."""
    origin, client = collapsing
    origin.answer = lambda request: Response(request.url.query, headers={"cache-control": "max-age=60"})
    assert [client.get(f"/a?bike={kind}").text for kind in ("city", "cargo", "city")] == [
        "bike=city", "bike=cargo", "bike=city"]  # fmt: skip
    head = client.head("/a?bike=city")
    assert (head.text, head.headers["content-length"], len(origin.asked)) == ("", "9", 3)
    assert client.get("/a?bike=city").text == "bike=city"


def test_an_unsafe_method_invalidates(collapsing: tuple[Origin, httpx.Client]) -> None:
    """A PUT that succeeds drops what is kept of its address; one that is refused, or of another address, does not."""
    origin, client = collapsing
    client.get("/a")
    origin.says("refused", 409)
    assert client.put("/a", content=b"{}").status_code == 409
    origin.says("done")
    client.put("/b", content=b"{}")
    assert status(client.get("/a")) == "hit"
    answer = client.put("/a", content=b"{}")
    assert (answer.text, status(answer)) == ("done", "fwd=method")
    assert status(client.get("/a")).startswith("fwd=miss")


def test_conditional_requests_work_end_to_end(both: tuple[Origin, httpx.Client]) -> None:
    """A stale answer is asked for with its ETag, a 304 makes it fresh again, and a rider who has it gets a 304."""
    origin, client = both
    tag = '"v7"'

    def answer(request: Request) -> Response:
        same = request.headers.get("if-none-match") == tag
        headers = {"etag": tag, "cache-control": "no-cache", "age": "0"}
        return Response(status_code=304, headers=headers) if same else Response("seven", headers=headers)

    origin.answer = answer
    assert [client.get("/a").text for _ in range(2)] == ["seven", "seven"]
    assert status(client.get("/a")) == "fwd=stale; fwd-status=304"
    found = client.get("/a", headers={"if-none-match": 'W/"v6", W/"v7"'})
    assert (found.status_code, found.content, found.headers["etag"]) == (304, b"", tag)
    assert found.headers["cache-control"] == "no-cache" and "content-type" not in found.headers
    assert client.get("/a", headers={"if-none-match": '"v6"'}).text == "seven"
    fresh = client.get("/b", headers={"if-none-match": tag})  # nothing is kept of it: the origin decides
    assert (fresh.status_code, origin.asked[-1].headers["if-none-match"]) == (304, tag)


def test_errors_are_not_kept(both: tuple[Origin, httpx.Client]) -> None:
    """A 503 and a 404 without a rule are passed on with their problem and asked for anew."""
    origin, client = both
    for code in (503, 404):
        origin.answer = lambda request, code=code: Response("{}", code, media_type="application/problem+json")
        answer = client.get("/a")
        assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json")
    origin.says("good")
    assert (client.get("/a").text, len(origin.asked)) == ("good", 3)


async def nobody_there(network: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody there", request=request)


def test_an_origin_that_is_away_is_a_problem(
    collapsing: tuple[Origin, httpx.Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """502 names the origin; a stale answer is used only if stale-if-error allows, and health is the cache's own."""
    origin, client = collapsing
    origin.says("stale", cache_control="max-age=0, stale-if-error=60")
    client.get("/a")
    origin.says("strict", cache_control="max-age=0, stale-if-error=60, must-revalidate")
    client.get("/b")
    origin.says("broken", 500)
    assert (client.get("/a").text, client.get("/b").status_code) == ("stale", 500)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", nobody_there)
    kept = client.get("/a")
    assert (kept.text, status(kept), kept.headers["age"]) == ("stale", "fwd=stale; detail=stale-if-error", "0")
    assert check_problem(client.get("/b"), 502, "desk", "ConnectError")["service"] == "desk"
    check_problem(client.put("/a"), 502, "desk")
    assert client.get("/health/ready").json() == {"status": "ready"}
    assert client.get("/health/live").json() == {"status": "live"}


def test_a_silent_origin_is_a_504(collapsing: tuple[Origin, httpx.Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """An origin that does not answer in time is 504 Gateway Timeout."""
    origin, client = collapsing
    monkeypatch.setattr("lab_services.bikeshare.cache_answers.ANSWER_SECONDS", 0.05)
    origin.answer = lambda request: [time.sleep(0.3), Response()][1]  # type: ignore[return-value]
    check_problem(client.get("/a"), 504, "desk")


def test_requests_and_answers_pass_unchanged(collapsing: tuple[Origin, httpx.Client]) -> None:
    """Path, query, body, cookies, Location and packed bodies pass; headers of one connection and ours do not."""
    origin, client = collapsing
    packed = gzip.compress(b"squeezed")

    def answer(request: Request) -> Response:
        reply = Response(
            packed, 201, {"content-encoding": "gzip", "location": "/rides/7", "cache-control": "max-age=9"}
        )
        reply.headers["connection"] = "x-hop"
        reply.headers["x-hop"] = "1"
        reply.set_cookie("a", "1")
        reply.set_cookie("b", "2")
        return reply

    origin.answer = answer
    headers = {"connection": "x-own", "x-own": "1", "idempotency-key": "k-1"}
    answers = [client.post("/rides/a%2Fb?q=%C3%BC", content=b"\x00\xff", headers=headers)]
    answers += [client.get("/rides/a%2Fb?q=%C3%BC") for _ in range(2)]
    assert [status(answer) for answer in answers] == ["fwd=method", "fwd=miss; stored", "hit"]
    for each in answers:
        assert (each.status_code, each.text, each.headers["location"]) == (201, "squeezed", "/rides/7")
        assert len(each.headers.get_list("set-cookie")) == 2 and len(each.headers.get_list("date")) == 1
        assert not {"x-hop", "x-born"} & set(each.headers)
    seen = origin.asked[0]
    assert (seen.scope["raw_path"], seen.url.query) == (b"/rides/a%2Fb", "q=%C3%BC")
    assert (seen.headers["idempotency-key"], seen.headers["via"]) == ("k-1", "1.1 bikeshare")
    assert not {"x-own", "x-born"} & set(seen.headers)


def test_a_huge_body_is_refused(collapsing: tuple[Origin, httpx.Client]) -> None:
    """More than a million bytes are 413 and never reach the origin; a huge answer passes and is not kept."""
    origin, client = collapsing
    check_problem(client.put("/a", content=b"x" * 1_000_001), 413, "1000000")
    assert origin.asked == []
    origin.says("x" * 200_000, cache_control="max-age=60")
    assert [len(client.get("/a").text) for _ in range(2)] == [200_000] * 2
    assert len(origin.asked) == 2


def slow(origin: Origin, rule: str, seconds: float = 0.4) -> None:
    def answer(request: Request) -> Response:
        time.sleep(seconds)
        return Response(request.headers.get("authorization", "nobody"), headers={"cache-control": rule})

    origin.answer = answer


def test_a_crowd_becomes_one_request(collapsing: tuple[Origin, httpx.Client]) -> None:
    """Of 60 who miss the same answer at once, and again when it has expired, one goes to the origin."""
    origin, client = collapsing
    slow(origin, "max-age=2")
    crowd = together(60, lambda _: client.get("/tariff"))
    assert {answer.text for answer in crowd} == {"nobody"} and len(origin.asked) == 1
    kinds = {status(answer) for answer in crowd}
    assert "fwd=miss; stored" in kinds and kinds <= {"fwd=miss; stored", "fwd=miss; collapsed", "hit"}
    received_at = time.monotonic()
    eventually(lambda: time.monotonic() - received_at > 2.1)
    crowd = together(60, lambda _: client.get("/tariff"))
    assert {answer.text for answer in crowd} == {"nobody"} and len(origin.asked) == 2
    assert "fwd=stale; fwd-status=200" in {status(answer) for answer in crowd}


def test_without_collapsing_a_crowd_is_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    """With COLLAPSE=0 each of 30 who miss the same answer at once goes to the origin."""
    with running(monkeypatch, "0") as (origin, client):
        slow(origin, "max-age=60")
        together(30, lambda _: client.get("/tariff"))
        assert len(origin.asked) > 10


def test_what_cannot_be_kept_is_not_shared(collapsing: tuple[Origin, httpx.Client]) -> None:
    """Twenty riders at the same address at once get each their own answer, and nobody queues up the next time."""
    origin, client = collapsing
    slow(origin, "private, max-age=60")
    ask = lambda number: client.get("/wallet", headers={"authorization": f"rider-{number}"}).text  # noqa: E731
    assert together(20, ask) == [f"rider-{number}" for number in range(20)]
    assert len(origin.asked) == 20
    asked_at = time.monotonic()
    assert together(20, ask) == [f"rider-{number}" for number in range(20)]
    assert time.monotonic() - asked_at < 20 * 0.4


def test_a_failure_is_not_shared_and_does_not_block(collapsing: tuple[Origin, httpx.Client]) -> None:
    """The first of a crowd meets an error: the others try by themselves, and the next answer is kept."""
    origin, client = collapsing
    slow(origin, "max-age=60", 0.2)
    good = origin.answer
    origin.answer = lambda request: good(request) if len(origin.asked) > 1 else [time.sleep(0.2), Response("", 503)][1]
    codes = sorted(answer.status_code for answer in together(10, lambda _: client.get("/tariff")))
    assert codes == [200] * 9 + [503]
    assert status(client.get("/tariff")) == "hit"


def test_a_slow_answer_holds_nobody_else_up(collapsing: tuple[Origin, httpx.Client]) -> None:
    """While one address is slow, another is answered; and who already has a fresh answer does not wait."""
    origin, client = collapsing
    slow(origin, "max-age=60", 1.5)
    quick = lambda request: Response("quick", headers={"cache-control": "max-age=60"})  # noqa: E731
    sluggish = origin.answer
    origin.answer = lambda request: sluggish(request) if request.url.path == "/slow" else quick(request)
    done: list[str] = []

    def ask(number: int) -> None:
        if number:
            eventually(lambda: origin.asked)
        done.append(client.get("/quick" if number else "/slow").text)

    together(2, ask)
    assert done == ["quick", "nobody"]


def test_a_private_cache_works_against_the_shared_one(both: tuple[Origin, httpx.Client]) -> None:
    """A rider's own cache keeps what is hers, asks the shared one little, and does not add its age to the other's."""
    origin, client = both
    shared = str(client.base_url).rstrip("/")
    origin.says("tariff", cache_control="public, max-age=60, s-maxage=60", age="30")
    with caching_client(shared) as rider, caching_client(shared, {"authorization": "Bearer ada"}) as ada:
        assert [rider.get("/tariff").extensions["caching"]["from_cache"] for _ in range(20)] == [False] + [True] * 19
        origin.says("hers", cache_control="private, max-age=60")
        assert [ada.get("/wallet").extensions["caching"]["from_cache"] for _ in range(3)] == [False, True, True]
        origin.says("nobody", 401)
        assert (rider.get("/wallet").status_code, client.get("/wallet").status_code) == (401, 401)
        origin.says("old", cache_control="public, max-age=60", age="60")
        assert [rider.get("/old").extensions["caching"]["from_cache"] for _ in range(3)] == [False] * 3
    assert client.get("/.cache/hits").json()["origin"] == len(origin.asked) == 7
