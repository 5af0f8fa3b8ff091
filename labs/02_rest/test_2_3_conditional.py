"""Checks of task 2.3: who has a plan is not sent it again, and nobody writes over what they have not seen."""

import re
import socket
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from lab_services.checks import expect, together

Lines = str | list[str] | None  # of one header field
web = httpx.Client(timeout=8, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))
ETAG, MATCHES = "entity_tags.py: etag_of", "entity_tags.py: matches"
SHOW, CHANGE = "plans.py: show", "plans.py: change"
PATH = "/plans/lake"
STRONG = re.compile(r'"[^"\s]+"')
CARRIED = ("ETag", "Cache-Control", "Content-Location", "Expires", "Vary")  # by a 304: RFC 9110, section 15.4.5
WRITERS = 20
BLOCKED_SECONDS = 0.3  # so long the file is locked: what compares before it waits has compared by then
RAW_SECONDS = 5
ONE_STEP = (
    "compare and write in one transaction that begins as a writer (BEGIN IMMEDIATE): else another one comes between "
    "(a lost update), or the file refuses (503)"
)
ORDER = "who says If-None-Match has said enough: look at it before you ask for If-Match by 428 (RFC 9110, 13.2.2)"
quick = pytest.mark.city(shape="plans-warm")

PLAN = {"title": "Lake", "from_station": "A1", "stops": ["B2", "C3"], "riders": ["ada", "bo"], "note": "cake"}
CHANGES: dict[str, dict[str, Any]] = {  # one after the other: no version comes twice
    "a new plan": {},
    "another title": {"title": "Lakes"},
    "another first station": {"from_station": "D4"},
    "a letter moved from the station to the title": {"title": "LakesD", "from_station": "4"},
    "the stops in another order": {"stops": ["C3", "B2"]},
    "two stops became one": {"stops": ["C3B2"]},
    "another rider": {"riders": ["ada", "chen"]},
    "another note": {"note": "no cake"},
}
ODD: dict[str, Lines] = {
    "an empty field": "", "a quote": '"', "no end": '"x', "no quotes": "x", "commas": ",,,", "not ASCII": '"é"',
    "8 kB in one tag": f'"{"x" * 8000}"', "1,600 tags": ", ".join(['"x"'] * 1600), "8,000 quotes": '"' * 8000,
}  # fmt: skip


def ask(method: str, url: str, body: Any = None, **fields: Lines) -> httpx.Response:
    """Send one request to the plan; if_match="..." is the field If-Match, a list is a field of several lines."""
    lines = {name: [value] if isinstance(value, str) else value or [] for name, value in fields.items()}
    headers = [(name.replace("_", "-").encode(), line.encode()) for name, each in lines.items() for line in each]
    return web.request(method, url + PATH, json=body, headers=headers)


def put(url: str, title: str, **fields: Lines) -> httpx.Response:
    return ask("PUT", url, PLAN | {"title": title}, **fields)


def tag_at(url: str) -> str:
    return ask("GET", url).headers.get("ETag", "")


def create(url: str, title: str = "Lake") -> str:
    """Write a plan that is not there, and return its tag."""
    made = put(url, title, if_none_match="*")
    expect(made.status_code == 201 and made.headers.get("Location") == PATH, sent=f"PUT {PATH}, If-None-Match: *",
           expected=f"201, Location: {PATH}", came=made, why="there was no such plan", look=CHANGE,
           service="rides")  # fmt: skip
    return tag_at(url)


def tags_everywhere(urls: Iterable[str]) -> dict[str, str]:
    """Ask each replica for the plan by GET, GET and HEAD, and return the tags by who told them."""
    return {
        f"{way} at replica {number}": ask(way.split()[-1], url).headers.get("ETag", "")
        for number, url in enumerate(urls, start=1)
        for way in ("GET", "second GET", "HEAD")
    }


def naming(tag: str) -> dict[str, Lines]:
    """Return the forms of a field that name this tag."""
    return {
        "the tag": tag,
        "a list with the tag": f'"x", {tag}',
        "a list without blanks": f'"a,b",{tag},W/"y"',
        "two lines, the tag in the second": ['"x"', tag],
        "a star": "*",
    }


def weakly_naming(tag: str) -> dict[str, Lines]:
    return {"the tag as a weak one": f"W/{tag}", "a list with the weak tag": f'"x", W/{tag}'}


def others(tag: str) -> dict[str, Lines]:
    """Return fields that name other tags, and look as if they named this one."""
    inside = tag.removeprefix("W/").strip('"')
    return {
        "two other tags": '"x", "y"',
        "a longer tag": f'"x{inside}x"',
        "a longer tag with commas": f'"x,{inside},x"',
        "the beginning of the tag": f'"{inside[:-1]}"',
        "an empty tag": '""',
        "a tag that is a star": '"*"',
    }


