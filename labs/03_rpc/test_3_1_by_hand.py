"""Checks of task 3.1: frames however they are cut, many calls on one connection, errors as errors, and strangers."""

import json
import pickle
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from typing import Any

import httpx
import pytest

from lab_services.checks import expect, rows, together
from lab_services.servers import deno

web = httpx.Client(timeout=3, trust_env=False)  # more than ANSWER_SECONDS of phones
FRAMES = "frames.py: frame and read_frame; skeleton.py"
STUB, SKELETON = "stub.py: call and listen", "skeleton.py: serve_calls"
BOTH = "stub.py and skeleton.py"
MAX_FRAME_BYTES = 64 * 1024
HEARD_SECONDS = 3.0  # enough for every answer; then a line is called silent
PIECE_SECONDS = 0.005  # between two pieces of a frame
CUTS = (1, 2, 3, 4, 5, 30)  # in the length, behind it, in the content
DENO_SECONDS = 6
BUSY_SECONDS = 4.0  # a look into the ledger may have to wait for bolts
CLOSED, SILENCE = "the connection was closed", "no answer"
NOTE = 'Zoë said:\n"wait" \\ ☂\r\n'
Json = dict[str, Any]


def pack(content: bytes | Json) -> bytes:
    """Return the frame of some content, good or bad."""
    content = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    return len(content).to_bytes(4, "big") + content


def battery(call_id: object, lock_id: object = "l-01") -> Json:
    """Return a call that asks for a battery: of l-01 it is 99, of l-02 98, and so on."""
    return {"id": call_id, "method": "battery", "arguments": {"lock_id": lock_id}}


def opening(call_id: object, lock_id: str, **more: str) -> Json:
    """Return a call that opens a lock for ada."""
    return {"id": call_id, "method": "open_lock", "arguments": {"lock_id": lock_id, "rider_id": "ada", **more}}


class Line:
    """One connection, with frames of the check's own making."""

    def __init__(self, endpoint: socket.socket) -> None:
        self.socket = endpoint
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(HEARD_SECONDS)

    @classmethod
    @contextmanager
    def to(cls, target: str) -> Iterator["Line"]:
        """Connect to host:port."""
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=HEARD_SECONDS) as endpoint:
            yield cls(endpoint)

    def send(self, *contents: bytes | Json) -> None:
        """Send frames at once; that the other side has hung up shows when its answer is read."""
        self.write(b"".join(map(pack, contents)))

    def write(self, some: bytes, cuts: Sequence[int] = ()) -> None:
        """Send bytes, with a pause at each of the places where they are to be cut."""
        with suppress(OSError):
            for begin, end in pairwise([0, *cuts, len(some)]):
                self.socket.sendall(some[begin:end])
                if end < len(some):
                    threading.Event().wait(PIECE_SECONDS)

    def end(self, how: int = socket.SHUT_WR) -> None:
        """Say that nothing more is sent, or hang up."""
        with suppress(OSError):
            self.socket.shutdown(how)

    def read(self) -> Any:
        """Return the next message, or in words what came instead."""
        try:
            content = self._exactly(int.from_bytes(self._exactly(4), "big"))
        except TimeoutError:
            return f"{SILENCE} in {HEARD_SECONDS:g} s"
        except (EOFError, OSError):
            return CLOSED
        try:
            return json.loads(content)
        except ValueError:
            return f"a frame that holds no JSON: {content[:60]!r}"

    def by_id(self, count: int) -> dict[Any, Any]:
        """Return so many answers by their ids; what is no answer ends the reading."""
        found: dict[Any, Any] = {}
        while len(found) < count:
            answer = self.read()
            if not isinstance(answer, dict):
                return {**found, "then": answer}
            found[str(answer.get("id"))] = {key: value for key, value in answer.items() if key != "id"}
        return found

    def _exactly(self, length: int) -> bytes:
        some = b""
        while len(some) < length:
            if not (more := self.socket.recv(min(length - len(some), MAX_FRAME_BYTES))):
                raise EOFError
            some += more
        return some


class FakeBolts:
    """Stands in for bolts: its script is run for each call that arrives; `lines` are the connections so far."""

    script: Callable[[Line, Json], None]

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.calls: list[Json] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.lines.append(Line(self._listener.accept()[0]))
                threading.Thread(target=self._serve, args=[self.lines[-1]], daemon=True).start()

    def _serve(self, line: Line) -> None:
        line.socket.settimeout(None)
        while isinstance(call := line.read(), dict):
            self.calls.append(call)
            self.script(line, call)
        line.socket.close()

    def close(self) -> None:
        """Hang up everywhere."""
        for line in [Line(self._listener), *self.lines]:
            line.end(socket.SHUT_RDWR)
            line.socket.close()


