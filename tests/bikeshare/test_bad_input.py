"""Whatever is sent: a 4xx problem that names the field, never a 500, and the laws hold afterwards.

Here through the gateway of the city. The services of chapter 04 stand behind no gateway and keep books of their own:
their bad input, over HTTP and in messages, is in test_message_services.py.
"""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.bikeshare.town import Town, check_problem, client_of

LONG = "x" * 8192
HUGE = 10**40
TEN_MEGABYTES = 10 * 1024 * 1024
ANSWER_SECONDS = 10.0
JSON_BODY = {"content-type": "application/json"}
BAD_CENTS: list[Any] = [-1, HUGE, 100_000_001, 5.0, 0.1, "5", None, True, [5], {"cents": 5}]
BAD_IDS: list[Any] = ["", LONG, "a b", "a/b", "ü", "a\x00b", "\ud800", "a\n", 7, None, True, ["ada"]]
BAD_MINUTES: list[Any] = [-1, 1441, HUGE, 12.0, "12", None, True]

FIELDS = [
    *(("/wallets/mia", {"deposited_cents": bad}, "deposited_cents") for bad in BAD_CENTS),
    *(("/holds/x-1", {"rider_id": "ada", "cents": bad}, "cents") for bad in BAD_CENTS),
    *(("/holds/x-1", {"rider_id": bad, "cents": 5}, "rider_id") for bad in BAD_IDS),
    *(("/holds/x-1/captured", {"cents": bad}, "cents") for bad in BAD_CENTS),
    *(("/notices/x-1", {"rider_id": bad, "ride_id": "x", "text": "t"}, "rider_id") for bad in BAD_IDS),
    *(("/notices/x-1", {"rider_id": "x", "ride_id": "x", "text": bad}, "text") for bad in ["", LONG, 7, "\ud800"]),
    *(("/rides", {"rider_id": bad, "station_id": "A1"}, "rider_id") for bad in BAD_IDS),
    *(("/rides", {"rider_id": "ada", "station_id": bad}, "station_id") for bad in BAD_IDS),
    *(("/rides/r-1/end", {"station_id": bad, "minutes": 1}, "station_id") for bad in BAD_IDS),
    *(("/rides/r-1/end", {"station_id": "A1", "minutes": bad}, "minutes") for bad in BAD_MINUTES),
]
BODIES = [
    ("/wallets/mia", {"deposited_cents": 5}),
    ("/holds/x-1", {"rider_id": "ada", "cents": 5}),
    ("/holds/x-1/captured", {"cents": 5}),
    ("/notices/x-1", {"rider_id": "x", "ride_id": "x", "text": "t"}),
    ("/rides", {"rider_id": "ada", "station_id": "A1"}),
    ("/rides/r-1/end", {"station_id": "A1", "minutes": 1}),
]
SERVICES = {"wallets": "wallet", "holds": "wallet", "notices": "notices", "rides": "rides", "stations": "stations"}
SERVICES |= {"bikes": "stations", "quote": "pricing", "tariff": "pricing"}
ADDRESSES = [
    *((method, path) for path, _ in BODIES for method in ("PUT", "POST")),
    *(("PUT", path) for path in ("/stations/E1/taken/x-1", "/stations/E1/returned/x-1", "/holds/x-1/released")),
    *(("GET", path) for path in (
        "/wallets/ada", "/wallets?ids=ada", "/holds/x-1", "/holds?rider_id=ada", "/notices?rider_id=ada", "/rides",
        "/rides/r-1", "/stations", "/stations/A1", "/bikes/b-01", "/quote?minutes=1", "/tariff")),
]  # fmt: skip


def method(path: str) -> str:
    return "POST" if path.startswith("/rides") else "PUT"


def send(city: Town, path: str, text: str | bytes) -> httpx.Response:
    return city.client.request(method(path), path, content=text, headers=JSON_BODY)


def names(problem: dict[str, Any]) -> list[str]:
    return [each["field"] for each in problem["errors"]]


@pytest.fixture(autouse=True)
def laws_hold(lawful_city: None) -> None:
    """After each test of this file the whole city is audited."""


def test_a_bad_value_is_refused_by_the_name_of_its_field(city: Town) -> None:
    """Negative, huge, float and foreign values in every field of every body are 422, and name that field."""
    for path, body, field in FIELDS:
        problem = check_problem(send(city, path, json.dumps(body)), 422, field)
        assert names(problem) == [field], (path, body)


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_missing_and_unknown_fields_are_named(city: Town, path: str, body: dict[str, Any]) -> None:
    """A field too few and a field too many are 422, each under its own name."""
    for field in body:
        rest = {name: value for name, value in body.items() if name != field}
        assert names(check_problem(send(city, path, json.dumps(rest)), 422, field)) == [field]
    more = body | {"tip_cents": 5}
    assert names(check_problem(send(city, path, json.dumps(more)), 422, "tip_cents")) == ["tip_cents"]