def tried(urls: Sequence[str], method: str, field: str, forms: Mapping[str, Lines]) -> dict[str, str]:
    """Send one request for each form of a field, in turn to both replicas, and return what came by name."""
    body = PLAN | {"title": "overwritten"} if method == "PUT" else None
    answers = [ask(method, urls[n % 2], body, **{field: form}) for n, form in enumerate(forms.values())]
    return {f"{method}, {name}": outcome(answer) for name, answer in zip(forms, answers, strict=True)}


def outcome(answer: Any) -> str:
    """Return the status of an answer, or the name of the exception that came in its place."""
    return str(getattr(answer, "status_code", "")) or type(answer).__name__


def but(status: str, came: Mapping[str, str]) -> dict[str, str]:
    """Return what has another status."""
    return {name: each for name, each in came.items() if each != status}


def at_once(city: Any, word: str, **condition: Lines) -> dict[str, str]:
    """PUT by WRITERS riders at once, all under one condition, while the file is locked; return what came by title.

    No title comes twice in a check: whoever writes what is there already changes nothing, and the next may write too.
    """
    urls, titles = city["rides"].replica_urls, [f"{word} by rider {number}" for number in range(WRITERS)]
    lock = sqlite3.connect(city["rides"].data / "rides.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")

    def unlock() -> None:
        threading.Event().wait(BLOCKED_SECONDS)
        lock.close()  # and rolls back

    answers = together([*(partial(put, urls[n % 2], title, **condition) for n, title in enumerate(titles)), unlock])
    return dict(zip(titles, map(outcome, answers), strict=False))


def spoken(condition: Mapping[str, str]) -> str:
    return ", ".join(f"{name.replace('_', '-').title()}: {value}" for name, value in condition.items())


def counted(came: Mapping[str, str]) -> str:
    """Count the answers by their status: "1 x 201, 19 x 412"."""
    return ", ".join(f"{count} x {each}" for each, count in sorted(Counter(came.values()).items()))


def stored(city: Any) -> list[str]:
    """Return the plan at each replica as text, or what came in its place."""
    answers = [ask("GET", url) for url in city["rides"].replica_urls]
    return [answer.text if answer.status_code == 200 else f"{answer.status_code}, no plan" for answer in answers]


def left_out(full: httpx.Response, lean: httpx.Response) -> list[str]:
    """Return what a 304 lacks of the 200, or says otherwise."""
    wanted = [name for name in CARRIED if name in full.headers or name in CARRIED[:2]]
    wrong = [name for name in wanted if lean.headers.get(name) in (None, "") or name not in full.headers]
    wrong += [name for name in wanted if name not in wrong and lean.headers[name] != full.headers[name]]
    size = str(len(full.content))
    return wrong + ([] if lean.headers.get("Content-Length", size) == size else ["Content-Length"])


def on_one_connection(url: str, tag: str) -> str:
    """GET the plan with If-None-Match, then /health/live, on one connection; return all that comes, as it comes."""
    place = urlsplit(url)
    first = f"GET {PATH} HTTP/1.1\r\nHost: {place.netloc}\r\nIf-None-Match: {tag}\r\n\r\n"
    second = f"GET /health/live HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n"
    came = b""
    try:
        with socket.create_connection((place.hostname, place.port), RAW_SECONDS) as connection:
            connection.sendall((first + second).encode())
            while part := connection.recv(4096):
                came += part
    except OSError as error:
        came += f" {type(error).__name__}".encode()
    return came.decode(errors="replace").replace("\r\n", "\n")


def test_a_tag_names_one_version(city: Any) -> None:
    """The ETag of a plan is strong, the same at every replica, and another one after each change."""
    urls, tags, plan = city["rides"].replica_urls, list[str](), PLAN
    for place, (what, changed) in enumerate(CHANGES.items()):
        plan = plan | changed
        condition = {"if_match": tags[-1]} if tags else {"if_none_match": "*"}
        made = ask("PUT", urls[place % 2], plan, **condition)
        found = tags_everywhere(urls) | ({"PUT": made.headers["ETag"]} if "ETag" in made.headers else {})
        expect(made.is_success and len(set(found.values())) == 1 and STRONG.fullmatch(found["HEAD at replica 2"]),
               sent=f"PUT {PATH} ({what}) under a condition that holds, then GET, GET, HEAD at both replicas",
               expected='one tag, whoever is asked and however often: "...", in quotes, without W/',
               came=found if made.is_success else made,
               why="what depends on the process (hash, id, a counter) or on the moment is no name of a version",
               look=ETAG, service="rides")  # fmt: skip
        tags.append(found["GET at replica 1"])
    again = [what for place, what in enumerate(CHANGES) if tags[place] in tags[:place]]
    expect(not again, sent=f"{len(tags)} versions of a plan in a moment, each with one thing changed",
           expected=f"{len(tags)} different tags",
           came=f"an old tag came again after: {', '.join(again)}; the tags: {', '.join(dict.fromkeys(tags))}",
           why="of two versions with one tag, a rider sees the first and overwrites the second",
           look=ETAG, service="rides")  # fmt: skip