@pytest.fixture
def fake_bolts() -> Iterator[Callable[..., FakeBolts]]:
    """Make stand-ins for bolts, without a script yet."""
    made: list[FakeBolts] = []

    def make() -> FakeBolts:
        made.append(FakeBolts())
        return made[-1]

    yield make
    for fake in made:
        fake.close()


def openings(city: Any, columns: str = "lock_id") -> list[Any]:
    """Return the ledger of openings in its order, one column of it."""
    return [row[columns] for row in rows(city["bolts"].data / "bolts.db", f"SELECT {columns} FROM openings")]


def hold(city: Any, lock_id: str, held: bool = True) -> None:
    """Keep the bolt of a lock from moving, or let it go."""
    sql = "INSERT INTO held VALUES (?)" if held else "DELETE FROM held WHERE lock_id = ?"
    with closing(sqlite3.connect(city["bolts"].data / "bolts.db", timeout=BUSY_SECONDS)) as db:
        db.execute("PRAGMA synchronous = OFF")  # a busy disk would hold up bolts meanwhile
        with db:
            db.execute(sql, [lock_id])


def percent(city: Any, lock_id: str) -> Any:
    """Ask phones for a battery; return the percent, or status and detail of a refusal."""
    return heard(lambda: web.get(f"{city['phones'].url}/locks/{lock_id}/battery"), "percent")


def unlock(city: Any, lock_id: str, note: str = "") -> Any:
    """Ask phones to open a lock; return which lock was opened, or status and detail of a refusal."""
    wish = {"lock_id": lock_id, "rider_id": "ada", "note": note}
    return heard(lambda: web.post(f"{city['phones'].url}/openings", json=wish), "lock_id")


def heard(ask: Callable[[], httpx.Response], field: str) -> Any:
    """Return a field of a good answer, or what was said instead."""
    try:
        answer = ask()
    except httpx.HTTPError as error:
        return f"{SILENCE}: {type(error).__name__}"
    with suppress(ValueError, KeyError, TypeError):
        found = answer.json()
        return found[field] if answer.is_success else f"{answer.status_code} {found['detail']}"
    return f"{answer.status_code} {answer.text}"


def in_turn(*asks: Callable[[], Any]) -> list[Any]:
    """Return what each is told, one after the other; after silence nobody asks any more."""
    said: list[Any] = []
    for ask in asks:
        said.append(ask())
        if SILENCE in str(said[-1]):
            break
    return said


def status(answer: Any) -> str:
    """Return the status of what phones said, as text."""
    return str(answer).split(" ")[0]


def result_of(answer: Any) -> Any:
    """Return the result in an answer, or all of it when there is none."""
    return answer.get("result", answer) if isinstance(answer, dict) else answer


def test_a_call_goes_there_and_comes_back(city: Any) -> None:
    """A lock opens by a call through stub and skeleton, with any text; eight calls at once get eight answers."""
    answer = unlock(city, "l-20", NOTE)
    expect(
        (answer, openings(city, "note")) == ("l-20", [NOTE]),
        sent=f"POST /openings of phones for l-20 with the note {NOTE!r}",
        expected="l-20 was opened, and the ledger of bolts has the note as it was sent",
        came={"answer": answer, "notes": openings(city, "note")},
        why="a line break ends no message, and a letter may be two bytes: a length counts the bytes of the content",
        look=FRAMES,
        service="bolts",
    )
    locks = [f"l-{number:02}" for number in range(1, 9)]
    answers = together([lambda lock=lock: unlock(city, lock) for lock in locks], within=8)
    expect(
        answers == locks and sorted(openings(city)) == [*locks, "l-20"],
        sent="eight openings at once, of l-01 to l-08; phones has one connection to bolts",
        expected="each rider is told of the lock she has asked for, and each lock has opened once",
        came={"answers": answers, "ledger": openings(city)},
        why="calls share a connection: what ties an answer to its call is the id, and nothing else",
        look=BOTH,
        service="phones",
    )


