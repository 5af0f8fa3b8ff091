"""Checks of task 7.3: a line is an object, of one request, of nobody in person; and an error is found by it."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

import httpx
import pytest

from lab_services.checks import Call, eventually, expect, together

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with a wallet of the check's own

LINES, TRACE, TAPS, QUERY = "log_lines.py: configure", "log_trace.py", "log_taps.py", "log_query.py: find_failures"
ANSWER_SECONDS, SEEN_SECONDS, GATE_SECONDS = 9.0, 5.0, 7.0
MOST_BYTES = 4000  # of a line; the runtime cuts a longer one
WORDS = {"ride_started", "tap_refused", "tap_failed", "hold_retried"}
ADA = {"name": "Ada Lovelace", "email": "ada.love@example.org", "phone": "+44 20 7946 0958"}
ADA |= {"card": "4242 4242 4242 4242", "token": "Bearer eyJhbGciOi.c2VjcmV0.tap"}
PERSONAL = ("lovelace", "ada.love", "eyjhbgcioi", "c2vjcmv0")  # besides the digits of the phone and of the card
DIGITS = ("442079460958", "4242424242424242")
FORGED = 'r-9"}\n{"level": "error", "service": "rides", "event": "tap_failed", "ride_id": "r-forged"}\r\n'
BROKEN = [
    b"", b"null", b"7", b'"level error rider_id"', b"[" * 100_000, b'{"level": "error", "trace_id": "tr', b"{}",
    b"Traceback (most recent call last):", b"  File \"rides.py\", line 7, in error", b"\xff\xfe error", b"NaN",
    b'{"trace_id": ["t-1"], "level": "error", "rider_id": "r-list"}', b'{"trace_id": null, "level": "error"}',
    b'{"trace_id": "t-odd", "level": ["error"], "rider_id": {"error": 1}, "event": 5}', b'[{"level": "error"}]',
    b'{"trace_id": "t-odd-2", "level": "error", "rider_id": 17}', b"1" * 5000,
]  # fmt: skip
MOST_KEPT_BYTES = 4_000_000  # of 20,000 lines with 8 MB; three facts of each trace are 1 MB
Line = dict[str, Any]


def parent(number: int) -> str:
    """Return the traceparent of a trace."""
    return f"00-{trace(number)}-00f067aa0ba902b7-01"


def trace(number: int) -> str:
    """Return the id of a trace."""
    return f"{number:032x}"


class Town:
    """The running city, and what it has written; its wallet answers as a check wants."""

    def __init__(self, city: Any, wallet: Any) -> None:
        self.city, self.wallet = city, wallet
        self.web = httpx.Client(base_url=city["rides"].url, timeout=ANSWER_SECONDS, trust_env=False)

    def tap(self, ride: int | str, said: str | None = "", **other: str) -> int:
        """Tap for a ride and return the status; `said` is the traceparent, None for none."""
        ids = {"ride_id": f"r-{ride}", "bike_id": f"b-{ride}", "rider_id": f"p-{ride}"}
        headers = {"authorization": ADA["token"]}
        if said is not None:
            headers["traceparent"] = said or parent(int(ride))
        try:
            return self.web.post("/taps", json=ADA | ids | other, headers=headers).status_code
        except httpx.TransportError:
            return 504

    def dock(self) -> None:
        """Ask for a dock, which fails; on a connection of its own, because uvicorn closes it behind the traceback."""
        httpx.get(f"{self.city['rides'].url}/docks/b-1", params={"rider": ADA["name"]}, trust_env=False)

    def raw(self, *services: str) -> list[str]:
        """Return what these services have written."""
        return [line for name in services or ("rides", "notices") for line in self.city.logs(name, 2000).lines]

    def lines(self, *services: str) -> list[Line]:
        """Return the lines that are objects."""
        return [line for line in map(parsed, self.raw(*services)) if line]

    def wait(self, **numbers: int) -> bool:
        """Wait until so many lines hold these words, whatever is around them; tell whether they do."""
        return eventually(
            lambda: (text := self.raw()) and all(sum(word in t for t in text) >= n for word, n in numbers.items()),
            SEEN_SECONDS,
        )

    def rest(self, taps: int) -> bool:
        """Wait until all that so many taps have begun is done; tell whether it is."""
        return self.wait(battery_read=taps, dock_is_free=taps, notices_rest=taps)

    def of(self, ride: int) -> list[Line]:
        """Return the lines of rides that belong to a tap, by whatever they tell of it."""
        mine = (f"r-{ride}", trace(ride))
        return [
            line for line in self.lines("rides") if line.get("ride_id") == mine[0] or line.get("trace_id") == mine[1]
        ]


def parsed(text: str) -> Line:
    """Return the object in a line; an empty one when there is none."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def fault_of(text: str) -> str:
    """Say what keeps this from being a line of the log; "" when nothing does."""
    line = parsed(text)
    if len(text.encode()) >= MOST_BYTES:
        return f"longer than {MOST_BYTES:,} bytes, and cut: {text[:80]}"
    if not line:
        return f"no JSON object: {text[:200]}"
    missing = [field for field in ("time", "level", "service", "event", "logger") if not line.get(field)]
    try:
        aware = datetime.fromisoformat(str(line.get("time"))).utcoffset() == timedelta(0)
    except ValueError:
        aware = False
    return f"without {', '.join(missing)}: {text}" if missing else "" if aware else f"its time is not UTC: {text}"


