"""The rules of HTTP (RFC 9110), at every address of every finished service, over real sockets."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from lab_services.bikeshare.http_fields import accepts_json, is_json, matches
from lab_services.bikeshare.http_rules import BODY_BYTES, follow_http
from lab_services.bikeshare.problems import Problem, speak_problems
from lab_services.runtime import balancer
from tests.bikeshare.town import (
    EVENT_SERVICES,
    MESSAGE_SERVICES,
    Town,
    check_problem,
    client_of,
    eventually,
    in_this_process,
)

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
TEN_MEGABYTES = 10 * 1024 * 1024
ANSWER_SECONDS = 10.0
ON_OTHER_CONNECTIONS = {"date", "server", "via", "connection", "keep-alive"}


@dataclass(frozen=True)
class Resource:
    """An address of a service: its path as the service writes it, an example of it, and a body for each write."""

    service: str
    path: str
    example: str
    reads: bool = True
    writes: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    @property
    def methods(self) -> set[str]:
        return {*self.writes, *(["GET", "HEAD"] if self.reads else [])}

    @property
    def allow(self) -> str:
        return ", ".join(sorted({*self.methods, "OPTIONS"}))


HEALTH = [(path, path) for path in ("/health/live", "/health/ready")]
PRICING = [("/quote", "/quote?minutes=12"), ("/tariff", "/tariff"), *HEALTH]
START, END = {"rider_id": "http", "station_id": "B1"}, {"station_id": "B1", "minutes": 1}
RIDE_END = {"rider_id": "ada", "cents": 100}
RIDE_START = {"rider_id": "ada", "bike_id": "b-01", "cents": 500}
RIDE_BACK = {"station_id": "C3", "cents": 120}
HTTP_SERVICES = ("rides", "stations", "wallet", "notices")
SERVICES = (*HTTP_SERVICES, *MESSAGE_SERVICES, *EVENT_SERVICES)
NOTICE = {"rider_id": "http", "ride_id": "http", "text": "Hello"}
RESOURCES = [
    Resource("rides", "/rides", "/rides?limit=2", writes={"POST": START}),
    Resource("rides", "/rides/{ride_id}", "/rides/{ride_id}"),
    Resource("rides", "/rides/{ride_id}/end", "/rides/{ride_id}/end", False, {"POST": END}),
    Resource("stations", "/stations", "/stations"),
    Resource("stations", "/stations/{station_id}", "/stations/B1"),
    Resource("stations", "/bikes/{bike_id}", "/bikes/b-01"),
    Resource("stations", "/stations/{station_id}/taken/{ride_id}", "/stations/B1/taken/http", False, {"PUT": None}),
    Resource("stations", "/stations/{station_id}/returned/{ride_id}", "/stations/B1/returned/http", False,
             {"PUT": None}),
    Resource("wallet", "/wallets/{rider_id}", "/wallets/http", writes={"PUT": {"deposited_cents": 9000}}),
    Resource("wallet", "/wallets", "/wallets?ids=http,ada"),
    Resource("wallet", "/holds/{ride_id}", "/holds/http", writes={"PUT": {"rider_id": "http", "cents": 5}}),
    Resource("wallet", "/holds/{ride_id}/captured", "/holds/http/captured", False, {"PUT": {"cents": 5}}),
    Resource("wallet", "/holds/{ride_id}/released", "/holds/http-2/released", False, {"PUT": None}),
    Resource("wallet", "/holds", "/holds?rider_id=http"),
    Resource("notices", "/notices/{notice_id}", "/notices/http", False, {"PUT": NOTICE}),
    Resource("notices", "/notices", "/notices?rider_id=http"),
    Resource("ride_ends", "/rides/{ride_id}/ended", "/rides/http/ended", False, {"PUT": RIDE_END}),
    Resource("ride_ends", "/rides/{ride_id}", "/rides/http"),
    Resource("billing", "/charges/{ride_id}", "/charges/http"),
    Resource("billing", "/billed", "/billed"),
    Resource("displays", "/heard", "/heard"),
    Resource("batteries", "/asked", "/asked"),
    Resource("starts", "/starts/{ride_id}", "/starts/start", writes={"PUT": RIDE_START}),
    Resource("starts", "/starts", "/starts"),
    Resource("holds", "/wallets/{rider_id}", "/wallets/poor"),
    Resource("holds", "/holds/{ride_id}", "/holds/start"),
    Resource("reservations", "/bikes/{bike_id}", "/bikes/b-09"),
    Resource("bolts", "/bolts/{bike_id}", "/bolts/b-09"),
    Resource("ride_book", "/rides/{ride_id}", "/rides/start"),
    Resource("ride_book", "/rides/{ride_id}/ended", "/rides/start/ended", False, {"PUT": RIDE_BACK}),
    Resource("relay", "/outboxes", "/outboxes"),
    Resource("citymap", "/map", "/map"),
    Resource("citymap", "/map/{ride_id}", "/map/start"),
    Resource("citymap", "/rebuilds", "/rebuilds", False, {"POST": None}),
    *(Resource(service, *paths) for service in SERVICES for paths in HEALTH),
    *(Resource(service, *paths) for service in ("pricing", "pricing_v2") for paths in PRICING),
]  # fmt: skip
READ = [each for each in RESOURCES if each.reads]
WRITTEN = [each for each in RESOURCES if each.writes]
TAGGED = [each for each in READ if not each.path.startswith("/health/")]


def named(resources: list[Resource]) -> Any:
    return pytest.mark.parametrize("resource", resources, ids=[f"{r.service} {r.path}" for r in resources])


@pytest.fixture(scope="module")
def ride_id(town: Town) -> str:
    """A ride that has ended; its rider also has holds and a notice."""
    ask = town.client
    assert ask.put("/wallets/http", json={"deposited_cents": 9000}).is_success
    for name in ("http", "http-2"):
        assert ask.put(f"/holds/{name}", json={"rider_id": "http", "cents": 5}).is_success
    assert ask.put("/notices/http", json=NOTICE).is_success
    with client_of(town.urls["ride_ends"]) as ends, client_of(town.urls["billing"]) as billing:
        assert ends.put("/rides/http/ended", json=RIDE_END).is_success
        eventually(lambda: billing.get("/charges/http").json()["charges"])  # until then its answer would change
    _ride_by_messages(town)
    ride = ask.post("/rides", json=START).json()
    assert ask.post(f"/rides/{ride['ride_id']}/end", json=END).is_success
    return str(ride["ride_id"])


def _ride_by_messages(town: Town) -> None:
    """Start and end the ride start in the city of chapter 05; return when nothing of it is on its way."""
    with ExitStack() as stack:
        names = ("starts", "ride_book", "holds", "citymap")
        starts, rides, wallet, citymap = (stack.enter_context(client_of(town.urls[name])) for name in names)
        assert starts.put("/starts/start", json=RIDE_START).is_success
        eventually(lambda: starts.get("/starts/start").json()["state"] == "started", within=30)
        assert rides.put("/rides/start/ended", json=RIDE_BACK).is_success
        eventually(lambda: wallet.get("/holds/start").json()["state"] == "captured", within=30)
        eventually(lambda: citymap.get("/map/start").json().get("state") == "ended", within=30)


@pytest.fixture
def at(town: Town, ride_id: str, resource: Resource) -> Iterator[Ask]:
    """The address of this test's resource."""
    with client_of(town.urls[resource.service]) as client:
        yield Ask(client, resource.example.format(ride_id=ride_id))


