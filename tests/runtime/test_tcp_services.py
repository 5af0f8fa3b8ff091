"""Services with a protocol of their own over TCP live like the others: they start, follow edits, drain, stop."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from lab_services.errors import BrokenCode, ServiceCrashed
from lab_services.lab import Lab
from tests.runtime.conftest import Maker, alive, family, refused, service, until, write

ECHO = """
import asyncio, os, pathlib
from words import WORD

HERE = pathlib.Path(os.environ["DATA_DIR"])


async def serve(reader, writer):
    print("a caller has come", flush=True)
    try:
        while line := await reader.readline():
            if line == b"die\\n":
                os._exit(9)
            if line == b"fail\\n":
                raise ValueError("no such line")
            if line == b"slow\\n":
                (HERE / "begun").touch()
                while not (HERE / "go").exists():
                    await asyncio.sleep(0.01)
            writer.write(f"{WORD} {os.getpid()} {os.environ['REPLICA']} ".encode() + line)
    finally:
        print("a caller has gone", flush=True)
"""
WORDS = 'WORD = "hello"\n'
CALLER = """
import os
from fastapi import FastAPI

app = FastAPI()
settings = {key: value for key, value in os.environ.items() if key.startswith("ECHO_")}

@app.get("/health/ready")
def ready(): return {}

