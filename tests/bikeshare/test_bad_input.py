"""Whatever is sent: a 4xx problem that names the field, never a 500, and the laws hold afterwards."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.bikeshare.town import Town, check_problem

LONG = "x" * 8192
HUGE = 10**40
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


def method(path: str) -> str:
    return "POST" if path.startswith("/rides") else "PUT"


def send(city: Town, path: str, text: str | bytes) -> httpx.Response:
    return city.client.request(method(path), path, content=text, headers={"content-type": "application/json"})


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