@dataclass(frozen=True)
class Ask:
    """Asks one address, and checks of each answer what holds for all of them."""

    client: httpx.Client
    path: str

    def __call__(self, method: str, suffix: str = "", **request: Any) -> httpx.Response:
        path, mark, query = self.path.partition("?")
        return polite(self.client.request(method, path + suffix + mark + query, **request))


def polite(answer: httpx.Response) -> httpx.Response:
    """Assert what every answer has: one Date, a body only where one may be, JSON in it, and no trace of our code."""
    headers = answer.headers
    assert len(headers.get_list("date")) == 1
    for name in ("vary", "etag", "allow", "cache-control", "content-type", "content-length"):
        assert len(headers.get_list(name)) <= 1, name
    if answer.status_code in (204, 304) or answer.request.method == "HEAD":
        assert answer.content == b""
    if answer.status_code in (204, 304):
        assert not {"content-type", "content-length"} & set(headers)
    else:
        kind = "problem+json" if answer.status_code >= 400 else "json"
        assert headers["content-type"] == f"application/{kind}"
    assert "Traceback" not in answer.text and ".py" not in answer.text
    return answer


def end_to_end(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in ON_OTHER_CONNECTIONS}


def test_every_address_is_in_the_table() -> None:
    """An endpoint that is added to a finished service is tested here too, or this test fails."""
    for service in (*SERVICES, "pricing"):
        app = importlib.import_module(f"lab_services.bikeshare.{service}").app
        routes = [each for each in app.routes if isinstance(each, APIRoute)]
        found = {each.path: {m for r in routes if r.path == each.path for m in r.methods} - {"HEAD"} for each in routes}
        assert found == {each.path: each.methods - {"HEAD"} for each in RESOURCES if each.service == service}