@pytest.mark.parametrize("text", ["", "{", '{"cents": 5', "nul", "[" * 5000, "\x00", '{"a": 1e999999'])
def test_a_body_that_is_not_json_is_refused(city: Town, text: str) -> None:
    """Broken, empty and bottomless JSON is a 4xx problem about the body."""
    for path, _ in BODIES:
        answer = send(city, path, text)
        assert answer.status_code in (400, 422)
        check_problem(answer, answer.status_code, "body")


@pytest.mark.parametrize("body", [b"[]", b"7", b'"ada"', b"null", b"NaN", b"\xff\xfe", b"9" * 5000])
def test_json_that_is_no_object_is_refused(city: Town, body: bytes) -> None:
    """A list, a number, bytes that are no text: 4xx, and no trace of our code in the answer."""
    for path, _ in BODIES:
        answer = send(city, path, body)
        assert answer.status_code in (400, 422)
        check_problem(answer, answer.status_code)


@pytest.mark.parametrize(
    "path",
    [
        f"/wallets/{LONG}", f"/holds/{LONG}", f"/stations/{LONG}", f"/bikes/{LONG}", f"/rides/{LONG}",
        "/wallets/a%00b", "/rides/%F0%28", "/stations/%20", "/bikes/a%2Fb", "/holds?rider_id=a%20b",
        f"/notices?rider_id={LONG}", "/notices", "/wallets", f"/wallets?ids={','.join(map(str, range(201)))}",
        "/rides?limit=0", "/rides?limit=501", "/rides?limit=ten", f"/rides?limit={HUGE}",
        "/rides?state=lost", "/quote?minutes=-1",
    ],
)  # fmt: skip
def test_a_bad_path_or_query_is_refused(city: Town, path: str) -> None:
    """Ids of eight kilobytes, half characters and limits out of range are 4xx problems."""
    answer = city.client.get(path)
    assert answer.status_code in (404, 422), answer.text
    check_problem(answer, answer.status_code)
    assert len(answer.content) < 1000


@pytest.mark.parametrize("path", ["/stations/A1/taken/a%20b", f"/stations/A1/taken/{LONG}", f"/holds/{LONG}/released"])
def test_a_bad_id_changes_nothing(city: Town, path: str) -> None:
    """A PUT to an id that cannot be is refused before anything moves."""
    before = city.client.get("/stations").json()
    check_problem(city.client.put(path), 422)
    assert city.client.get("/stations").json() == before


@pytest.mark.parametrize(("path", "field"), [
    (f"/wallets/{LONG}", "rider_id"), (f"/holds/{LONG}", "ride_id"), (f"/holds?rider_id={LONG}", "rider_id"),
    (f"/notices?rider_id={LONG}", "rider_id"), (f"/rides/{LONG}", "ride_id"), (f"/stations/{LONG}", "station_id"),
    (f"/bikes/{LONG}", "bike_id"), (f"/quote?minutes={LONG}", "minutes"), (f"/rides?state={LONG}", "state"),
    (f"/rides?limit={LONG}", "limit"), (f"/wallets?ids=ada,{LONG}", "ids"),
    ("/wallets?ids=a%20b", "ids"), ("/wallets?ids=", "ids"), ("/wallets?ids=" + "a," * 4096, "ids"),
])  # fmt: skip
def test_eight_kilobytes_of_id_are_refused_by_name(city: Town, path: str, field: str) -> None:
    """What is too long in a path or a query is named, and not sent back."""
    answer = city.client.get(path)
    assert names(check_problem(answer, 422, field)) == [field]
    assert len(answer.content) < 1000


def test_ten_megabytes_are_refused_at_every_address(city: Town) -> None:
    """Whoever sends them, to the gateway or past it, gets a 413 that names the body, or a 405."""
    for how, path in ADDRESSES:
        for url in (city.urls["gateway"], city.urls[SERVICES[path.split("?")[0].split("/")[1]]]):
            with client_of(url) as client:
                answer = client.request(how, path, content=b" " * TEN_MEGABYTES, headers=JSON_BODY)
            assert answer.status_code in (405, 413), (how, path)
            problem = check_problem(answer, answer.status_code)
            assert answer.status_code == 405 or names(problem) == ["body"]


@pytest.mark.parametrize("kind", ["text/plain", "text/json", "multipart/form-data; boundary=x", "a/b/c", "\u00fc", ""])
def test_a_body_of_another_kind_is_refused(city: Town, kind: str) -> None:
    """An unknown, broken or empty Content-Type is a 415 that names it, also for a body that would have been good."""
    for path, body in BODIES:
        content = json.dumps(body).encode()
        answer = city.client.request(method(path), path, content=content, headers={"content-type": kind.encode()})
        assert names(check_problem(answer, 415, "Content-Type")) == ["Content-Type"]


