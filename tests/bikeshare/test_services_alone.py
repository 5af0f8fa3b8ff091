"""What every service does when its own house is in trouble, and that it needs nothing of the course."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from lab_services.bikeshare import database, stations, wallet
from lab_services.bikeshare.database import opened, transaction
from lab_services.bikeshare.problems import Problem, speak_problems
from tests.bikeshare.town import (
    MESSAGE_SERVICES,
    ROOT,
    STOP_SECONDS,
    broker,
    check_problem,
    eventually,
    get,
    in_this_process,
    running,
    together,
    wait_until_ready,
)

LEAVE_SECONDS = 3.0  # after which the runtime kills


@contextmanager
def wallet_alone(folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run the wallet by the command of its users, on a port of the system's choice."""
    command = [sys.executable, "-m", "uvicorn", "lab_services.bikeshare.wallet:app", "--port", "0"]
    with running(command, folder, DATA_DIR="data", RIDERS="zed:700") as process:
        url = address(folder)
        wait_until_ready(url)
        yield process, url


def test_a_service_runs_without_the_course_and_its_data_outlives_it(tmp_path: Path) -> None:
    """What `uvicorn lab_services.bikeshare.wallet:app` has answered is in ./data, also after kill -9."""
    hold = {"rider_id": "zed", "cents": 300}
    with wallet_alone(tmp_path) as (process, url):
        assert httpx.put(url + "/holds/h-1", json=hold, trust_env=False).status_code == 201
        process.kill()
        process.wait(STOP_SECONDS)
    with wallet_alone(tmp_path) as (process, url):
        facts = {"rider_id": "zed", "deposited_cents": 700, "balance_cents": 400, "held_cents": 300}
        assert get(url + "/wallets/zed").json() == facts
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
    assert (tmp_path / "data" / "wallet.db").exists()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_service_that_finds_no_broker_answers_waits_and_leaves(tmp_path: Path) -> None:
    """It is live and not ready, keeps what it is told, works when the broker comes, and ends when it is told to."""
    with ExitStack() as stack:
        port = stack.enter_context(kept_port())
        alone = {
            name: stack.enter_context(message_service(name, tmp_path, f"nats://127.0.0.1:{port}"))
            for name in MESSAGE_SERVICES
        }
        urls = {name: address(tmp_path / name) for name in alone}
        for url in urls.values():
            wait_until_live(url)
            check_problem(get(url + "/health/ready"), 503, "broker")
        assert ends(alone.pop("batteries"))
        rides, billing = urls["ride_ends"], urls["billing"]
        end = {"rider_id": "zed", "cents": 300}
        check_problem(httpx.put(rides + "/rides/r-1/ended", json=end, trust_env=False), 503, "broker")
        assert get(rides + "/rides/r-1").json()["cents"] == 300
        stack.enter_context(broker(tmp_path / "broker", port))
        for name in alone:
            wait_until_ready(urls[name])
        assert httpx.put(rides + "/rides/r-1/ended", json=end, trust_env=False).status_code == 200
        charge = {"rider_id": "zed", "captured_cents": 300}
        eventually(lambda: get(billing + "/charges/r-1").json()["charges"] == [charge], within=STOP_SECONDS)
        assert all(map(ends, alone.values()))
    for name in MESSAGE_SERVICES:
        told = (tmp_path / name / "log").read_text()
        assert "Traceback" not in told and "zed" not in told and told.count("Connection refused") <= 1


def test_a_service_with_a_wrong_password_says_so_once(tmp_path: Path) -> None:
    """It is refused again and again, its log has one line of it, and it is not ready."""
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "lab.conf").write_text("authorization { users = [ { user: a, password: b } ] }")
    with broker(tmp_path / "broker") as url:
        with message_service("batteries", tmp_path, url.replace("//", "//a:wrong@")) as process:
            service = address(tmp_path / "batteries")
            log = tmp_path / "batteries" / "log"
            eventually(lambda: "Authorization Violation" in log.read_text(), within=STOP_SECONDS)
            refused = rejections(tmp_path / "broker" / "log")
            eventually(lambda: rejections(tmp_path / "broker" / "log") >= refused + 2, within=STOP_SECONDS)
            check_problem(get(service + "/health/ready"), 503, "broker")
            assert ends(process)
        assert log.read_text().count("Authorization Violation") == 1


def rejections(log: Path) -> int:
    """Count how often a broker has told somebody to stay outside."""
    return log.read_text().count("authentication error")


@contextmanager
def message_service(name: str, folder: Path, url: str) -> Iterator[subprocess.Popen]:
    """Run a service by the command of its users, with a broker at an address where perhaps nobody is."""
    command = [sys.executable, "-m", "uvicorn", f"lab_services.bikeshare.{name}:app", "--port", "0"]
    with running(command, folder / name, DATA_DIR="data", RIDERS="zed:700", NATS_URL=url) as process:
        yield process


def address(folder: Path) -> str:
    """Return where a service listens, as its log says."""
    log = folder / "log"
    return str(eventually(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()), within=30).group())


def wait_until_live(url: str) -> None:
    eventually(lambda: get(url + "/health/live").status_code == 200)