@named(RESOURCES)
def test_other_methods_are_refused_with_those_that_are_allowed(at: Ask, resource: Resource) -> None:
    """OPTIONS and 405 name every method of the address, not only those of the first route (15.5.6, 10.2.1)."""
    for method in METHODS - resource.methods:
        answer = at(method, headers={"content-type": "text/plain", "accept": "text/html"})
        assert (answer.status_code, answer.headers["allow"]) == (405, resource.allow), method
        assert method == "HEAD" or check_problem(answer, 405)["type"] == "about:blank"
    answer = at("OPTIONS")
    assert (answer.status_code, answer.headers["allow"]) == (204, resource.allow)


@named(READ)
def test_head_is_get_without_its_body(at: Ask) -> None:
    """The same status and fields, Content-Length too, and the connection stays in step (9.3.2)."""
    got, head = at("GET"), at("HEAD")
    assert (got.status_code, head.status_code) == (200, 200)
    assert end_to_end(head) == end_to_end(got)
    assert int(head.headers["content-length"]) == len(got.content) > 0
    assert at("GET").content == got.content


@named(RESOURCES)
def test_an_address_next_to_it_is_not_found(at: Ask) -> None:
    """One segment more, or a slash more, is a 404 problem, whatever else is wrong with the request (15.5.5)."""
    for suffix in ("/nothing/of/this/kind", "/"):
        for method in METHODS | {"OPTIONS"}:
            answer = at(method, suffix, headers={"accept": "text/html", "content-type": "text/plain"})
            assert answer.status_code == 404, (method, suffix)


@named(RESOURCES)
def test_who_takes_no_json_gets_none(at: Ask, resource: Resource) -> None:
    """An Accept without JSON, or with q=0 for it, is 406 before anything is done (12.5.1, 15.5.7)."""
    for accept in ("text/html", "application/json;q=0, application/problem+json;q=0.000, */*", "*/*;q=0"):
        for method in resource.methods:
            answer = at(method, headers={"accept": accept})
            assert (answer.status_code, answer.headers["vary"]) == (406, "Accept")
            if method != "HEAD":
                assert check_problem(answer, 406, "Accept")["errors"] == [{"field": "Accept"}]


@named(READ)
def test_who_takes_json_among_others_gets_it(at: Ask) -> None:
    """Wildcards, weights, several lines and problem documents alone are taken as JSON."""
    for accept in ("*/*;q=0.1", "text/html, application/*;q=0.001", "application/problem+json", "Application/JSON", ""):
        assert at("GET", headers={"accept": accept}).status_code == 200
    assert at("GET", headers=[("accept", "text/html"), ("accept", "application/json")]).status_code == 200


@named(READ)
def test_answers_vary_by_what_was_asked(at: Ask) -> None:
    """What depends on Accept says so, in a 200, a 304 and a refusal (12.5.5)."""
    assert at("GET").headers["vary"] == "Accept"
    assert at("GET", "/nothing/here").headers["vary"] == "Accept"