def test_frames_may_be_cut_anywhere(city: Any) -> None:
    """A frame that comes in pieces is waited for, many at once are taken apart, and the last byte ends no answer."""
    biggest = pack(opening("big", "l-03"))
    biggest = pack(opening("big", "l-03", note="n" * (MAX_FRAME_BYTES - len(biggest) + 4 - len(', "note": ""'))))
    with Line.to(city["bolts"].url) as line:
        line.write(pack(battery("cut", "l-02")), CUTS)
        answers = [line.by_id(1)]
        line.write(b"".join([pack(battery("a", "l-03")), biggest, pack(battery("b", "l-04"))]), [MAX_FRAME_BYTES])
        line.end()
        answers += [line.by_id(3), line.read()]
    expected = [{"cut": {"result": 98}}, {"a": {"result": 97}, "big": {"result": {"lock_id": "l-03", "opening": 1}}}]
    expected[1]["b"] = {"result": 96}
    expect(
        answers == [*expected, CLOSED],
        sent=f"a frame cut at {CUTS}; then three at once, one with {MAX_FRAME_BYTES} bytes of content; then the end",
        expected=[*expected, CLOSED],
        came=answers,
        why="TCP carries bytes: what was sent at once comes in pieces on a bad day, and what was sent in turn at once",
        look=FRAMES,
        service="bolts",
    )


def test_a_slow_lock_holds_up_nobody(city: Any) -> None:
    """While a bolt does not move, other calls on the same connection are answered; it is answered when it has moved."""
    hold(city, "l-02")
    with Line.to(city["bolts"].url) as line:
        line.send(opening(7, "l-02"), battery(8), battery(9, "l-03"))
        line.end()
        answers = [line.by_id(2)]
        hold(city, "l-02", held=False)
        answers.append(line.by_id(1))
    expected = [{"8": {"result": 99}, "9": {"result": 97}}, {"7": {"result": {"lock_id": "l-02", "opening": 1}}}]
    expect(
        answers == expected,
        sent="call 7 opens l-02, whose bolt is held; 8 and 9 on the same connection, then its end; the bolt is let go",
        expected=expected,
        came=answers,
        why="one frozen lock in the snow, and every rider of this connection stands in front of a closed one",
        look=SKELETON,
        service="bolts",
    )


def strange_calls() -> list[Json]:
    """Return calls that cannot be made, with the ids 3 to 7 and without one."""
    strange = {"3": "open_everything", "4": ["battery"], "5": None}
    calls: list[Json] = [{"id": each, "method": method, "arguments": {}} for each, method in strange.items()]
    return [*calls, {"id": "6", "method": "battery", "arguments": {"bike": 1}}, {"id": "7", "method": "battery"}, {}]


def told_kinds(answers: dict[Any, Any]) -> bool:
    """Say whether all calls but the last one were answered by an error, and the plain ones by the right kind."""
    kinds = {each: answers.get(each, {}).get("error", {}).get("kind") for each in [*"1234567", "None"]}
    return [kinds[each] for each in "123"] == ["LookupError", "Jammed", "LookupError"] and all(kinds.values())


def test_an_error_arrives_as_an_error(city: Any) -> None:
    """What a method raises is raised at the caller, of the same kind; a call that cannot be made costs no other one."""
    notes = {"l-99": "", "l-13": "", "l-01": "n" * (MAX_FRAME_BYTES - 75)}
    said = in_turn(*(lambda lock=lock, note=note: unlock(city, lock, note) for lock, note in notes.items()))
    expect(
        [status(each) for each in said] == ["404", "409", "422"] and "l-99" in said[0] and "branch" in said[1],
        sent="POST /openings of phones for an unknown lock, for a jammed one, with a note of nearly 64 KiB",
        expected="404 with what the LookupError says, 409 with what Jammed says; 422, as no frame can hold that call",
        came=said,
        why="a rider is told what is the matter; an error that comes as a result, or as another kind, is a riddle",
        look=BOTH,
        service="phones",
    )
    calls = strange_calls()
    with Line.to(city["bolts"].url) as line:
        line.send(opening("1", "l-99"), opening("2", "l-13"), *calls, battery("8"))
        answers = line.by_id(9)
    expect(
        told_kinds(answers) and answers.get("8") == {"result": 99} and not openings(city),
        sent="to bolts, on one connection: " + ", ".join(map(str, calls)) + ", and more, and a good call behind them",
        expected="an error for each of the others, with its id as far as it has one; LookupError for a method unknown",
        came=answers,
        why="a phone of last year calls methods of last year: it is told so, and hangs up nobody",
        look=SKELETON,
        service="bolts",
    )


