"""The small pieces: expectations, probes, fakes, steady text, imports, watching."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lab_services.checks import (
    Call,
    CheckFailed,
    CheckReport,
    DropAnswer,
    FakeBank,
    FakeLock,
    FakeService,
    eventually,
    expect,
    rows,
    together,
    watch_checks,
)
from lab_services.checks.expectation import SHOWN_CHARACTERS, Failure, describe
from lab_services.checks.log_end import LINES, WAIT_SECONDS, log_end, whole_end
from lab_services.checks.steady import steady, steady_log
from lab_services.views import LogView
from tests.checks.toy_course import Course

WORDS = {"sent": "s", "expected": "e", "why": "w", "look": "l"}


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """An HTTP client that is closed at the end."""
    with httpx.Client(verify=False, timeout=5) as opened:
        yield opened


@pytest.fixture
def bank() -> Iterator[FakeBank]:
    """A fake bank of its own."""
    opened = FakeBank()
    yield opened
    opened.close()


def test_expect_passes_what_is_true() -> None:
    """A true condition is silent, a false one raises an AssertionError with its parts."""
    expect([1], **WORDS, came="c")
    with pytest.raises(CheckFailed) as caught:
        expect([], **WORDS, came="c")
    assert isinstance(caught.value, AssertionError) and caught.value.failure.came == "c"


@pytest.mark.parametrize(
    ("came", "shown"),
    [
        (httpx.Response(201, json={"a": 1}), '201 Created\n{"a":1}'),
        (httpx.Response(204), "204 No Content, without a body"),
        (ValueError("bad"), "ValueError: bad"),
        (TimeoutError(), "TimeoutError"),
        ({"b": Path("x")}, '{"b": "PosixPath(\'x\')"}'),
        (None, "None"),
        ("a\x1b[31mb\x00", "a\ufffd[31mb\ufffd"),
    ],
)
def test_anything_can_be_described(came: object, shown: str) -> None:
    """A response, an exception, rows, bytes or nothing become a short printable text."""
    assert describe(came) == shown


@pytest.mark.parametrize("came", ["x" * 10**6, "x\n" * 10**5, b"\0" * 10**6, [{"row": n} for n in range(10**4)]])
def test_a_long_answer_is_shortened(came: object) -> None:
    """What is too long is cut, and the text says how much is left out."""
    assert len(describe(came)) < SHOWN_CHARACTERS + 60 and "characters more" in describe(came)


def test_together_releases_all_at_once_and_keeps_the_order() -> None:
    """All calls run at the same time; results and exceptions come in the order of the calls."""
    barrier = threading.Barrier(20, timeout=5)
    results = together([lambda n=n: (barrier.wait(), n)[1] for n in range(20)])
    assert results == list(range(20))
    assert isinstance(together([lambda: 1 // 0])[0], ZeroDivisionError)
    assert isinstance(together([lambda: time.sleep(3)], within=0.1)[0], TimeoutError) and together([]) == []


def test_eventually_is_bounded() -> None:
    """It returns the first true answer, the last false one, or the last exception."""
    answers = iter([0, 0, 7])
    assert eventually(lambda: next(answers)) == 7
    assert eventually(list, within=0.05) == []
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 // 0, within=0.05)


def test_rows_reads_and_does_not_write(tmp_path: Path) -> None:
    """A file, a folder with one database or a connection can be read; none can be changed; a missing one is named."""
    path = tmp_path / "wal let.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE wallets(rider_id TEXT, cents INTEGER)")
        connection.execute("INSERT INTO wallets VALUES ('ada', 5)")
        connection.commit()
        for place in (path, str(path), tmp_path, connection):
            assert rows(place, "SELECT * FROM wallets WHERE cents > ?", 4) == [{"rider_id": "ada", "cents": 5}]
        with pytest.raises(sqlite3.OperationalError):
            rows(path, "DELETE FROM wallets")
    connection.close()
    (tmp_path / "other.db").touch()
    for place in (tmp_path, tmp_path / "none.db"):
        with pytest.raises(FileNotFoundError):
            rows(place, "SELECT 1")


def test_a_fake_service_keeps_a_ledger(client: httpx.Client) -> None:
    """Every call is noted with its parts, health probes are not, and a handler's exception is a 500."""
    service = FakeService("notices", lambda call: (200, {"n": 1 // (0 if call.path == "/bad" else 1)}))
    try:
        assert client.get(service.url + "/health/ready").status_code == 200
        client.put(service.url + "/notices/n%201?rider_id=ada", json={"text": "hi"}, headers={"X-Trace": "7"})
        client.post(service.url + "/raw", content=b"\xffno json")
        assert client.get(service.url + "/bad").status_code == 500
        first, second, _ = service.calls
        assert (first.method, first.path, first.query, first.body) == (
            "PUT", "/notices/n 1", {"rider_id": "ada"}, {"text": "hi"},
        )  # fmt: skip
        assert first.headers["x-trace"] == "7" and second.body == "\ufffdno json"
        assert service.calls_to("PUT") == (first,) and isinstance(first, Call)
    finally:
        service.close()


def test_a_fake_service_makes_weather(client: httpx.Client) -> None:
    """It fails, delays and drops answers as often as told, on the paths told, and then is well again."""
    worked: list[str] = []
    service = FakeService("wallet", lambda call: (worked.append(call.path), (200, {}))[1])
    try:
        service.fail(status=503, times=1, path="/a")
        service.drop_answers(times=1, path="/b")
        assert [client.get(service.url + "/a").status_code for _ in range(2)] == [503, 200]
        with pytest.raises(httpx.TransportError):
            client.get(service.url + "/b")
        assert client.get(service.url + "/b").status_code == 200 and worked == ["/a", "/b", "/b"]
        service.delay(5)
        with pytest.raises(httpx.ReadTimeout):
            client.get(service.url + "/c", timeout=0.2)
        service.clear()
        assert client.get(service.url + "/c").status_code == 200

        def drop(call: Call) -> tuple[int, None]:
            raise DropAnswer

        service.handler = drop
        with pytest.raises(httpx.TransportError):
            client.get(service.url + "/c")
    finally:
        service.close()


def test_the_fake_bank_keeps_the_contract_of_the_wallet(bank: FakeBank, client: httpx.Client) -> None:
    """Holds, captures and releases are idempotent, refused where the wallet refuses them, and counted."""

    def put(path: str, **content: object) -> int:
        return client.put(bank.url + path, json=content).status_code

    assert put("/wallets/ada", deposited_cents=1) == 200 and put("/wallets/new", deposited_cents=300) == 201
    assert [put("/holds/r1", rider_id="ada", cents=2000) for _ in range(2)] == [201, 200]
    assert put("/holds/r1", rider_id="bo", cents=2000) == 409 and put("/holds/r2", rider_id="poor", cents=2000) == 402
    assert put("/holds/r2", rider_id="nobody", cents=1) == 404 and put("/holds/r9/captured", cents=1) == 404
    assert put("/holds/r1/captured", cents=2001) == 422
    assert [put("/holds/r1/captured", cents=340) for _ in range(2)] == [200, 200] and bank.captures("r1") == 1
    assert put("/holds/r1/captured", cents=341) == 409 and put("/holds/r1/released") == 409
    assert put("/holds/r3", rider_id="bo", cents=2000) == 201
    assert [put("/holds/r3/released") for _ in range(2)] == [200, 200]
    assert put("/holds/r3/captured", cents=1) == 409
    ada = client.get(bank.url + "/wallets/ada").json()
    assert ada == {"rider_id": "ada", "deposited_cents": 5000, "balance_cents": 4660, "held_cents": 0}
    both = client.get(bank.url + "/wallets?ids=ada,bo,nobody").json()["wallets"]
    assert [wallet["rider_id"] for wallet in both] == ["ada", "bo"]
    assert client.get(bank.url + "/holds?rider_id=bo").json()["holds"][0]["state"] == "released"


def test_a_lost_answer_of_the_bank_is_still_a_capture(bank: FakeBank, client: httpx.Client) -> None:
    """drop_answers does the work and loses the answer: a caller that repeats itself takes the money once."""
    client.put(bank.url + "/holds/r1", json={"rider_id": "ada", "cents": 2000})
    bank.drop_answers(times=1, path="/captured")
    with pytest.raises(httpx.TransportError):
        client.put(bank.url + "/holds/r1/captured", json={"cents": 100})
    assert bank.captures("r1") == 1
    assert client.put(bank.url + "/holds/r1/captured", json={"cents": 100}).status_code == 200
    assert bank.captures("r1") == 1 and len(bank.calls_to("PUT", "/captured")) == 2


def test_the_fake_lock_notes_every_opening(client: httpx.Client) -> None:
    """The contract's way opens once per ride; the lock's own way opens each time."""
    lock = FakeLock()
    try:
        answers = together([lambda: client.put(lock.url + "/stations/A1/taken/r1") for _ in range(8)])
        assert {answer.status_code for answer in answers} == {200} and len(lock.openings) == 1
        for _ in range(2):
            client.post(lock.url + "/stations/A1/open", json={"ride_id": "r2"})
        assert [opening.ride_id for opening in lock.openings] == ["r1", "r2", "r2"]
        assert client.put(lock.url + "/stations/Z9/taken/r3").status_code == 404
        assert client.put(lock.url + "/stations/A2/returned/r3").status_code == 409
        assert client.put(lock.url + "/stations/A2/returned/r1").status_code == 200
    finally:
        lock.close()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:51234/rides", "http://127.0.0.1:<port>/rides"),
        ("('127.0.0.1', 51234)", "('127.0.0.1', <port>)"),
        ("Started server process [4711]", "Started server process [<pid>]"),
        ('File "/a b/.checks/run-1-x/workspace/reports.py", line 47', 'File "reports.py", line 47'),
        ("in /a/.checks/run-1-x/workspace/reports.py:4", "in reports.py:4"),
        ("pid 4711, port=8080", "pid <pid>, port=<port>"),
        ("ride 1b4e28ba-2fa1-11d2-883f-0016d3cca427", "ride <id>"),
        ("r-9f86d081884c7d65", "r-<id>"),
        ("<App object at 0x7f0a1b2c3d4e>", "<App object at <address>>"),
        ("2026-11-23T20:06:01.5Z 20:06:01,123", "<time> <time>"),
        ("took 0.734 s, then 12 ms", "took <duration>, then <duration>"),
        ("2000 cents, 12 minutes, 50 rides, ended", "2000 cents, 12 minutes, 50 rides, ended"),
    ],
)
def test_what_differs_from_run_to_run_is_taken_out(text: str, shown: str) -> None:
    """Ports, process numbers, ids, addresses, times and durations go; what the check counts stays."""
    assert steady(text) == shown


def test_a_log_is_steady() -> None:
    """Health probes are left out, neighbours that are equal are shown once."""
    assert steady_log("a\nGET /health/ready\npid 1\npid 2\n\nb") == "a\npid <pid>\nb"


class LateLog:
    """A city whose one service writes its traceback only after it was asked a few times."""

    def __init__(self, folder: Path, late: int) -> None:
        self.folder, self.left = folder, late

    def logs(self, name: str, lines: int = 20) -> LogView:
        """Return the log as it is at this moment."""
        self.left -= 1
        told = ["POST /rides 500"] if self.left > 0 else ["POST /rides 500", *TRACEBACK]
        return LogView(name, told, folder=self.folder)


TRACEBACK = [
    "Traceback (most recent call last):",
    *['  File "/lib/web.py", line 1, in call', "    await call()", "    ^^^^^^^^^^^^"] * 20,
    '  File "reports.py", line 47, in report',
    "    return totl",
    "           ^^^^",
    "NameError: name 'totl' is not defined",
]


def test_a_traceback_that_is_late_is_waited_for(tmp_path: Path) -> None:
    """After a 500 the log is read until the traceback is there, and shows the learner's frames whole."""
    failure = Failure("s", "e", "500 Internal Server Error", "w", "l", service="toy")
    shown = log_end(LateLog(tmp_path, late=4), failure).splitlines()
    assert shown[1:3] == ["Traceback, your files only:", "  ... 20 frames outside your files"]
    assert shown[3:] == TRACEBACK[-4:]


def test_a_traceback_that_never_comes_is_not_waited_for_long(tmp_path: Path) -> None:
    """The wait for a traceback ends after half a second."""
    began = time.monotonic()
    failure = Failure("s", "e", "503 Service Unavailable", "w", "l", service="toy")
    assert log_end(LateLog(tmp_path, late=10**6), failure) == "POST /rides 500"
    assert time.monotonic() - began < WAIT_SECONDS + 1


def test_the_end_of_a_log_begins_with_no_rest_of_a_frame() -> None:
    """Where the cut falls into a frame, the rest of that frame goes too."""
    frames = ['  File "a.py", line 1, in f', "    g()", "    ^^^"] * 5
    assert len(frames) > LINES and whole_end(frames) == frames[-9:]


def test_the_import_is_light() -> None:
    """Importing the checks loads neither pytest, httpx, psutil nor the views."""
    code = "import sys, lab_services.checks as c; c.run_checks; c.review; c.hint; c.progress; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pytest", "httpx", "psutil", "watchfiles", "lab_services.views"} & set(loaded)


def test_saving_a_file_checks_again(course: Course) -> None:
    """watch_checks yields at once and after each save of code, not after a service has written data."""
    stop = threading.Event()
    reports: list[CheckReport] = []

    def follow() -> None:
        for report in watch_checks(course.spec, stop=stop):
            reports.append(report)

    folder = course.mine.parent
    thread = threading.Thread(target=follow)
    thread.start()
    try:
        assert eventually(lambda: len(reports) == 1, within=20)
        (folder / ".data").mkdir(exist_ok=True)
        (folder / ".data" / "toy.json").write_text("{}")
        (folder / "toy.db").write_text("")
        course.answer("PRICE = 100", "PRICE = 120")
        assert eventually(lambda: len(reports) == 2, within=20)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive() and [report.passed for report in reports] == [False, True]