@named(RESOURCES)
def test_ten_megabytes_are_too_much(at: Ask, resource: Resource) -> None:
    """A large body is 413 whether its length is known before or only while it comes (15.5.14); then all is well."""
    parts = [b"x" * 65536] * (TEN_MEGABYTES // 65536)
    bodies: list[Any] = [b"x" * TEN_MEGABYTES, *([iter(parts)] if resource.service != "pricing_v2" else [])]
    for method in sorted(resource.methods - {"HEAD"}):
        for body in bodies if method in resource.writes or len(bodies) == 1 else bodies[:1]:
            body = iter(parts) if not isinstance(body, bytes) else body
            answer = at(method, content=body, headers={"content-type": "application/json"})
            assert check_problem(answer, 413, str(BODY_BYTES))["errors"] == [{"field": "body"}]
    assert at("OPTIONS").status_code == 204


@named(RESOURCES)
def test_a_body_that_is_not_said_to_be_json_is_refused(at: Ask, resource: Resource) -> None:
    """Another Content-Type, or none, is 415 and the answer names what is taken (15.5.16, 8.3)."""
    for method in sorted(resource.methods - {"HEAD"}):
        body = json.dumps(resource.writes.get(method) or {}).encode()
        for kind in (
            None, "text/plain", "application/x-www-form-urlencoded", "text/json", "json", "application/jsonx", "+json",
        ):  # fmt: skip
            headers = {"content-type": kind} if kind else {}
            answer = at(method, content=body, headers=headers)
            assert check_problem(answer, 415, "Content-Type")["errors"] == [{"field": "Content-Type"}]
            assert answer.headers["accept"] == "application/json"


@named([each for each in WRITTEN if any(each.writes.values())])
def test_a_body_in_a_content_coding_is_refused(at: Ask, resource: Resource) -> None:
    """A packed body is 415 and the answer says that none is taken (15.5.16, 12.5.3)."""
    for method, body in resource.writes.items():
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        answer = at(method, content=gzip.compress(json.dumps(body).encode()), headers=headers)
        assert check_problem(answer, 415, "Content-Encoding")["errors"] == [{"field": "Content-Encoding"}]
        assert answer.headers["accept-encoding"] == "identity"


@named([each for each in WRITTEN if each.path not in ("/rides", "/stations/{station_id}/taken/{ride_id}")])
def test_json_by_any_of_its_names_is_taken(at: Ask, resource: Resource) -> None:
    """A charset, another case, a +json type and a body in parts are all JSON."""
    for method, body in resource.writes.items():
        text = json.dumps(body).encode() if body else b""
        for kind in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.city+json"):
            statuses = [at(method, content=content, headers={"content-type": kind}).status_code
                        for content in (text, iter([text[:3], text[3:]]))]  # fmt: skip
            assert not {413, 415, 422, 500} & set(statuses), statuses


@named(TAGGED)
def test_an_unchanged_answer_is_not_sent_again(at: Ask) -> None:
    """The ETag is the hash of the content, and whoever has it gets a 304 with its fields (13.1.2, 15.4.5)."""
    full = at("GET")
    etag = full.headers["etag"]
    assert etag == f'"{hashlib.sha256(full.content).hexdigest()[:32]}"'
    assert full.headers["cache-control"] == "no-cache"
    for known in (etag, f"W/{etag}", f'"other", W/"another",{etag}', "*", f'"a, b" , {etag}'):
        for method in ("GET", "HEAD"):
            answer = at(method, headers={"if-none-match": known})
            assert answer.status_code == 304, known
            fields = end_to_end(answer)
            assert fields == {"etag": etag, "cache-control": "no-cache", "vary": "Accept"}
    assert at("GET", headers=[("if-none-match", '"x"'), ("if-none-match", etag)]).status_code == 304
    for unknown in ('"other"', etag.strip('"'), "", "W/", f'"{etag}', '"*"'):
        assert at("GET", headers={"if-none-match": unknown}).content == full.content


@named([each for each in READ if each not in TAGGED])
def test_health_is_said_each_time(at: Ask) -> None:
    """A probe wants the present answer: health has no ETag and is never a 304."""
    answer = at("GET", headers={"if-none-match": "*"})
    assert (answer.status_code, "etag" in answer.headers) == (200, False)


@named([each for each in WRITTEN if each.service != "pricing_v2"])
def test_a_condition_on_a_write_is_not_ignored(at: Ask, resource: Resource) -> None:
    """A service that tests no condition refuses the write instead of doing it (13.1)."""
    for method, body in resource.writes.items():
        for name, value in {"If-Match": '"1"', "If-None-Match": "*", "If-Unmodified-Since": "x"}.items():
            problem = check_problem(at(method, json=body, headers={name: value}), 400, name)
            assert problem["errors"] == [{"field": name}]


def test_refused_writes_have_changed_nothing(town: Town, ride_id: str) -> None:
    """406, 413, 415 and a condition are judged before the handler runs: no bike, hold or wallet moves."""
    name = f"http-{uuid4().hex[:8]}"
    wallet, good = f"/wallets/{name}", json.dumps({"deposited_cents": 5}).encode()
    before = town.client.get("/stations/B1").text
    for headers in (
        {"accept": "text/html"}, {"content-type": "text/plain"}, {"content-encoding": "br"}, {"if-match": '"1"'},
    ):  # fmt: skip
        headers = {"content-type": "application/json"} | headers
        assert town.client.put(wallet, content=good, headers=headers).status_code in (400, 406, 415)
    huge = good[:-1] + b" " * TEN_MEGABYTES + good[-1:]
    with client_of(town.urls["wallet"]) as client:
        for body in (huge, iter([huge])):
            assert client.put(wallet, content=body, headers={"content-type": "application/json"}).status_code == 413
    for number in range(9):
        path = f"/stations/B1/taken/{name}-{number}"
        assert town.client.put(path, headers={"accept": "text/html"}).status_code == 406
    assert town.client.get(wallet).status_code == 404
    assert town.client.get("/stations/B1").text == before


def test_an_etag_changes_with_its_resource(town: Town, ride_id: str) -> None:
    """What has changed is sent again, and the old tag comes back with the old content."""
    name = f"http-{uuid4().hex[:8]}"
    empty = town.client.get(f"/notices?rider_id={name}")
    town.client.put(f"/notices/{name}", json=NOTICE | {"rider_id": name})
    full = town.client.get(f"/notices?rider_id={name}", headers={"if-none-match": empty.headers["etag"]})
    assert (full.status_code, len(full.json()["notices"])) == (200, 1)
    assert full.headers["etag"] != empty.headers["etag"]


@pytest.mark.parametrize("sent", [
    f"Content-Length: {TEN_MEGABYTES}\r\n\r\n".encode(),
    f"Content-Length: {TEN_MEGABYTES}\r\nExpect: 100-continue\r\n\r\n".encode(),
    b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n1\r\nx\r\n",
], ids=["announced", "announced and asked for", "chunked"])  # fmt: skip
def test_a_large_body_is_refused_before_it_has_come(town: Town, sent: bytes) -> None:
    """The 413 comes at the announcement, or at the first byte too many, and the connection ends (RFC 9112, 9.6)."""
    address = urlsplit(town.urls["wallet"])
    head = b"PUT /wallets/http HTTP/1.1\r\nHost: city\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port), ANSWER_SECONDS) as connection:
        connection.sendall(head + sent)
        answer = b""
        while b'"field":"body"}]}' not in answer:
            answer += (part := connection.recv(65536))
            assert part, answer
        assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer.lower()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536) == b""