def personal_in(text: str) -> list[str]:
    """Return what a stranger learns of the rider."""
    plain = unquote_plus(text).lower()
    digits = "".join(letter for letter in plain if letter.isdigit())
    return [word for word in PERSONAL if word in plain] + [number for number in DIGITS if number in digits]


@pytest.fixture
def town(city: Any, fake_service: Callable[..., Any]) -> Iterator[Town]:
    """A city in which the rider of r-2 is poor, the wallet is broken for r-3, and for the first try of r-4."""
    tries: list[str] = []

    def hold(call: Call) -> tuple[int, Any]:
        ride = call.body["ride_id"]
        tries.append(ride)
        failing = ride == "r-3" or (ride == "r-4" and tries.count(ride) == 1)
        return (500 if failing else 402 if ride == "r-2" else 201), {}

    wallet = fake_service("wallet", hold)
    city.start(replace={"wallet": wallet.url})
    town = Town(city, wallet)
    yield town
    town.web.close()


def test_each_line_is_one_object(town: Town) -> None:
    """Whoever writes a line, and whatever a rider's program sends: it is one JSON object, of 4,000 bytes at most."""
    town.tap(1)
    town.tap(5, tariff="moon")
    town.dock()
    town.tap(6, ride_id=FORGED)
    town.tap(7, ride_id="\N{BICYCLE}" * 5_000, bike_id="\0" * 5_000, rider_id="\N{BICYCLE}" * 5_000)
    done, raw = town.rest(3) and town.wait(show_dock=1), town.raw()
    odd = [fault for text in raw if (fault := fault_of(text))]
    expect(not odd and done, sent="a tap, a bug, a traceback by uvicorn, and ids with line breaks, quotes and 5,000 "
           "letters", expected="each line is an object with time, level, service, event and logger", look=LINES,
           came=f"{len(odd)} of {len(raw)} lines are none; {'' if done else 'some are missing; '}{''.join(odd[:1])}",
           service="rides", why="who searches has to read each line, and cannot read half of one")  # fmt: skip
    lines = town.lines()
    forged = [line for line in lines if "r-forged" in (line.get("ride_id"), line.get("rider_id"))]
    kept = [line for line in lines if len(str(line.get("ride_id"))) > 5 and FORGED.startswith(str(line["ride_id"]))]
    expect(kept and not forged, sent=f"a tap with the ride_id {FORGED!r}", expected="lines that have it, or its "
           "beginning, as their ride_id", came=f"{len(kept)} such lines; forged: {forged}", look=LINES,
           why="what a rider sends is a value of a line, and never a line", service="rides")  # fmt: skip
    bug = [line for line in lines if line.get("logger") == "uvicorn.error"]
    expect(len(bug) == 1 and "KeyError" in str(bug[0].get("error")) and "show_dock" in str(bug[0].get("where")),
           sent="GET /docks/b-1, where a bug is", expected="one line of uvicorn.error, with KeyError in `error` and "
           "show_dock in `where`", came=bug, look=LINES, service="rides",
           why="without the type and the place nobody finds the bug")  # fmt: skip