@app.get("/settings")
def tell(): return settings
"""
SECONDS = 10.0


def make_echo(make_town: Maker, source: str = ECHO, **fields: object) -> Lab:
    """Return a lab whose service `echo` speaks lines over TCP; it is not started yet."""
    spec = service("echo", **{"target": "echo:serve", "speaks": "tcp", **fields})
    lab = make_town(spec, service("desk", calls=("echo",)), echo=source, desk=CALLER)
    write(lab.folder / "words.py", WORDS)
    return lab


def connected(target: str) -> socket.socket:
    """Connect to host:port."""
    host, _, port = target.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS)


def ask(line: socket.socket, text: str = "") -> list[str]:
    """Send one line and return the words of the answer; none when the connection was closed instead."""
    line.sendall(text.encode() + b"\n")
    return heard(line)


def heard(line: socket.socket) -> list[str]:
    """Read one answer."""
    with line.makefile("rb") as answers:
        return answers.readline().decode().split()


def word(target: str) -> str:
    """Ask for the word, on a connection of its own."""
    with connected(target) as line:
        return ask(line)[0]


def down(target: str) -> bool:
    """Say whether nobody listens at host:port."""
    return refused(f"http://{target}")


@pytest.mark.parametrize("launch", ["warm", "cold"])
def test_a_tcp_service_answers_when_start_returns(make_town: Maker, launch: str) -> None:
    """start() returns when connections are served; the address is host and port, for callers, too."""
    lab = make_echo(make_town, launch=launch)
    lab.start()
    handle = lab["echo"]
    assert handle.url.startswith("127.0.0.1:") and handle.state == "ready" and word(handle.url) == "hello"
    settings = httpx.get(lab["desk"].url + "/settings").json()
    assert settings["ECHO_URL"] == handle.url
    assert json.loads(Path(settings["ECHO_REPLICAS_FILE"]).read_text()) == [handle.url]


def test_a_replaced_tcp_service_is_reached_at_the_other_address(make_town: Maker) -> None:
    """With replace=, callers get the other host and port, without a scheme."""
    lab = make_echo(make_town)
    lab.start(replace={"echo": "tcp://127.0.0.1:9"})
    assert httpx.get(lab["desk"].url + "/settings").json()["ECHO_URL"] == "127.0.0.1:9"


def test_weather_stands_between_a_caller_and_a_tcp_service(make_town: Maker) -> None:
    """The fault proxy passes the bytes of a protocol that it does not know, and can cut them off."""
    lab = make_echo(make_town)
    lab.start(weather="calm")
    proxied = httpx.get(lab["desk"].url + "/settings").json()["ECHO_URL"]
    assert proxied != lab["echo"].url
    with connected(proxied) as line:
        assert ask(line, "\0\0")[0] == "hello"
        assert ask(line, "more")[0] == "hello"


@pytest.mark.parametrize("launch", ["warm", "cold"])
def test_a_saved_file_takes_effect_at_the_same_address(make_town: Maker, launch: str) -> None:
    """An edit of the program, or of a module that it imports, is served by the next connection."""
    lab = make_echo(make_town, launch=launch)
    lab.start()
    url = lab["echo"].url
    write(lab.folder / "words.py", 'WORD = "changed"\n')
    assert lab["echo"].url == url and word(url) == "changed"
    write(lab.folder / "echo.py", ECHO.replace("{WORD} ", "{WORD}! "))
    assert lab["echo"].url == url and word(url) == "changed!"


def test_a_restart_refuses_nobody(make_town: Maker) -> None:
    """While the service is restarted five times, each new connection is accepted and its one line is answered."""
    lab = make_echo(make_town)
    lab.start()
    url, stop, pids, failures = lab["echo"].url, threading.Event(), [], []

    def call() -> None:
        while not stop.is_set():
            try:
                with connected(url) as line:
                    pids.append(ask(line)[1])
            except (OSError, IndexError) as error:
                failures.append(repr(error))

    client = threading.Thread(target=call, daemon=True)
    client.start()
    for _ in range(5):
        before = len(pids)
        until(lambda before=before: len(pids) > before + 5)
        lab.restart("echo")
    before = len(pids)
    until(lambda: len(pids) > before + 5)
    stop.set()
    client.join()
    assert [failure for failure in failures if "Refused" in failure] == []
    assert len(failures) <= 5, "what is sent into a restart may be lost: only the service knows where a message ends"
    assert len(set(pids)) == 6


def test_a_restart_answers_what_the_older_process_owes(make_town: Maker) -> None:
    """A line that a restart overtakes is answered by the version that read it; then its connection is closed."""
    lab = make_echo(make_town)
    lab.start()
    handle = lab["echo"]
    with connected(handle.url) as slow, connected(handle.url) as idle, ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, slow, "slow")
        until((handle.data / "begun").exists)
        write(lab.folder / "words.py", 'WORD = "changed"\n')
        assert word(lab["echo"].url) == "changed" and not answer.done()
        assert heard(idle) == []
        (handle.data / "go").touch()
        assert answer.result()[:2] == ["hello", str(handle.pids[0])]
        assert heard(slow) == []
    until(lambda: not alive(handle.pids[0]))


def test_a_stop_finishes_what_is_owed(make_town: Maker) -> None:
    """SIGTERM lets a begun answer come, closes the idle connections at once, and refuses everybody afterwards."""
    lab = make_echo(make_town)
    lab.start()
    handle = lab["echo"]
    with connected(handle.url) as slow, connected(handle.url) as idle, ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, slow, "slow")
        until((handle.data / "begun").exists)
        stopping = pool.submit(lab.stop)
        assert heard(idle) == []
        (handle.data / "go").touch()
        assert answer.result()[0] == "hello"
        stopping.result()
    assert not alive(handle.pids[0]) and down(handle.url)


def test_what_never_ends_is_cancelled(make_town: Maker) -> None:
    """A connection that does not end in time is cancelled, with its `finally`; the process leaves in order."""
    lab = make_echo(make_town)
    lab.start()
    handle = lab["echo"]
    with connected(handle.url) as slow:
        slow.sendall(b"slow\n")
        until((handle.data / "begun").exists)
        began = time.monotonic()
        lab.stop()
        assert time.monotonic() - began < 6 and heard(slow) == []
    log = (handle.data.parents[1] / "logs" / "echo.log").read_text()
    assert log.count("has gone") == log.count("has come") and "Traceback" not in log


def test_a_caller_that_does_not_read_cannot_hold_up_the_end(make_town: Maker) -> None:
    """Answers that nobody takes are thrown away, in bounded time."""
    lab = make_echo(make_town, ECHO.replace(".encode() + line", ".encode() * 1_000_000"))
    lab.start()
    with connected(lab["echo"].url) as line:
        line.sendall(b"a\n")
        until(lambda: "has come" in repr(lab.logs("echo")))
        began = time.monotonic()
        lab.stop()
        assert time.monotonic() - began < 8


def test_one_failure_ends_one_connection(make_town: Maker) -> None:
    """An exception in `serve` is in the log and closes its connection; the others go on."""
    lab = make_echo(make_town)
    lab.start()
    with connected(lab["echo"].url) as good, connected(lab["echo"].url) as bad:
        assert ask(good)[0] == "hello" and ask(bad, "fail") == []
        assert ask(good)[0] == "hello"
    assert "no such line" in repr(lab.logs("echo"))


def test_a_caller_that_leaves_is_no_mistake(make_town: Maker) -> None:
    """The log has a mistake that a task of a connection made, and nothing of callers that left in mid-message."""
    grouped = """
        import asyncio

        async def task(line):
            if line != b"fine\\n":
                raise {b"mistake\\n": ValueError("in a task")}.get(line, ConnectionResetError("of a caller"))

        async def serve(reader, writer):
            async with asyncio.TaskGroup() as group:
                while line := await reader.readuntil(b"\\n"):
                    group.create_task(task(line))
        """
    lab = make_echo(make_town, grouped)
    lab.start()
    for text in ("gone", "mistake", "half a line"):
        with connected(lab["echo"].url) as line:
            assert ask(line, text) == []
    shown = repr(lab.logs("echo", lines=100))
    assert "in a task" in shown and "ConnectionResetError: of" not in shown and "IncompleteRead" not in shown


@pytest.mark.parametrize(
    ("broken", "what", "step"),
    [
        ("async def serve(reader, writer)\n    pass\n", "Python cannot read echo.py", "mend echo.py:1"),
        ("async def server(reader, writer): ...\n", "echo.py has no 'serve'", "async def serve(reader, writer): ..."),
        ("import nothing_there\n", "echo.py cannot be imported", "mend echo.py:1"),
        ("async def serve(connection): ...\n", "echo.py cannot serve a connection", "async def serve(reader, writer)"),
        ("def serve(reader, writer): ...\n", "echo.py cannot serve a connection", "async def serve(reader, writer)"),
        ("serve = 3\n", "echo.py cannot serve a connection", "async def serve(reader, writer)"),
    ],
)
def test_broken_code_is_told_and_the_version_before_serves_on(
    make_town: Maker, broken: str, what: str, step: str
) -> None:
    """A slip is told with its file and what to write; the connections of the version before it stay served."""
    lab = make_echo(make_town)
    lab.start()
    url = lab["echo"].url
    with connected(url) as line:
        assert ask(line)[0] == "hello"
        write(lab.folder / "echo.py", broken)
        with pytest.raises(BrokenCode) as failure:
            _ = lab["echo"]
        assert what in failure.value.what and step in failure.value.next_step
        assert ask(line)[0] == word(url) == "hello"


def test_killed_paused_crashed(make_town: Maker) -> None:
    """kill() refuses at once, launch() brings it back, pause() hangs, a crash is a state."""
    lab = make_echo(make_town)
    lab.start()
    url = lab["echo"].url
    lab.kill("echo")
    assert down(url) and lab["echo"].state == "killed"
    lab.launch("echo")
    with connected(url) as line:
        assert ask(line)[0] == "hello"
        lab.pause("echo")
        until(lambda: psutil.Process(lab["echo"].pids[0]).status() == psutil.STATUS_STOPPED)
        line.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(line)
        lab.resume("echo")
        line.settimeout(SECONDS)
        assert heard(line)[0] == "hello"
        assert ask(line, "die") == []
    until(lambda: lab["echo"].state == "crashed")
    lab.restart("echo")
    assert word(url) == "hello"


def test_a_crash_while_starting_is_told(make_town: Maker) -> None:
    """A program that ends at import is a crash with its exit code."""
    lab = make_echo(make_town, "import os\nos._exit(7)\n")
    with pytest.raises(ServiceCrashed, match="7"):
        lab.start()


def test_replicas_have_addresses_of_their_own(make_town: Maker) -> None:
    """Callers find every replica in the file, as those of gRPC do; no balancer cuts a connection into calls."""
    lab = make_echo(make_town, replicas=2)
    lab.start()
    targets = lab["echo"].replica_urls
    file = Path(httpx.get(lab["desk"].url + "/settings").json()["ECHO_REPLICAS_FILE"])
    assert len(targets) == 2 and json.loads(file.read_text()) == list(targets)
    for number, target in enumerate(targets, 1):
        with connected(target) as line:
            assert ask(line)[2] == str(number)


def test_nothing_is_left_behind(make_town: Maker) -> None:
    """After close() no process lives and the port refuses; while the lab runs, it listens on loopback only."""
    lab = make_echo(make_town)
    lab.start()
    url, pids = lab["echo"].url, family(lab)
    for pid in pids:
        for connection in psutil.Process(pid).net_connections("inet"):
            assert connection.laddr.ip == "127.0.0.1"
    with connected(url):
        lab.restart("echo")
        lab.close()
    until(lambda: not any(alive(pid) for pid in pids))
    assert down(url)


def test_a_killed_supervisor_takes_it_along(make_town: Maker) -> None:
    """When the supervisor is killed, no TCP service outlives it."""
    lab = make_echo(make_town)
    lab.start()
    pids = family(lab)
    os.kill(pids[0], 9)
    until(lambda: not any(alive(pid) for pid in pids))