@pytest.mark.parametrize("front", ["gateway", "balancer"])
def test_what_stands_in_front_changes_nothing(town: Town, ride_id: str, front: str) -> None:
    """Through the gateway and through the balancer HEAD, 304, 405, 406, 413 and 415 arrive as they were given."""
    straight, ride = town.urls["rides"], f"/rides/{ride_id}"
    through = client_of(town.urls["gateway"])
    etag = httpx.get(straight + ride, trust_env=False).headers["etag"]
    kind = {"content-type": "application/json"}
    known = {"if-none-match": f'"1", W/{etag}'}
    huge = {"content": b"x" * TEN_MEGABYTES, "headers": kind}
    asks: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", ride, {}), ("HEAD", ride, {}), ("GET", "/rides/none", {}), ("HEAD", "/rides/none", {}),
        ("GET", ride, {"headers": known}), ("HEAD", ride, {"headers": {"if-none-match": "*"}}),
        ("PUT", ride, {}), ("OPTIONS", "/rides", {}), ("GET", ride, {"headers": {"accept": "text/html"}}),
        ("HEAD", ride, {"headers": {"accept": "text/html"}}), ("POST", "/rides", {"content": b"{}"}),
        ("POST", "/rides", {"content": b"x" * 100_000, "headers": kind}), ("POST", "/rides", {"json": {"a": 1}}),
    ]  # fmt: skip
    with client_of(straight) as direct, through:
        if front == "gateway":
            compare(direct, through, asks)
        else:
            with in_this_process(balancer.make_app(lambda: [straight])) as balanced:
                compare(direct, balanced, [*asks, ("POST", "/rides", huge)])