def test_nothing_personal_is_in_a_line(town: Town) -> None:
    """No name, address, number or token of a rider is in any line: not in fields, texts, URLs or exceptions."""
    came = [town.tap(1), town.tap(2), town.tap(3), town.tap(5, tariff="moon")]
    town.dock()
    town.rest(1)
    found = {text: told for text in town.raw() if (told := personal_in(text))}
    words = sorted({word for told in found.values() for word in told})
    expect(not found and came[0] == 201, sent="taps of Ada Lovelace: one starts, one is refused, two fail; her name in "
           "a URL", expected="no line with her name, address, phone, card or token", service="rides", look=LINES,
           came=f"{len(found)} lines tell {', '.join(words)}, such as {next(iter(found), '')}",
           why="logs are copied, kept for years and read by many; the law counts them as a leak")  # fmt: skip
    known = {(line.get("logger"), line.get("event")) for line in town.lines() if line.get("rider_id") == "p-1"}
    wanted = {("rides", "battery_read"), ("dockside", "dock_opened"), ("notices", "rider_told")}
    expect(wanted <= known, sent="the tap of rider p-1, a pseudonym", expected=f"lines with it: {sorted(wanted)}",
           came=sorted(map(str, known)), look=LINES, service="rides",
           why="a log in which no rider can be found helps none")  # fmt: skip


def test_a_line_has_the_trace_of_its_request(town: Town) -> None:
    """Of two taps at once each line has its own trace: in the request, a task, a thread, the wallet, and notices."""
    gate = threading.Barrier(2)
    town.wallet.handler = lambda call: (gate.wait(GATE_SECONDS) >= 0 and 201, {})
    came = together([lambda: town.tap(11), lambda: town.tap(12)])
    town.rest(2)
    lines = [line for line in town.lines() if line.get("ride_id") in ("r-11", "r-12")]
    wrong = [line for line in lines if line.get("trace_id") != trace(int(line["ride_id"][2:]))]
    events = {(line["ride_id"], line.get("event")) for line in lines}
    wanted = {(ride, word) for ride in ("r-11", "r-12") for word in ("battery_read", "dock_opened", "rider_told")}
    expect(came == [201, 201] and not wrong and wanted <= events, sent="two taps at once, each with a traceparent",
           expected="each line of a ride has the trace id of its tap", service="rides", look=TRACE,
           came=f"{came}; wrong: {[(w['ride_id'], w.get('event'), w.get('trace_id')) for w in wrong]}; missing: "
           f"{sorted(wanted - events)}", why="a line under the trace of another rider sends whoever searches to the "
           "wrong one; a line without a trace is not found")  # fmt: skip
    told = {call.body["ride_id"]: call.headers.get("traceparent", "") for call in town.wallet.calls}
    expect(all(told[f"r-{ride}"][3:35] == trace(ride) for ride in (11, 12)), sent="the same two taps",
           expected="the wallet is told the trace of each", came=told, look=f"{TRACE}: headers", service="rides",
           why="the wallet's lines are found by the same id, or not at all")  # fmt: skip


def test_no_trace_stays_behind(town: Town, spy_on: Callable[[Any], Any]) -> None:
    """What comes after a request, on its connection, in its thread or in its worker, has nothing of its trace."""
    odd = [None, parent(0), f"00-{'AB' * 16}-00f067aa0ba902b7-01", parent(99)[:40], parent(99) * 200]
    came = [town.tap(1)] + [town.tap(20 + place, said) for place, said in enumerate(odd)]
    town.rest(len(came))
    told = json.dumps({"ride_id": "r-30", "rider_id": "p-30"}).encode()
    spy_on(town.city).publish("ride.started", told)
    town.wait(notices_rest=len(came) + 1)
    lines = town.lines()
    new = {line["ride_id"]: str(line.get("trace_id")) for line in lines if line.get("event") == "rider_told"}
    expect(len(set(new.values())) == len(new) == len(came) + 1 and all(map(is_trace, new.values())), service="rides",
           sent="a tap; on the same connection taps whose traceparent is missing or not valid; a message without one",
           expected="a new trace for each", came=f"{came}; {new}", look=f"{TRACE}: trace_of",
           why="two riders under one trace are one rider to whoever searches")  # fmt: skip
    left = [line for line in lines if line.get("event") in ("dock_is_free", "notices_rest") and line.get("trace_id")]
    rests = sum(line.get("event") in ("dock_is_free", "notices_rest") for line in lines)
    expect(not left and rests == 2 * len(came) + 1, sent="the same, then what the thread and the worker say when they "
           "are done", expected="lines without a trace_id", came=f"{len(left)} of {rests} lines have one, such as "
           f"{left[:1]}", look=f"{TRACE}: trace_of, carried", service="notices",
           why="a thread and a worker live on, and work for others next")  # fmt: skip