def ends(process: subprocess.Popen) -> bool:
    """Ask a process to end, and say whether it did so by itself and in time."""
    process.terminate()
    return process.wait(LEAVE_SECONDS) in (0, -signal.SIGTERM)


@contextmanager
def kept_port() -> Iterator[int]:
    """Keep a port on which nobody listens: no connection can be made from it to itself, and a server may bind it."""
    with socket.socket() as endpoint:
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        endpoint.bind(("127.0.0.1", 0))
        yield int(endpoint.getsockname()[1])


def test_a_service_imports_nothing_of_the_course() -> None:
    """The services know the runtime, the checks and the views as little as these know bikes."""
    code = "import sys, lab_services.bikeshare.rides, lab_services.bikeshare.gateway, lab_services.bikeshare.riders\n"
    code += "from lab_services.bikeshare import ride_ends, billing, displays, batteries\n"
    code += "print(*[name for name in sys.modules if name.startswith('lab_services.')])"
    names = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "lab_services.bikeshare.rides" in names
    assert not re.search(r"lab_services\.(runtime|checks|views|servers|lab)\b", names)


def test_replicas_may_open_one_new_database_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten replicas that start together on an empty folder all start, and create it once."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "new"))

    def start(number: int) -> int:
        with opened("wallet", wallet.SCHEMA), transaction("wallet") as db:
            db.execute(wallet.NEW_WALLET, ["ada", 5000])
            return int(db.execute("SELECT count(*) FROM wallets").fetchone()[0])

    for _ in range(5):
        assert together(10, start) == [1] * 10
        for file in (tmp_path / "new").iterdir():
            file.unlink()


def test_a_replica_waits_while_another_creates_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite refuses to start its log at once, without waiting, while somebody writes: the replica asks again."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with closing(sqlite3.connect(tmp_path / "wallet.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(database, "sleep", lambda seconds: other.in_transaction and other.execute("COMMIT"))
        with opened("wallet", wallet.SCHEMA), transaction("wallet", "BEGIN") as db:
            assert db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert not other.in_transaction


def test_calls_that_queue_behind_a_writer_see_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty equal holds that arrive during a long write queue up, and one of them is placed."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    arrived = []
    connect = database._connect
    monkeypatch.setattr(database, "_connect", lambda name: arrived.append(name) or connect(name))
    body = {"rider_id": "ada", "cents": 2000}
    with in_this_process(wallet.app) as client, ThreadPoolExecutor(20) as pool:
        with transaction("wallet", "BEGIN IMMEDIATE") as db:
            db.execute(wallet.NEW_WALLET, ["new", 5])
            before = len(arrived)
            calls = [pool.submit(client.put, "/holds/h-1", json=body) for _ in range(20)]
            eventually(lambda: len(arrived) == before + 20)
        assert sorted(call.result(20).status_code for call in calls) == [200] * 19 + [201]
        assert client.get("/wallets/ada").json()["balance_cents"] == 3000


def test_an_exception_rolls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction is whole or not at all."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with opened("wallet", wallet.SCHEMA):
        with pytest.raises(Problem), transaction("wallet") as db:
            db.execute(wallet.NEW_WALLET, ["ada", 5000])
            raise Problem(409, "no", "not today")
        with transaction("wallet", "BEGIN") as db:
            assert db.execute("SELECT * FROM wallets").fetchall() == []


def test_a_service_that_lost_its_database_is_live_and_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its file a service answers 503 problems, stays live, and is ready again when the file is back."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with in_this_process(stations.app) as client:
        monkeypatch.setenv("DATA_DIR", str(tmp_path / "away"))
        assert client.get("/health/live").status_code == 200
        check_problem(client.get("/health/ready"), 503, "unable to open")
        check_problem(client.get("/stations"), 503, "unable to open")
        (tmp_path / "away").mkdir()
        (tmp_path / "away" / "stations.db").write_bytes(b"not a database" * 99)
        check_problem(client.put("/stations/A1/taken/r-1"), 503, "not a database")
        check_problem(client.get("/health/ready"), 503, "not a database")
        (tmp_path / "away" / "stations.db").unlink()
        check_problem(client.get("/health/ready"), 503, "lost its tables")
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        assert client.get("/health/ready").status_code == 200


def test_a_writer_that_waits_stops_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one write holds the database, reads and health are answered; the next write waits and succeeds."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    with in_this_process(wallet.app) as client:
        with ThreadPoolExecutor(1) as pool:
            with transaction("wallet"):
                waiting = pool.submit(client.put, "/wallets/new", json={"deposited_cents": 5})
                for path in ("/health/live", "/health/ready", "/wallets/ada"):
                    assert client.get(path, timeout=2).status_code == 200
                assert not waiting.done()
            assert waiting.result(10).status_code == 201


def test_our_own_mistake_is_a_problem_without_a_traceback() -> None:
    """An exception that nobody expected is a 500 problem that gives nothing away."""
    app = FastAPI()
    speak_problems(app)

    @app.get("/health/ready")
    async def ready() -> None: ...

    @app.get("/mistake")
    async def mistake() -> None:
        raise RuntimeError("secret of the house")

    with in_this_process(app) as client:
        answer = client.get("/mistake")
        assert check_problem(answer, 500)["type"] == "about:blank"
        assert "secret" not in answer.text