def answered(call: Json) -> bytes:
    """Return the frame of a good answer to a battery call: of l-06 it is 6."""
    return pack({"id": call.get("id"), "result": int(call["arguments"]["lock_id"][-2:])})


def mixed(fake: FakeBolts, most: int) -> Callable[[Line, Json], None]:
    """Return a script that answers when so many calls are there, the last one first; later all of them, once more."""

    def answer(line: Line, call: Json) -> None:
        known = fake.calls if len(fake.calls) > most else list(reversed(fake.calls))
        if len(fake.calls) >= most and call["arguments"]["lock_id"] != "l-13":
            line.write(b"".join(map(answered, known)), CUTS)

    return answer


@pytest.mark.city(started=False)
def test_answers_find_their_calls(city: Any, fake_bolts: Any) -> None:
    """Answers in another order, in pieces, too late or twice reach the calls they belong to; silence has an end."""
    fake, locks = fake_bolts(), [f"l-{number:02}" for number in range(1, 7)]
    fake.script = mixed(fake, len(locks))
    city.start(replace={"bolts": fake.url})
    answers = together([lambda lock=lock: percent(city, lock) for lock in locks], within=20)
    expect(
        answers == [1, 2, 3, 4, 5, 6] and len(fake.lines) == 1,
        sent="six phones ask for six batteries; when all calls are there, the answers come, the last one first, cut",
        expected="1 to 6 percent, each to its phone, all on one connection",
        came={"answers": answers, "calls": fake.calls, "connections": len(fake.lines)},
        why="who waits first need not be answered first: a rider gets what belongs to the id of her call",
        look=STUB,
        service="phones",
    )
    answers = in_turn(lambda: percent(city, "l-13"), lambda: percent(city, "l-07"))
    expect(
        status(answers[0]) == "504" and answers[1:] == [7] and len(fake.lines) == 1,
        sent="a call that is not answered; then another one, before whose answer all older ones come again, or late",
        expected="504 after ANSWER_SECONDS, then 7 percent on the same connection",
        came={"answers": answers, "connections": len(fake.lines)},
        why="silence has an end, and an answer that comes behind it is nobody's: no other call's, and no accident",
        look=STUB,
        service="phones",
    )


def troubled(fake: FakeBolts) -> Callable[[Line, Json], None]:
    """Return a script of troubles, one for each lock; only l-01 is well."""
    strange = {"l-06": b"HTTP/1.1 400 Bad Request", "l-07": pack(b"[7]")}

    def answer(line: Line, call: Json) -> None:
        locks = [each["arguments"]["lock_id"] for each in fake.calls]
        if locks[-1] == "l-03":
            line.send({"id": call.get("id"), "error": {"kind": "SystemExit", "detail": "go home"}})
        elif {"l-04", "l-05"} <= set(locks) and locks[-1] in ("l-04", "l-05"):
            line.end(socket.SHUT_RDWR)
        else:
            line.write(strange.get(locks[-1], answered(call) if locks[-1] == "l-01" else b""))

    return answer


@pytest.mark.city(started=False)
def test_a_caller_survives_its_gateway(city: Any, fake_bolts: Any) -> None:
    """A lost connection and a broken frame are told to every call that waits, and no error of a stranger is obeyed."""
    fake = fake_bolts()
    fake.script = troubled(fake)
    city.start(replace={"bolts": fake.url})
    pids = city["phones"].pids
    said = together([lambda: percent(city, "l-04"), lambda: percent(city, "l-05")], within=20)
    said += in_turn(*(lambda lock=lock: percent(city, lock) for lock in ("l-06", "l-07", "l-03", "l-01")))
    expect(
        ([status(each) for each in said], city["phones"].pids) == ([*["503"] * 4, "502", "1"], pids),
        sent="the gateway hangs up on two calls, says no frame, twice, answers an error SystemExit; then all is well",
        expected="four times 503 (a ConnectionError), 502 (a RemoteError), 1 percent; phones is the same process",
        came={"answers": said, "phones": city["phones"].state, "same process": city["phones"].pids == pids},
        why="who waits for a gateway that has gone must hear of it at once, not when her time is over; "
        "and no other program may say which code runs here",
        look=STUB,
        service="phones",
    )