def is_trace(text: str) -> bool:
    """Tell whether this is a trace id of W3C Trace Context."""
    return len(text) == 32 and set(text) <= set("0123456789abcdef") and text != "0" * 32


def test_one_error_is_one_line(town: Town) -> None:
    """A failure of ours is one line of level error, by which it is found; a refusal or a mended failure is none."""
    came = [town.tap(1), town.tap(2), town.tap(3), town.tap(4), town.tap(5, tariff="moon")]
    town.rest(2)
    said = {ride: [(line.get("event"), line.get("level")) for line in town.of(ride)
                   if line.get("event") in WORDS - {"hold_retried"}] for ride in range(1, 6)}  # fmt: skip
    loud = [line for line in town.lines("rides") if line.get("level") in ("error", "critical")]
    level = said[2][0][1] if said[2] else ""
    right = {1: "ride_started info", 2: f"tap_refused {level}", 3: "tap_failed error", 4: "ride_started info"}
    right |= {5: "tap_failed error"}
    expect(came == [201, 402, 503, 201, 500] and said == {ride: [tuple(word.split())] for ride, word in right.items()}
           and level in ("info", "warning") and len(loud) == 2, look=TAPS, service="rides", sent="five taps: one "
           "starts, one is refused, the wallet fails twice, it fails once, a bug", expected="201, 402, 503, 201, 500; "
           "for each one line that says so, two of them errors", came=f"{came}; {said}; {len(loud)} lines of level "
           "error", why="an alert counts errors: five lines for one, or one for a rider without money, wake people "
           "for nothing, and then nobody gets up")  # fmt: skip
    facts = [line for line in town.lines("rides") if line.get("event") in WORDS]
    found = {(str(line.get("ride_id")), str(line.get("rider_id")), str(line.get("bike_id"))) for line in facts}
    text = {line.get("ride_id"): json.dumps(line) for line in facts}
    words = {"r-2": ("no_money", "402"), "r-3": ("HTTPStatusError", "ask_wallet"), "r-5": ("ValueError", "tariff_of")}
    lost = [word for ride, all_of in words.items() for word in all_of if word not in text.get(ride, "")]
    expect(found == {(f"r-{n}", f"p-{n}", f"b-{n}") for n in range(1, 6)} and not lost, sent="the same five taps",
           expected="lines with ride_id, rider_id and bike_id; with the reason, or the exception and where it was "
           "raised", came=f"{sorted(found)}; not said: {lost}", look=TAPS, service="rides",
           why="whoever is woken has to find the ride and the line of code")  # fmt: skip


# --- the search ---


class Night:
    """What the services write in one night, as a seed has it: taps of many kinds, their lines interleaved."""

    def __init__(self, seed: int, kinds: dict[str, int], reach: int = 300) -> None:
        self.random = random.Random(seed)
        order = [kind for kind, number in kinds.items() for _ in range(number)]
        self.random.shuffle(order)
        self.riders: dict[str, str] = {}  # of the failed taps, by trace
        places: list[tuple[float, bytes, Line]] = []
        for number, kind in enumerate(order):
            for line in self.tap(number, kind):  # programs in other languages write no blanks
                blank = "" if line["service"] in ("rides", "wallet") else " "
                text = json.dumps(line, separators=(f",{blank}", f":{blank}"))
                places.append((number + self.random.random() * reach, text.encode(), line))
        places.sort(key=lambda each: each[0])
        self.lines = [text for _, text, _ in places]
        first: dict[str, Line] = {}  # of each failed tap the first line of level error
        for _, _, line in places:
            if line["level"] == "error" and (rider := self.riders.get(line["trace_id"])):
                what = {field: line[field] for field in ("trace_id", "service", "event")}
                first.setdefault(line["trace_id"], {**what, "rider_id": rider})
        self.failed = list(first.values())

    def tap(self, number: int, kind: str) -> list[Line]:
        """Return the lines of one tap."""
        trace_id, rider = f"{self.random.getrandbits(128):032x}", f"p-{self.random.randrange(10**6)}"
        if kind == "failed":
            self.riders[trace_id] = rider
        found = [line for line in KINDS[kind](rider, f"r-{number}")]
        return [{"time": f"2026-06-01T03:{number % 3600 // 60:02}:00Z", "trace_id": trace_id} | line for line in found]


def line_of(service: str, level: str, event: str, **fields: Any) -> Line:
    """Return the fields of a line."""
    return {"service": service, "level": level, "event": event, **fields}