@quick
def test_a_tag_outlives_a_restart(city: Any) -> None:
    """After kill -9 of both replicas and a launch the tag of a plan is the same as before."""
    urls = city["rides"].replica_urls
    create(urls[0])
    put(urls[1], "Lake and hill", if_match=tag_at(urls[0]))
    before = tag_at(urls[0])
    city.kill("rides")
    city.launch("rides")
    found = tags_everywhere(city["rides"].replica_urls)
    expect(
        set(found.values()) == {before},
        sent="a plan, a change, kill -9 of both replicas, launch, then GET, GET, HEAD at both",
        expected=f"the tag of before: {before}",
        came=found,
        why="after each deployment every plan would be fetched anew, and whoever is editing one could not save it",
        look=ETAG,
        service="rides",
    )


@quick
def test_who_has_the_plan_is_not_sent_it_again(city: Any) -> None:
    """If-None-Match that names the tag of the plan gets a 304; one that names other tags gets the plan."""
    urls = city["rides"].replica_urls
    tag = create(urls[0])
    came = tried(urls, "GET", "if_none_match", naming(tag) | weakly_naming(tag))
    came |= tried(urls, "HEAD", "if_none_match", {"the tag": tag})
    expect(not but("304", came), sent="GET and HEAD with If-None-Match, in each form that names the plan's tag",
           expected="304 each time; W/ or not is the same here (weak comparison)", came=but("304", came),
           why="the rider has this plan, and pays for each byte on the way",
           look=f"{SHOW}; {MATCHES}", service="rides")  # fmt: skip
    came = tried(urls, "GET", "if_none_match", others(tag))
    expect(not but("200", came), sent=f"GET with If-None-Match that names other tags than {tag}",
           expected="200 each time, with the plan", came=but("200", came),
           why="a rider who hears 304 by mistake keeps an old plan: tags are compared as a whole",
           look=MATCHES, service="rides")  # fmt: skip


@quick
def test_a_304_has_its_fields_and_no_content(city: Any) -> None:
    """A 304 carries the ETag, Cache-Control and Vary of the 200, and ends at its empty line."""
    urls = city["rides"].replica_urls
    tag = create(urls[0])
    full, lean = ask("GET", urls[0]), ask("GET", urls[1], if_none_match=tag)
    expect(lean.status_code == 304 and not left_out(full, lean), sent="GET of the plan, then GET with If-None-Match",
           expected="304 with ETag, Cache-Control and Vary as the 200 has them, and with its Content-Length or none",
           came={"differs in": left_out(full, lean), "304": [lean.status_code, dict(lean.headers)]},
           why="by these fields a cache renews what it has; without them it has to forget it (RFC 9110, 15.4.5)",
           look=SHOW, service="rides")  # fmt: skip
    head, _, behind = (came := on_one_connection(urls[0], tag)).partition("\n\n")
    expect(head.startswith("HTTP/1.1 304") and behind.startswith("HTTP/1.1 200"),
           sent="GET with If-None-Match, then GET /health/live on the same connection",
           expected="HTTP/1.1 304, its fields, an empty line, and there HTTP/1.1 200", came=came,
           why="a 304 ends at the empty line: content behind it costs the connection, or is read as the next answer",
           look=SHOW, service="rides")  # fmt: skip


@quick
def test_nobody_writes_over_what_they_have_not_seen(city: Any) -> None:
    """PUT and DELETE with the tag of another version get a 412 and change nothing."""
    urls = city["rides"].replica_urls
    old = create(urls[0])
    put(urls[1], "Lake and hill", if_match=old)
    tag, before, stale = tag_at(urls[0]), stored(city), {"the tag of before": old}
    came = tried(urls, "DELETE", "if_match", stale | weakly_naming(tag))
    came |= tried(urls, "PUT", "if_match", stale | weakly_naming(tag) | others(tag))
    expect(not but("412", came) and stored(city) == before,
           sent=f"DELETE, then PUT, with one If-Match after the other that does not name {tag}; GET at both replicas",
           expected="412 each time, W/ never matches here (strong comparison); and the plan as it was",
           came={**but("412", came), "GET": stored(city)},
           why="the rider has not seen what they are about to overwrite",
           look=f"{CHANGE}; {MATCHES}", service="rides")  # fmt: skip
    ask("DELETE", urls[0], if_match=tag)
    create(urls[1], "Hill")
    came = tried(urls, "PUT", "if_match", {"the first tag": old, "the last tag": tag})
    expect(not but("412", came), expected="412 for both", came=but("412", came),
           sent="DELETE, a new plan under the same name, then PUT with If-Match: the tags of the old plan",
           why="a version that begins at 1 again has the tag that somebody still holds of another plan",
           look=ETAG, service="rides")  # fmt: skip