def compare(direct: httpx.Client, through: httpx.Client, asks: list[tuple[str, str, dict[str, Any]]]) -> None:
    for method, path, request in asks:
        one, other = (polite(client.request(method, path, **request)) for client in (direct, through))
        assert (other.status_code, other.content) == (one.status_code, one.content), (method, path, request)
        assert end_to_end(other) == end_to_end(one), (method, path, request)


def test_the_gateway_answers_for_itself_by_the_rules(town: Town) -> None:
    """Its own health takes GET and HEAD, and its own refusals are problems; HEAD of an unknown path has a length."""
    for path in ("/health/live", "/health/ready"):
        assert polite(town.client.head(path)).headers["content-length"] == str(len(town.client.get(path).content))
        assert polite(town.client.post(path)).headers["allow"] == "GET, HEAD"
    assert polite(town.client.head("/nowhere")).status_code == 404
    huge = town.client.put("/wallets/http", content=b"x" * TEN_MEGABYTES, headers={"content-type": "application/json"})
    assert check_problem(huge, 413, "body")["errors"] == [{"field": "body"}]


@pytest.fixture(scope="module")
def small() -> Iterator[httpx.Client]:
    """An app with what the finished services do not have: a large list, its own ETag, answers in parts, a mistake."""
    app = FastAPI()
    speak_problems(app)
    follow_http(app, conditional=True)

    @app.get("/health/ready")
    async def ready() -> None: ...

    @app.get("/large")
    async def large() -> list[str]:
        return ["bike" * 64] * 10_000

    @app.get("/own")
    async def own(response: Response) -> dict[str, int]:
        response.headers.update({"ETag": 'W/"7"', "Cache-Control": "max-age=60", "Vary": "X-City, accept"})
        return {"version": 7}

    @app.get("/parts")
    async def parts() -> StreamingResponse:
        return StreamingResponse(iter(["[1,", "2]"]), media_type="application/json")

    @app.get("/empty", status_code=204)
    async def empty() -> None: ...

    @app.head("/separate")
    async def separate_head() -> Response:
        return Response(headers={"X-Own": "yes"}, media_type="application/json")

    @app.get("/separate")
    async def separate() -> dict[str, int]:
        return {}

    @app.get("/page", response_class=Response)
    async def page() -> Response:
        return Response("<p>", media_type="text/html")

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret of the house")

    @app.get("/refused")
    async def refused() -> None:
        raise Problem(409, "no bike", "station A1 is empty")

    with in_this_process(app) as client:
        yield client


def test_a_large_list_has_an_etag_too(small: httpx.Client) -> None:
    """Two megabytes are hashed and compared like two bytes."""
    full = small.get("/large")
    assert len(full.content) > 2_000_000
    assert full.headers["etag"] == f'"{hashlib.sha256(full.content).hexdigest()[:32]}"'
    assert small.get("/large", headers={"if-none-match": full.headers["etag"]}).status_code == 304
    assert small.head("/large").headers["content-length"] == str(len(full.content))


