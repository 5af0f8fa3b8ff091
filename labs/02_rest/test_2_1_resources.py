"""Checks of task 2.1: addresses are nouns, methods and codes are HTTP's own, and the document says what happens."""

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from lab_services.checks import expect, rows
from lab_services.checks.contract import ContractTool

web = httpx.Client(timeout=8, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
RIDES, REPORT = "rides.py: start_ride, show_ride, end_ride and STATUS", "report.py: the four methods of one address"
START = {"rider_id": "ada", "station_id": "A1"}
END = {"station_id": "B2", "minutes": 12}
DAMAGE = {"part": "brake", "text": "squeals", "severity": 2, "note": "front wheel"}
HUGE = 10**30
TABLE = {  # what the document must say: each operation, and the codes that it answers beside 400, 422 and 503
    "POST /rides": (201, 402, 404, 409),
    "GET /rides/{}": (200, 404),
    "PUT /rides/{}/end": (200, 404, 409),
    "GET /rides/{}/report": (200, 404),
    "PUT /rides/{}/report": (200, 201, 404),
    "PATCH /rides/{}/report": (200, 404),
    "DELETE /rides/{}/report": (204,),
}
BEFORE = [  # the addresses of the interface that grew, and those that a verb in a path would have
    ("POST", "/start_ride", START),
    ("GET", "/start_ride?rider_id=ada&station_id=A1", None),
    ("GET", "/show_ride?ride_id={ride}", None),
    ("GET", "/end_ride?ride_id={ride}&station_id=B2&minutes=12", None),
    ("POST", "/end_ride?ride_id={ride}&station_id=B2&minutes=12", END),
    ("GET", "/rides/{ride}/end?station_id=B2&minutes=12", None),
    ("POST", "/rides/{ride}/end?station_id=B2&minutes=12", END),
    ("GET", "/get_report?ride_id={ride}", None),
    ("POST", "/report", {"ride_id": "{ride}", **DAMAGE}),
    ("POST", "/rides/{ride}/report", DAMAGE),
    ("GET", "/delete_report?ride_id={ride}", None),
    ("GET", "/rides/{ride}/report/delete", None),
]
REFUSED = [  # with the codes that are right, when station A1 is empty
    ("POST", "/rides", {**START, "rider_id": "poor", "station_id": "C3"}, [402]),
    ("POST", "/rides", {**START, "rider_id": "chen"}, [409]),
    ("POST", "/rides", {**START, "rider_id": "nobody"}, [404, 422]),
    ("POST", "/rides", {"rider_id": "chen", "station_id": "Z9"}, [404, 422]),
    ("GET", "/rides/r-none", None, [404]),
    ("PUT", "/rides/r-none/end", END, [404]),
    ("GET", "/rides/r-none/report", None, [404]),
    ("PUT", "/rides/r-none/report", DAMAGE, [404]),
    ("PATCH", "/rides/r-none/report", {"severity": 3}, [404]),
    ("POST", "/rides", {**START, "station_id": "C3"}, [503]),  # the last one, without a wallet
]
WORSE = {"severity": 3, "text": "screams"}
RUSTY = {"part": "chain", "text": "rusty", "severity": 1}
WRITES = [  # one after the other: method, body, the code that is right, the report behind it, and why
    ("PUT", DAMAGE, 201, DAMAGE, "the first report is created"),
    ("PUT", DAMAGE, 200, DAMAGE, "the same PUT again creates nothing"),
    ("PATCH", WORSE, 200, {**DAMAGE, **WORSE}, "PATCH leaves alone what it does not name"),
    ("PATCH", WORSE, 200, {**DAMAGE, **WORSE}, "this patch may be repeated"),
    ("PATCH", {"note": None}, 200, {**DAMAGE, **WORSE, "note": None}, "null removes (RFC 7396)"),
    ("PATCH", {"note": "both"}, 200, {**DAMAGE, **WORSE, "note": "both"}, "PATCH may add a field"),
    ("PUT", RUSTY, 200, RUSTY, "PUT replaces: what the body leaves out is gone (RFC 9110, section 9.3.4)"),
]
BAD_START = [
    ({"station_id": "A1"}, "rider_id"),
    ({**START, "tip": 5}, "tip"),
    ({**START, "rider_id": 5}, "rider_id"),
    ({**START, "rider_id": "x" * 8192}, "rider_id"),
    ({**START, "station_id": "../wallets/ada"}, "station_id"),
    ({**START, "station_id": None}, "station_id"),
]
BAD_END = [
    ({"station_id": "B2"}, "minutes"),
    ({**END, "minutes": -1}, "minutes"),
    ({**END, "minutes": HUGE}, "minutes"),
    ({**END, "minutes": 12.5}, "minutes"),
    ({**END, "minutes": "12"}, "minutes"),
    ({**END, "cents": 0}, "cents"),
]
BAD_REPORT = [
    ({"part": "brake", "severity": 2}, "text"),
    ({**DAMAGE, "part": "wing"}, "part"),
    ({**DAMAGE, "severity": 4}, "severity"),
    ({**DAMAGE, "severity": 1.5}, "severity"),
    ({**DAMAGE, "text": "x" * 8192}, "text"),
    ({**DAMAGE, "state": "ended"}, "state"),
]
BAD_PATCH = [({"severity": 9}, "severity"), ({"part": None}, "part"), ({"cents": 0}, "cents"), ({"text": 1}, "text")]
NO_OBJECTS: list[tuple[Any, str]] = [(b"", ""), (b'{"text": ', ""), ([1], ""), ("x", "")]
ON_A_RIDE = [("GET", "", None), ("PUT", "/end", END), ("PUT", "/report", DAMAGE), ("DELETE", "/report", None)]
STRANGE = [
    "x" * 8192,
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "%0d%0aSet-Cookie:%20a=b",
    "r-1%27%20OR%201=1--",
    "%F0%9F%9A%B2",
]


@pytest.fixture
def importing_tool() -> Iterator[ContractTool]:
    """schemathesis, which imports itself while the city starts."""
    with ContractTool() as tool:
        yield tool


@pytest.fixture
def schemathesis(importing_tool: ContractTool, city: Any) -> ContractTool:
    """schemathesis, ready to ask the city."""
    importing_tool.get_ready()
    return importing_tool


def ask(city: Any, method: str, path: str, body: Any = None, kind: str = "application/json") -> httpx.Response:
    """Send a body as it is when it is bytes, and otherwise as JSON."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": kind} if content is not None else {}
    return web.request(method, city["rides"].url + path, content=content, headers=headers)


def patch(city: Any, ride_id: str, changes: Any) -> httpx.Response:
    return ask(city, "PATCH", f"/rides/{ride_id}/report", changes, "application/merge-patch+json")


def read(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer, or {} when there is none."""
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def some_ride(city: Any, rider_id: str = "ada") -> str:
    """Start a ride at the new address, or where there is none at the old one, and return its id."""
    wish = {**START, "rider_id": rider_id}
    new = ask(city, "POST", "/rides", wish)
    return str(read(new if new.is_success else ask(city, "POST", "/start_ride", wish)).get("ride_id", "r-none"))


def stored(city: Any) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables of the services: rides, stations and wallet."""
    found = {}
    for name in ("rides", "stations", "wallet"):
        file = city[name].data / f"{name}.db"
        for table in rows(file, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"):
            found[f"{name}.{table['name']}"] = rows(file, f"SELECT * FROM {table['name']}")
    return found


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the rows that are new or other than before, table by table."""
    names = sorted(before.keys() | after.keys())
    return [f"{name}: {row}" for name in names for row in after.get(name, []) if row not in before.get(name, [])] + [
        f"{name}: a row is gone, {row}"
        for name in names
        for row in before.get(name, [])
        if len(after.get(name, [])) < len(before[name]) and row not in after.get(name, [])
    ]


def is_problem(answer: httpx.Response) -> bool:
    """Tell whether an answer is a problem document (RFC 9457) that fits its status and shows nothing of the inside."""
    inside = re.search(r"Traceback|File \\?\"|\.py\b", answer.text)
    kind = answer.headers.get("content-type", "").partition(";")[0]
    document = read(answer)
    told = {"type", "title", "detail"} <= document.keys() and document.get("status") == answer.status_code
    return kind == "application/problem+json" and told and not inside


def document_of(city: Any) -> dict[str, dict[str, Any]]:
    """Return what the document says: each operation, such as "PUT /rides/{}/end", without those of health."""
    paths = read(ask(city, "GET", "/openapi.json")).get("paths", {})
    return {
        f"{method.upper()} {re.sub('{[^}]*}', '{}', path)}": operation | {"path": path}
        for path, methods in paths.items()
        if not path.startswith("/health")
        for method, operation in methods.items()
        if isinstance(operation, dict)
    }


def readable(city: Any, ride_id: str) -> Iterator[str]:
    """Yield what a browser or a crawler may GET: the document, the table, and the addresses of before."""
    values = {"rider_id": "ada", "station_id": "B2", "minutes": 12}
    for name, operation in document_of(city).items():
        query = [p["name"] for p in operation.get("parameters", []) if p.get("in") == "query"]
        parts = "&".join(f"{each}={values.get(each, ride_id)}" for each in query)
        if name.startswith("GET "):
            yield re.sub("{[^}]*}", ride_id, operation["path"]) + (f"?{parts}" if parts else "")
    yield from [name.partition(" ")[2].replace("{}", ride_id) for name in TABLE]
    yield from [path.replace("{ride}", ride_id) for _, path, _ in BEFORE]


def bad_input(ride_id: str) -> Iterator[tuple[str, str, Any, str]]:
    """Yield method, path, a body that is wrong, and the name of the field that is to be told."""
    routes = [("POST", "", BAD_START), ("PUT", f"/{ride_id}/end", BAD_END)]
    routes += [("PUT", f"/{ride_id}/report", BAD_REPORT), ("PATCH", f"/{ride_id}/report", BAD_PATCH)]
    for method, rest, bodies in routes:
        for body, name in [*bodies, *NO_OBJECTS]:
            yield method, f"/rides{rest}", body, name


def test_a_new_ride_has_an_address(city: Any) -> None:
    """POST /rides answers 201 with the ride and a Location, and a GET of that address finds the same ride."""
    answer = ask(city, "POST", "/rides", START)
    place = answer.headers.get("location", "")
    expect(
        answer.status_code == 201 and place and read(answer).get("state") == "started",
        sent="POST /rides for ada at A1",
        expected="201, the ride, and the header Location: /rides/{id}",
        came=f"{answer.status_code} {answer.text}, Location: {place or 'none'}",
        why="who creates something is told where it is (RFC 9110, section 15.3.2): no client builds addresses by hand",
        look=RIDES,
        service="rides",
    )
    address = urljoin(str(answer.url), place)
    found = ask(city, "GET", urlsplit(address).path)
    expect(
        address.startswith(f"{city['rides'].url}/rides/") and found.is_success and read(found) == read(answer),
        sent=f"GET {place}, the Location of a new ride",
        expected=f"200 {answer.text}",
        came=found,
        why="an address that was given out leads to what it names",
        look=RIDES,
        service="rides",
    )


def test_each_refusal_has_its_code(city: Any) -> None:
    """What cannot be done is refused with the code that says why: 402, 404, 409, 503, each as a problem document."""
    for rider_id in ["ada", "ada", "bo", "bo"]:  # the four bikes of A1
        some_ride(city, rider_id)
    for method, path, body, codes in REFUSED:
        if codes == [503]:
            city.kill("wallet")
        answer = ask(city, method, path, body)
        sent = f"{method} {path} {body or ''}" + (", while the wallet is away" if codes == [503] else "")
        expect(answer.status_code in codes, sent=sent, expected=" or ".join(map(str, codes)), came=answer,
               why="clients, caches and monitors read the code, not the text: 402 asks for money, 409 for another "
               "station, 503 for patience, and an error that says 200 is taken for a success",
               look=RIDES, service="rides")  # fmt: skip
        expect(is_problem(answer), sent=sent,
               expected="application/problem+json with type, title, status and detail, and nothing of the inside",
               came=f"{answer.headers.get('content-type')}: {answer.text}",
               why="one form of error for all clients (RFC 9457); a stack trace tells strangers how to get in",
               look="rides.py: leave refusals to `refuse`; do not build errors of your own",
               service="rides")  # fmt: skip


def test_the_same_end_again_changes_nothing(city: Any) -> None:
    """PUT of an end is answered in the same way each time, is paid once, and another end of the ride is a 409."""
    path = f"/rides/{some_ride(city)}/end"
    first = ask(city, "PUT", path, END)
    before = stored(city)
    expect(first.status_code == 200 and (read(first).get("state"), read(first).get("cents")) == ("ended", 340),
           sent=f"PUT {path} at B2 after 12 minutes", expected="200 and the ride, ended, for 340 cents",
           came=first, why="the end of a ride is a thing that a rider puts there", look=RIDES,
           service="rides")  # fmt: skip
    again = [ask(city, "PUT", path, END) for _ in range(3)]
    expect(
        all((a.status_code, a.text) == (200, first.text) for a in again) and not changes(before, stored(city)),
        sent=f"three times more PUT {path}, the same end",
        expected=f"three times 200 {first.text}",
        came=next((a for a in again if (a.status_code, a.text) != (200, first.text)), changes(before, stored(city))),
        why="a phone that lost the answer asks again: PUT is idempotent (RFC 9110, section 9.2.2), that does no harm",
        look="rides.py: end_ride",
        service="rides",
    )
    others = [ask(city, "PUT", path, {**END, **other}) for other in ({"minutes": 1}, {"station_id": "C3"})]
    wrong = [a for a in others if a.status_code != 409] or changes(before, stored(city)) or city.laws().broken
    expect(not wrong, sent=f"PUT {path} with 1 minute, then with station C3", expected="409 twice, nothing changed",
           came=wrong and wrong[0], why="a ride has one end; 200 would tell the rider that the new one counts",
           look="rides.py: end_ride", service="rides")  # fmt: skip


def test_put_replaces_the_report_and_patch_merges(city: Any) -> None:
    """PUT makes the report what the body says; PATCH changes the fields it names, and null removes the note."""
    ride_id = some_ride(city)
    path = f"/rides/{ride_id}/report"
    for method, body, code, report, why in WRITES:
        answer = patch(city, ride_id, body) if method == "PATCH" else ask(city, method, path, body)
        found = ask(city, "GET", path)
        right, told = without_nulls(report), [without_nulls(read(each)) for each in (answer, found)]
        kept = told[1] == right and (told[0] == right or method == "PUT")  # what a PUT answers is not in the table
        expect(answer.status_code == code and kept, sent=f"{method} {path} {json.dumps(body)}, then GET",
               expected=f"{code}, then {json.dumps(right)}", came=f"{answer.status_code} {answer.text}, {found.text}",
               why=why, look=REPORT, service="rides")  # fmt: skip


def test_a_deleted_report_is_gone(city: Any) -> None:
    """DELETE takes this report away with 204 and no body; again, it does no harm, and a new one can be written."""
    path, other = f"/rides/{some_ride(city)}/report", f"/rides/{some_ride(city, 'bo')}/report"
    ask(city, "PUT", path, DAMAGE), ask(city, "PUT", other, DAMAGE)
    first, found, again = ask(city, "DELETE", path), ask(city, "GET", path), ask(city, "DELETE", path)
    left = ask(city, "GET", other)
    expect(first.status_code == 204 and not first.content and (found.status_code, left.status_code) == (404, 200),
           sent=f"PUT, DELETE and GET {path}, then GET of the report of another ride",
           expected="204 without a body, 404, and 200 for the other ride",
           came=[f"{answer.status_code} {answer.text}" for answer in (first, found, left)],
           why="what was deleted is not there, and 204 says that nothing is left to tell",
           look="report.py: delete_report", service="rides")  # fmt: skip
    fresh = ask(city, "PUT", path, DAMAGE)
    expect(
        (again.status_code == 204 or (again.status_code == 404 and is_problem(again))) and fresh.status_code == 201,
        sent=f"DELETE {path} a second time, then PUT",
        expected="204 or 404, then 201",
        came=[f"{answer.status_code} {answer.text}" for answer in (again, fresh)],
        why="who lost the answer of a DELETE sends it again: it is idempotent, and no reason for a 500",
        look="report.py: delete_report",
        service="rides",
    )


def test_reading_changes_nothing(city: Any) -> None:
    """GET and HEAD of every address there is, or was, leave all rows of all services as they are."""
    ride_id = some_ride(city)
    ask(city, "PUT", f"/rides/{ride_id}/report", DAMAGE)
    for path in dict.fromkeys(readable(city, ride_id)):
        before = stored(city)
        answers = [ask(city, method, path) for method in ("HEAD", "GET")]
        changed = changes(before, stored(city))
        expect(not changed, sent=f"HEAD and GET {path}, as a browser does that fetches links ahead",
               expected="no row of any service is new, changed or gone", came=[*changed, answers[1].text],
               why="GET is safe (RFC 9110, section 9.2.1): browsers, crawlers and caches send it without being asked",
               look=RIDES, service="rides")  # fmt: skip


def test_no_verb_is_left(city: Any) -> None:
    """The addresses of before, which name what is done, are gone: 404, 405 or 410."""
    ride_id = some_ride(city)
    before = stored(city)
    for method, path, body in BEFORE:
        sent = {name: ride_id if value == "{ride}" else value for name, value in body.items()} if body else None
        answer = ask(city, method, path.replace("{ride}", ride_id), sent)
        expect(
            answer.status_code in (404, 405, 410) and not changes(before, stored(city)),
            sent=f"{method} {path.replace('{ride}', ride_id)}, which is none of the table's",
            expected="404, 405 or 410",
            came=answer,
            why="two ways to do one thing are two places to forget: the address names a thing, the method says what is "
            "done with it",
            look="rides.py and report.py: routes beside those of the table",
            service="rides",
        )


def test_bad_input_is_refused_by_name(city: Any) -> None:
    """Missing, extra, wrong and huge fields are refused with 4xx and the name of the field, and leave no row behind."""
    ride_id = some_ride(city)
    ask(city, "PUT", f"/rides/{ride_id}/report", DAMAGE)
    before = stored(city)
    for method, path, body, name in bad_input(ride_id):
        answer = patch(city, ride_id, body) if method == "PATCH" else ask(city, method, path, body)
        named = name in json.dumps([read(answer).get("errors"), read(answer).get("detail")])
        expect(answer.status_code in (400, 413, 415, 422) and is_problem(answer) and named,
               sent=f"{method} {path} {str(body)[:120]}", expected=f"400 or 422 that names {name or 'the body'}",
               came=answer, why="the client made a mistake and must hear which; 500 would wake somebody at night",
               look="the bodies: Start, End, Report and MergePatch of rides_words.py", service="rides")  # fmt: skip
    wrong = changes(before, stored(city)) or city.laws().broken
    expect(not wrong, sent="all of this bad input", expected="no row is new, all laws are kept", came=wrong,
           why="what was refused has not happened", look=RIDES, service="rides")  # fmt: skip


def test_strange_addresses_do_no_harm(city: Any) -> None:
    """Ids of 8 kB, paths upwards, line ends and quotes in an address are answered 4xx, and leave no row behind."""
    some_ride(city)
    before = stored(city)
    for (method, rest, body), strange in product(ON_A_RIDE, STRANGE):
        answer = ask(city, method, f"/rides/{strange}{rest}", body)
        harmless = method == "DELETE" and answer.status_code == 204
        expect(harmless or (400 <= answer.status_code < 500 and "set-cookie" not in answer.headers),
               sent=f"{method} /rides/{strange[:60]}{rest}", expected="4xx", came=answer,
               why="an address is input like any other", look=RIDES, service="rides")  # fmt: skip
    changed = changes(before, stored(city)) or city.laws().broken
    expect(not changed, sent="all of these addresses", expected="no row is new", came=changed,
           why="what was refused has not happened", look=RIDES, service="rides")  # fmt: skip


def test_the_document_tells_the_truth(schemathesis: ContractTool, city: Any) -> None:
    """The OpenAPI document lists the table with its codes, and schemathesis finds no answer that is not in it."""
    ride_id = some_ride(city, "bo")
    document = document_of(city)
    for name, codes in TABLE.items():
        told = {code[0] if "X" in code.upper() else code for code in document.get(name, {}).get("responses", {})}
        missing = [code for code in codes if not {str(code), str(code)[0], "default"} & told]
        expect(name in document and not missing, sent="GET /openapi.json", expected=f"{name} with {list(codes)}",
               came=f"{name} with {sorted(told)}" if name in document else f"no {name}, but {sorted(document)}",
               why="clients are written from the document: what it does not say comes as a surprise",
               look="rides.py and report.py: responses=words.refusals(...)", service="rides")  # fmt: skip
    known = {name: ride_id for each in document.values() for name in re.findall("{([^}:]*)", each["path"])}
    tried = schemathesis.run(city["rides"].url, known)
    asked = {re.sub("{[^}]*}", "{}", name) for name in tried.operations}
    expect(not tried.findings and TABLE.keys() <= asked, sent=f"{tried.requests} requests made from /openapi.json",
           expected="each answer as the document says it", came=str((tried.findings or [tried.trouble])[0]),
           why=f"answers that are not in the document: {len(tried.findings)} kinds; wrong is either it or the service",
           look="the route that was asked, and its responses=words.refusals(...)", service="rides")  # fmt: skip