@quick
def test_who_names_no_version_changes_nothing(city: Any) -> None:
    """Without If-Match a plan that is there stays as it is (428); what is no list of tags, or 8 kB, does no harm."""
    urls = city["rides"].replica_urls
    create(urls[0])
    before = stored(city)
    came = {method: outcome(ask(method, urls[1], body)) for method, body in (("PUT", PLAN), ("DELETE", None))}
    expect(not but("428", came), sent="PUT and DELETE of a plan that is there, without If-Match",
           expected="428 (RFC 6585, section 3): say which version you have seen", came=but("428", came),
           why="409 and 412 say that somebody was faster; 428 says that the rider has forgotten to ask",
           look=CHANGE, service="rides")  # fmt: skip
    came = tried(urls, "PUT", "if_match", ODD) | tried(urls, "GET", "if_none_match", ODD)
    wrong = {name: each for name, each in came.items() if each[0] not in {"PUT": "4", "GET": "24"}[name[:3]]}
    expect(not wrong and stored(city) == before, came=wrong | {"stored": stored(city)},
           sent="PUT with If-Match, GET with If-None-Match that is no list of tags, or 8 kB long",
           expected="4xx for each PUT, the plan or 4xx for each GET; and the plan as it was",
           why="what cannot be read names no version: it is no reason to break down, nor to write",
           look=f"{MATCHES}; {CHANGE}", service="rides")  # fmt: skip


@quick
def test_who_names_the_version_may_write(city: Any) -> None:
    """If-Match in each form that names the plan lets PUT and DELETE pass; nothing names a plan that is not there."""
    urls, came = city["rides"].replica_urls, dict[str, str]()
    create(urls[0])
    for place, form in enumerate(naming("")):
        field = naming(tag_at(urls[0]))[form]
        came[form] = outcome(put(urls[place % 2], f"by {form}", if_match=field))
    expect(set(came.values()) <= {"200", "204"}, sent="PUT with If-Match, in each form that names the plan as it is",
           expected="200 each time (or 204)", came=came, why="who has seen the plan may change it",
           look=MATCHES, service="rides")  # fmt: skip
    tag = tag_at(urls[1])
    came = {"both": outcome(put(urls[0], "both", if_match=tag, if_none_match="*"))}
    came["DELETE"] = outcome(ask("DELETE", urls[0], if_match=f'"x", {tag}'))
    came |= tried(urls, "PUT", "if_match", {"the tag of a plan that was": tag, "a star": "*"})
    came["GET"] = stored(city)[0]
    expect([each.replace("204", "200") for each in came.values()] == ["412", "200", "412", "412", "404, no plan"],
           sent="PUT with If-Match: its tag, If-None-Match: *; then DELETE; then PUT with If-Match, GET",
           expected="412: it is there; 204; 412 twice: nothing is there, not for the star either; 404", came=came,
           why="If-None-Match: * says: only if there is none; If-Match says: only if it is there, do not bring it back",
           look=CHANGE, service="rides")  # fmt: skip


@quick
def test_of_twenty_at_once_one_writes(city: Any) -> None:
    """Of 20 riders who create one plan at once, and of 20 who change one version, exactly one writes each time."""
    for word, statuses in (("made", {"201"}), ("changed", {"200", "204"})):
        condition = {"if_none_match": "*"} if word == "made" else {"if_match": tag_at(city["rides"].url)}
        came = at_once(city, word, **condition)
        winners = [title for title, each in came.items() if each in statuses]
        found = stored(city)
        expect(
            len(winners) == len(but("412", came)) == 1 and all(f'"{winners[0]}"' in text for text in found),
            sent=f"{WRITERS} PUTs at once, at both replicas, with {spoken(condition)}; then GET at both",
            expected=f"1 x {' or '.join(sorted(statuses))}, {WRITERS - 1} x 412; and the plan of the one",
            came={"PUT": counted(came), "GET": found},
            why=ORDER if "428" in came.values() else ONE_STEP,
            look=CHANGE,
            service="rides",
        )