def begun(rider: str, ride: str) -> list[Line]:
    """Return the lines that each tap has; the longest one is of the driver."""
    detail = "no error, level ERROR is off " * 40
    return [line_of("gateway", "info", "tap_came", rider_id=rider), line_of("docks", "debug", "dock", detail=detail)]


KINDS: dict[str, Callable[[str, str], list[Line]]] = {
    "started": lambda rider, ride: [*begun(rider, ride), line_of("wallet", "info", "money_held", ride_id=ride),
                                    line_of("rides", "info", "ride_started", ride_id=ride, rider_id=rider),
                                    line_of("notices", "info", "rider_told", rider_id=rider)],
    "refused": lambda rider, ride: [*begun(rider, ride), line_of("wallet", "info", "hold_refused", ride_id=ride),
                                    line_of("rides", "warning", "tap_refused", rider_id=rider, reason="error: poor")],
    "mended": lambda rider, ride: [*begun(rider, ride), line_of("wallet", "error", "hold_failed", ride_id=ride),
                                   line_of("rides", "warning", "hold_retried", rider_id=rider),
                                   line_of("rides", "info", "ride_started", rider_id=rider)],
    "night": lambda rider, ride: [line_of("billing", "error", "job_failed", error="TimeoutError"),
                                  line_of("billing", "critical", "job_failed", error="TimeoutError")],
    "quoted": lambda rider, ride: [*begun(rider, ride), line_of("rides", "info", 'level": "error', rider_id=rider,
                                                                bike_id='", "level": "error", "event": "tap_failed')],
    "failed": lambda rider, ride: [line_of("gateway", "info", "tap_came", rider_id=rider),
                                   line_of("wallet", "error", "hold_failed", ride_id=ride),
                                   line_of("rides", "error", "tap_failed", ride_id=ride, error="OSError")],
}  # fmt: skip
CITY = {"started": 3600, "refused": 250, "mended": 150, "night": 60, "quoted": 60}


def asked(city: Any, lines: list[bytes]) -> tuple[int, dict[str, Any]]:
    """Have the desk search these lines; return the status and what it says."""
    answer = httpx.post(f"{city['desk'].url}/failures", content=b"\n".join(lines), timeout=9.0, trust_env=False)
    return answer.status_code, answer.json()


@pytest.mark.city(shape="log_desk")
def test_the_rider_is_found_among_20000_lines(city: Any) -> None:
    """The one rider whose tap failed is found in one go, whatever the order, and whoever else seems to have failed."""
    night = Night(3, CITY | {"failed": 1})
    status, said = asked(city, night.lines)
    found = said.get("failures", [])
    rider = night.failed[0]["rider_id"]
    expect(status == 200 and found == night.failed, sent=f"{len(night.lines):,} lines of five services with one failed "
           "tap; refusals, mended failures, jobs of the night and quoted texts between them", expected=f"the rider "
           f"{rider} alone, with the first line of level error", came=f"{status}; {len(found)} taps; "
           f"{said.get('problem', found[:2])}", look=QUERY, service="desk",
           why="who is called at night about one rider has no time to look at a hundred others")  # fmt: skip
    expect(said["peak_bytes"] < MOST_KEPT_BYTES and said["taken"] == len(night.lines), service="desk", look=QUERY,
           sent="the same lines, with 8 MB", expected=f"each is read once, and {MOST_KEPT_BYTES:,} bytes are kept at "
           "most", came=f"{said['taken']:,} lines read, {said['peak_bytes'] / 1e6:.0f} MB kept",
           why="a night of a city has more lines than a memory")  # fmt: skip


@pytest.mark.city(shape="log_desk")
def test_no_line_stops_the_search(city: Any) -> None:
    """Half lines, tracebacks, numbers, fields of other types: what can be read is searched, to the last line."""
    night = Night(5, {"started": 40, "refused": 5, "mended": 5, "failed": 4}, reach=20)
    mixed = [line for place, line in enumerate(night.lines) for line in (BROKEN[place % len(BROKEN)], line)]
    status, said = asked(city, [*BROKEN, *mixed, *BROKEN])
    expect(status == 200 and said["failures"] == night.failed, sent="the lines of 4 failed taps and 50 others, with "
           "broken lines and odd fields between them", expected=f"the 4 taps: {night.failed}", service="desk",
           came=f"{status}; {said.get('problem', said.get('failures'))}", look=QUERY,
           why="in the night in which it matters a service has died in the middle of a line")  # fmt: skip