@pytest.mark.parametrize("target", [
    "/wallets/../holds/x-1", "/wallets/ada/../bo", "/wallets/%2e%2e/holds", "/wallets/..%2fada", "/wallets//ada",
    "//wallets/ada", "/wallets/ada/", "/WALLETS/ada", "/wallets/ada;v=1", "/wallets/ada%2Fheld", "/wallets/..%5Cada",
    "/wallets/%00", "/stations/A1/../../wallets/ada", "/stations/%41%31%20", "/rides/./r-1", "/health/../wallets/ada",
    "/%", "/%zz/ada", "/wallets/ada%0d%0aX-Injected:%20yes", "/rides/r-1%0aX-Injected:%20yes",
    "/notices?rider_id=a%0d%0aX-Injected:yes",
    "/stations/A1%0d%0a%0d%0a<html>", "/wallets/ada?%0d%0aX-Injected=yes/../..", "/..", "/.", "/etc/passwd",
])  # fmt: skip
def test_a_tricky_path_leads_nowhere(city: Town, target: str) -> None:
    """Dots, slashes, escapes and line ends in a path reach no other resource, and come back in no header."""
    for url in (city.urls["gateway"], city.urls["wallet"], city.urls["rides"], city.urls["stations"]):
        head, body = raw(url, f"GET {target} HTTP/1.1\r\nHost: city\r\nConnection: close\r\n\r\n".encode())
        good = target.startswith("/wallets/ada?") and url not in (city.urls["rides"], city.urls["stations"])
        assert head.split()[1] in ((b"200",) if good else (b"400", b"404", b"422")), (url, head)
        assert b"x-injected" not in head.lower() and b"location" not in head.lower()
        assert good or json.loads(body)["status"] == int(head.split()[1])
        assert b"Traceback" not in body and b"root:" not in body


@pytest.mark.parametrize("line", [
    b"X-Rider: a\rb", b"X-Rider: a\x00b", b"X Rider: a", b": a", b"X-Rider\x00: a", b"Content-Length: -1",
    b"Content-Length: 1_0", b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
])  # fmt: skip
def test_a_broken_header_is_refused_whole(city: Town, line: bytes) -> None:
    """A header that could be read in two ways is a 400, and the connection ends with it."""
    request = b"PUT /wallets/mia HTTP/1.1\r\nHost: city\r\nContent-Type: application/json\r\n" + line + b"\r\n\r\n"
    for name in ("gateway", "wallet"):
        head, body = raw(city.urls[name], request + b"{}0\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and b"Traceback" not in body
    assert city.client.get("/wallets/mia").status_code == 404


SPOOFED = {
    "X-User": "bo", "X-Rider-Id": "bo", "X-Forwarded-User": "bo", "Remote-User": "bo", "Authorization": "Bearer bo",
    "Cookie": "rider_id=bo", "X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/wallets/bo", "Forwarded": "for=bo",
    "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https",
}  # fmt: skip


def test_who_one_claims_to_be_changes_nothing(city: Town) -> None:
    """No header makes a rider of somebody, or another request of this one; another Host comes back nowhere."""
    for how, path in ADDRESSES:
        plain = city.client.request(how, path)
        spoofed = city.client.request(how, path, headers=SPOOFED | {"Host": "evil.example"})
        assert (spoofed.status_code, spoofed.content) == (plain.status_code, plain.content), (how, path)
        assert "evil" not in str(spoofed.headers)


@pytest.mark.parametrize("name", ["rider_id", "user", "captured_cents", "balance_cents", "state", "__class__"])
def test_nobody_writes_what_is_not_his_to_say(city: Town, name: str) -> None:
    """A rider, balance or state that is slipped into a body is an unknown field, and is named."""
    for path, body in BODIES:
        if name not in body:
            answer = send(city, path, json.dumps(body | {name: "bo"}))
            assert names(check_problem(answer, 422, name)) == [name]


def raw(url: str, request: bytes) -> tuple[bytes, bytes]:
    """Send these very bytes; return the head and the body of the answer, read to the end of the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), ANSWER_SECONDS) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(values=some.tuples(JSON, JSON))
def test_no_json_value_is_a_500(city: Town, values: tuple[Any, Any]) -> None:
    """Any JSON value in any field is answered by less than 500."""
    for path, body in BODIES:
        strange = dict(zip(body, values, strict=False))
        assert send(city, path, json.dumps(body | strange)).status_code < 500, (path, strange)