def test_what_an_app_says_itself_is_kept(small: httpx.Client) -> None:
    """An ETag, Cache-Control and Vary of the app stay, and its ETag is the one that is compared."""
    own = small.get("/own")
    fields = {name: own.headers[name] for name in ("etag", "cache-control", "vary")}
    assert fields == {"etag": 'W/"7"', "cache-control": "max-age=60", "vary": "X-City, accept"}
    again = small.get("/own", headers={"if-none-match": '"7"'})
    assert (again.status_code, end_to_end(again)) == (304, fields)
    assert small.get("/own", headers={"if-none-match": '"8"'}).json() == {"version": 7}
    assert small.head("/separate").headers["x-own"] == "yes"


def test_an_answer_in_parts_stays_in_parts(small: httpx.Client) -> None:
    """What is streamed is not collected for a hash: no ETag, whole body, and HEAD without it."""
    answer = small.get("/parts", headers={"if-none-match": "*"})
    assert (answer.status_code, answer.json(), "etag" in answer.headers) == (200, [1, 2], False)
    assert (small.head("/parts").content, small.get("/parts").json()) == (b"", [1, 2])


def test_errors_have_no_etag_and_no_trace(small: httpx.Client) -> None:
    """A refusal, a mistake of ours and an empty answer have no ETag and give nothing away."""
    for path, status in (("/refused", 409), ("/broken", 500), ("/empty", 204)):
        for method in ("GET", "HEAD"):
            answer = polite(small.request(method, path, headers={"if-none-match": "*"}))
            assert (answer.status_code, "etag" in answer.headers, "secret" in answer.text) == (status, False, False)


def test_other_kinds_of_answers_are_left_alone(small: httpx.Client) -> None:
    """The pages of the documentation go to whoever takes HTML."""
    for path in ("/docs", "/redoc"):
        answer = small.get(path, headers={"accept": "text/html"})
        assert (answer.status_code, "etag" in answer.headers) == (200, False)
    assert small.get("/openapi.json", headers={"accept": "application/json"}).status_code == 200


def test_without_conditional_there_is_no_etag() -> None:
    """The other rules hold for the learner's service as well; its ETags are the learner's task."""
    app = FastAPI()
    speak_problems(app)
    follow_http(app)

    @app.get("/health/ready")
    async def ready() -> None: ...

    @app.get("/x")
    @app.put("/x")
    async def x() -> dict[str, int]:
        return {}

    with in_this_process(app) as client:
        answer = client.get("/x", headers={"if-none-match": "*"})
        assert (answer.status_code, "etag" in answer.headers) == (200, False)
        assert client.put("/x", headers={"if-match": '"1"'}).status_code == 200
        assert client.post("/x").headers["allow"] == "GET, HEAD, OPTIONS, PUT"


@pytest.mark.parametrize(("accept", "taken"), [
    ("*/*", True), ("application/json", True), ("", True), (" , ", True), ("text/html;q=0.9, */*;q=0.1", True),
    ("application/json;q=0", False), ("application/json;q=0, */*", True), ("application/*;q=0, */*", False),
    ("application/json;charset=utf-8", True), ("application/json;q=0.001", True), ("text/*", False),
    ("application/problem+json", True), ("application/json;q=0.0,application/problem+json;q=0", False),
    ("application/xml", False), ("APPLICATION/JSON", True), ("*/*;q=0, application/json", True), (";;,;q=", False),
])  # fmt: skip
def test_accept_is_read_as_it_is_meant(accept: str, taken: bool) -> None:
    """The most specific range decides, q=0 is a no, and an empty list excludes nothing (12.5.1)."""
    assert accepts_json(accept.encode()) is taken


def test_media_types_and_tags_are_compared_as_they_are_meant() -> None:
    """Parameters and case of a media type do not matter (8.3.1), nor the strength of a tag here (8.8.3.2)."""
    assert all(map(is_json, [b"application/json", b"application/problem+json ; a=b", b"APPLICATION/JSON;charset=x"]))
    assert not any(map(is_json, [b"", b"json", b"text/json", b"application/", b"application/+json",
                                 b"application/json, text/plain", b"application/a/b+json"]))  # fmt: skip
    assert matches(b'W/"1"', b'"1"') and matches(b'"1"', b'W/"1"') and matches(b" * ", b'"1"')
    assert not matches(b'"*"', b'"1"') and not matches(b"1", b'"1"') and not matches(b'"11"', b'"1"')