class Evil:
    """What runs a function in whoever unpickles it."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (self.marker, "w")


def strangers(marker: str) -> dict[str, bytes]:
    """Return what is no frame, by what is wrong with it; the pickle makes a file."""
    good = json.dumps(opening(1, "l-03")).encode()
    return {
        "too long": pack(good.ljust(MAX_FRAME_BYTES + 1)),
        "no JSON": pack(b"open l-03"),
        "too deep": pack(b"[" * 60000),
        "huge": b"\xff" * 4 + good,
        "a list": pack(b"[%s]" % good),
        "a pickle": pack(pickle.dumps(Evil(marker))),
        "half": pack(good)[:-9],
    }


def refused(target: str, some: bytes, leave: bool = False) -> Any:
    """Send bytes on a connection of their own; return what came, or leave at once."""
    with Line.to(target) as line:
        line.write(some)
        return None if leave else line.read()


def meet_strangers(target: str, marker: str) -> dict[str, Any]:
    """Let each stranger send its bytes, and one leave in the middle; return what came back, by what is wrong."""
    refused(target, pack(opening(1, "l-03"))[:9], leave=True)
    return {name: refused(target, some) for name, some in strangers(marker).items()}


def test_what_is_no_frame_is_refused(city: Any) -> None:
    """Too long, no JSON object, half a frame: that connection is closed in time, nothing is run, the others go on."""
    target, marker = city["bolts"].url, city["bolts"].data / "unpickled"
    hold(city, "l-02")
    with Line.to(target) as waiting, Line.to(target) as silent:
        waiting.send(opening(1, "l-02"))
        said = meet_strangers(target, str(marker))
        hold(city, "l-02", held=False)
        silent.send(battery(2))
        others = [result_of(waiting.read()), result_of(silent.read())]
    expect(
        not marker.exists() and all(each == CLOSED for each in said.values()) and set(openings(city)) <= {"l-02"},
        sent=f"each on a connection of its own: {', '.join(said)}; most of them ask for l-03",
        expected=f"each time {CLOSED!r}, half a frame after FRAME_SECONDS; l-03 stays shut, no pickle is run",
        came={"answers": said, "ledger": openings(city), "a pickle was run": marker.exists()},
        why="whoever reaches the port may send anything: it must cost little, and it must not choose what runs here",
        look=FRAMES,
        service="bolts",
    )
    expect(
        others == [{"lock_id": "l-02", "opening": 1}, 99],
        sent="meanwhile, a connection waits for its lock, another one says nothing yet; then both go on",
        expected="the opening of l-02, and 99 percent",
        came=others,
        why="one stranger must not cost the others their calls; and a connection may be silent between two frames",
        look=FRAMES,
    )


def test_another_language_speaks_frames(city: Any) -> None:
    """A program in TypeScript that knows the docstring of frames.py calls both methods, and understands the errors."""
    calls = [battery(0), opening(0, "l-05", note=NOTE), battery(0, "l-99")]
    told = deno_client(city, [{"method": call["method"], "arguments": call["arguments"]} for call in calls])
    right = [{"id": 0, "result": 99}, {"id": 1, "result": {"lock_id": "l-05", "opening": 1}}]
    right += [{"id": 2, "error": {"kind": "LookupError", "detail": "there is no lock l-99"}}]
    expect(
        told == right and openings(city, "note") == [NOTE],
        sent=f"deno run bolts_client.ts: {calls}",
        expected={"answers": right, "notes": [NOTE]},
        came={"answers": told, "notes": openings(city, "note")},
        why="an interface is what lies on the wire: what only Python can read is no interface",
        look=FRAMES,
        service="bolts",
    )


def deno_client(city: Any, calls: list[Json]) -> Any:
    """Run the client and return the lines that it has printed, or what it complained of."""
    flags = [flag for flag in deno.FLAGS if flag != "--allow-env"]
    command = [str(deno.find()), *flags, str(city.folder / "bolts_client.ts"), city["bolts"].url]
    env = {"DENO_DIR": str(city["bolts"].data / ".deno"), "NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"}
    try:
        run = subprocess.run(
            [*command, *map(json.dumps, calls)], env=env, capture_output=True, text=True, timeout=DENO_SECONDS
        )
        return [json.loads(line) for line in run.stdout.splitlines()] or run.stderr.strip()[-300:]
    except (subprocess.TimeoutExpired, ValueError) as trouble:
        return f"{type(trouble).__name__}: {trouble}"
