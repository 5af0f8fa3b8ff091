"""The fault proxy breaks connections in the way it was told to, and in no other."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from lab_services.errors import LabError
from lab_services.runtime.edge_fault import EdgeFault
from lab_services.runtime.faults import decisions
from lab_services.runtime.weather import DROP, LOSE, PASS, RESET
from tests.runtime.raw_server import RawServer, ok

MEBIBYTE = 1024 * 1024
START = "import socket, sys; from lab_services.runtime.faults import run; "
START += "run([socket.socket(fileno=int(n)) for n in sys.argv[1:]])"
EDGE = "rides->wallet"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Proxy:
    """The real process with one edge to a raw server and one that leads nowhere."""

    def __init__(self, target: RawServer) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(5)
        self._answers = self._control.makefile("rb")
        self.listeners = [socket.create_server(("127.0.0.1", 0), backlog=256) for _ in range(2)]
        places = [{"name": EDGE, "host": "127.0.0.1", "port": port_of(target.url)}, {"name": "rides->broker"}]
        passed = [theirs.fileno(), *(listener.fileno() for listener in self.listeners)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *map(str, passed)],
            env={**os.environ, "EDGES": json.dumps(places)},
            pass_fds=passed,
        )
        theirs.close()
        self.port, self.second_port = (listener.getsockname()[1] for listener in self.listeners)
        self.url = f"http://127.0.0.1:{self.port}"
        self.edge = EdgeFault(EDGE, self.send)
        self.edge.clear()  # answered: it runs

    def send(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send one command, return its answer."""
        return self.line(json.dumps(message).encode())

    def line(self, line: bytes) -> dict[str, Any]:
        """Send one line as it is, return the answer."""
        self._control.sendall(line + b"\n")
        answer: dict[str, Any] = json.loads(self._answers.readline())
        return answer

    def connect(self, data: bytes = b"") -> socket.socket:
        """Return a raw connection through the edge, with `data` sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.sendall(data)
        return connection

    def hang_up(self) -> None:
        """Close the control socket: the process ends by itself."""
        self._answers.close()
        self._control.close()
        self.process.wait(5)
        for listener in self.listeners:
            listener.close()


def port_of(url: str) -> int:
    """Return the port of an address."""
    return int(url.rpartition(":")[2])


@pytest.fixture
def wallet() -> Iterator[RawServer]:
    """The target of the edge; it answers every request with its body."""
    server = RawServer(ok)
    yield server
    server.end()


@pytest.fixture
def proxy(wallet: RawServer) -> Iterator[Proxy]:
    """A proxy before the wallet; closing its control socket is what ends it."""
    running = Proxy(wallet)
    yield running
    running.hang_up()
    assert running.process.returncode == 0


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    """A client of the edge that keeps its connection."""
    with httpx.Client(base_url=proxy.url, timeout=5) as made:
        yield made


def seconds_of(action: Callable[[], object]) -> float:
    """Return how long it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def test_in_calm_weather_nothing_changes(client: httpx.Client, wallet: RawServer, proxy: Proxy) -> None:
    """Requests and answers pass unchanged on one kept connection, also empty and large ones."""
    for size in (0, 1, 100, 1_000_000):
        answer = client.post("/x?y=1", content=b"z" * size)
        assert (answer.status_code, answer.content) == (200, b"z" * size)
    assert wallet.connections == 1
    assert [(method, path, len(body)) for method, path, _, body in wallet.calls] == [
        ("POST", "/x?y=1", size) for size in (0, 1, 100, 1_000_000)
    ]


def test_latency_holds_for_each_request_of_a_kept_connection(client: httpx.Client, proxy: Proxy) -> None:
    """Each way of every request waits, on the same connection; after clear() nothing does."""
    client.get("/")
    proxy.edge.latency(0.05)
    slow = [seconds_of(lambda: client.get("/")) for _ in range(3)]
    proxy.edge.clear()
    quick = [seconds_of(lambda: client.get("/")) for _ in range(3)]
    assert min(slow) >= 0.1
    assert min(quick) < 0.05


def test_latency_is_paid_once_for_a_message_not_for_each_of_its_bytes(client: httpx.Client, proxy: Proxy) -> None:
    """A megabyte each way costs two delays, like one byte: the connection is slow to answer, not narrow."""
    proxy.edge.latency(0.1)
    assert 0.2 <= seconds_of(lambda: client.post("/", content=b"x" * MEBIBYTE)) < 0.6


def test_jitter_differs_from_request_to_request(client: httpx.Client, proxy: Proxy) -> None:
    """Delays are random up to the limit each way."""
    proxy.edge.jitter(0.05, seed=3)
    took = [seconds_of(lambda: client.get("/")) for _ in range(12)]
    assert max(took) - min(took) > 0.02
    assert sum(took) > 0.2


def test_reset_breaks_open_and_new_connections(proxy: Proxy, client: httpx.Client) -> None:
    """An idle connection and a new one are both reset (RST, no polite end); clear() mends."""
    idle = proxy.connect(GET)
    assert idle.recv(1000).startswith(b"HTTP/1.1 200")
    proxy.edge.reset()
    for connection in (idle, proxy.connect()):
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
    for _ in range(20):
        with pytest.raises((httpx.ReadError, httpx.WriteError)):
            client.get("/")
    proxy.edge.clear()
    assert client.get("/").status_code == 200


def test_a_reset_does_not_wait_for_a_slow_answer(proxy: Proxy, wallet: RawServer) -> None:
    """A request that is on its way is reset in the moment of the command."""
    proxy.edge.latency(30)
    with proxy.connect(GET) as connection:
        proxy.edge.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_half_open_swallows_and_stays_silent(proxy: Proxy, wallet: RawServer) -> None:
    """Old and new connections are read and never answered nor closed, and the target sees nothing."""
    old = proxy.connect(GET)
    assert old.recv(1000)
    proxy.edge.half_open()
    new = proxy.connect(GET)
    old.sendall(GET * 2)
    for connection in (old, new):
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert len(wallet.calls) == 1
    proxy.edge.clear()
    for connection in (old, new):
        connection.settimeout(5)
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_half_open_takes_any_amount_without_keeping_it(proxy: Proxy) -> None:
    """A sender is not slowed down by a half-open connection: 20 MB vanish without growing the process."""
    proxy.edge.half_open()
    before = psutil.Process(proxy.process.pid).memory_info().rss
    with proxy.connect() as connection:
        for _ in range(20):
            connection.sendall(b"x" * MEBIBYTE)
    assert psutil.Process(proxy.process.pid).memory_info().rss - before < 10 * MEBIBYTE


def test_a_connection_that_lost_nothing_outlives_half_open(proxy: Proxy, client: httpx.Client) -> None:
    """An idle connection that sent nothing meanwhile goes on after clear()."""
    client.get("/")
    proxy.edge.half_open()
    proxy.edge.clear()
    assert client.get("/").status_code == 200


def test_a_lost_answer_took_effect(proxy: Proxy, client: httpx.Client, wallet: RawServer) -> None:
    """Of three requests on a kept connection the second loses its answer, yet the target has processed all three."""
    assert client.post("/1").status_code == 200
    proxy.edge.drop_answer()
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/2")
    assert client.post("/3").status_code == 200
    assert [path for _, path, _, _ in wallet.calls] == ["/1", "/2", "/3"]


def test_an_answer_is_lost_only_after_the_target_has_given_all_of_it(proxy: Proxy) -> None:
    """The connection is closed when the whole answer was there: the effect is then sure."""
    said = []
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def answer() -> None:
            connection, _ = slow.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for part in (b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"):
                    threading.Event().wait(0.05)
                    said.append(part)
                    connection.sendall(part)
                connection.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        proxy.send({"edge": EDGE, "fault": "aim", "host": "127.0.0.1", "port": slow.getsockname()[1]})
        proxy.edge.drop_answer()
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(proxy.url)
        assert len(said) == 3
        thread.join(5)


def test_exactly_as_many_answers_are_lost_as_asked_for(proxy: Proxy, wallet: RawServer) -> None:
    """drop_answer(3) under eight callers at once: three see a lost answer, every request reached the target."""
    proxy.edge.drop_answer(times=3)

    def call(n: int) -> str:
        try:
            return str(httpx.post(f"{proxy.url}/{n}").status_code)
        except httpx.RemoteProtocolError:
            return "lost"

    with ThreadPoolExecutor(8) as threads:
        assert Counter(threads.map(call, range(24))) == {"200": 21, "lost": 3}
    assert len(wallet.calls) == 24


def test_refuse_refuses_new_connections_only(proxy: Proxy, client: httpx.Client) -> None:
    """A new connection is refused by the system; an open one goes on; clear() listens at the same address again."""
    client.get("/")
    proxy.edge.refuse()
    with pytest.raises(httpx.ConnectError):
        httpx.get(proxy.url)
    assert client.get("/").status_code == 200
    proxy.edge.clear()
    assert httpx.get(proxy.url).status_code == 200


def test_a_target_that_is_down_is_passed_on(proxy: Proxy, wallet: RawServer) -> None:
    """Where the target refuses, or is not known yet, the caller's connection is reset; with a new aim it works."""
    wallet.stop()
    for port in [proxy.port, proxy.second_port] * 3:
        with pytest.raises((httpx.ReadError, httpx.WriteError)):
            httpx.get(f"http://127.0.0.1:{port}")
    other = RawServer(ok)
    try:
        aim = {"fault": "aim", "host": "127.0.0.1", "port": port_of(other.url)}
        assert proxy.send({"edge": "rides->broker", **aim}) == {"ok": True}
        assert httpx.get(f"http://127.0.0.1:{proxy.second_port}").status_code == 200
    finally:
        other.end()


def test_faults_of_one_edge_leave_the_other_alone(proxy: Proxy, wallet: RawServer) -> None:
    """Reset on one edge, the other edge to the same target works."""
    proxy.send({"edge": "rides->broker", "fault": "aim", "host": "127.0.0.1", "port": port_of(wallet.url)})
    proxy.edge.reset()
    assert httpx.get(f"http://127.0.0.1:{proxy.second_port}").status_code == 200


def test_a_caller_that_has_said_all_still_gets_its_answer(proxy: Proxy) -> None:
    """A caller may close its sending half: the end travels to the target and the answer comes back."""
    with proxy.connect(GET) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200")


def test_another_protocol_passes_and_can_be_slowed_and_cut(proxy: Proxy) -> None:
    """A server that speaks first and answers lines: bytes pass at once, each turn has latency, answers get lost."""
    with socket.create_server(("127.0.0.1", 0)) as lines:

        def talk() -> None:
            for _ in range(2):
                connection, _ = lines.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(b"INFO {}\r\n")
                    while data := connection.recv(1000):
                        connection.sendall(b"PONG " + data)

        thread = threading.Thread(target=talk)
        thread.start()
        proxy.send({"edge": EDGE, "fault": "aim", "host": "127.0.0.1", "port": lines.getsockname()[1]})
        with proxy.connect() as connection:
            assert connection.recv(100) == b"INFO {}\r\n"
            connection.sendall(b"PING\r\n")
            assert connection.recv(100) == b"PONG PING\r\n"
            proxy.edge.latency(0.05)
            for _ in range(2):
                connection.sendall(b"PING\r\n")
                assert seconds_of(lambda: connection.recv(100)) >= 0.1
            proxy.edge.clear()
        with proxy.connect() as connection:
            assert connection.recv(100)
            proxy.edge.drop_answer()
            connection.sendall(b"PING\r\n")
            assert connection.recv(100) == b""
        thread.join(5)
        assert not thread.is_alive()


def test_fifty_megabytes_to_a_slow_reader_do_not_stand_in_memory(proxy: Proxy, wallet: RawServer) -> None:
    """While the caller does not read, the proxy stops reading from the target."""
    wallet.answer = lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (50 * MEBIBYTE) + b"x" * 50 * MEBIBYTE
    before, most, received = psutil.Process(proxy.process.pid).memory_info().rss, 0, 0
    with httpx.stream("GET", proxy.url, timeout=20) as answer:
        for n, part in enumerate(answer.iter_raw()):
            received += len(part)
            if n % 100 == 0:
                threading.Event().wait(0.002)  # the slow reader
                most = max(most, psutil.Process(proxy.process.pid).memory_info().rss)
    assert received == 50 * MEBIBYTE
    assert most - before < 10 * MEBIBYTE


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b'{"edge": "rides->moon", "fault": "reset"}', "rides->wallet"),
        (b'{"edge": "rides->wallet", "fault": "rain"}', "half_open"),
        (b'{"edge": "rides->wallet", "fault": "latency", "seconds": -1}', "seconds is -1"),
        (b'{"edge": "rides->wallet", "fault": "latency"}', "seconds is None"),
        (b'{"edge": "rides->wallet", "fault": "latency", "seconds": NaN}', "seconds is nan"),
        (b'{"edge": "rides->wallet", "fault": "drop_answer", "times": 1.5}', "times is 1.5"),
        (b'{"fault": "weather", "name": "tsunami", "seed": 1}', "calm, drizzle, storm"),
        (b"no json", "Expecting value"),
        (b"[1]", "[1]"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_by_name(proxy: Proxy, line: bytes, word: str) -> None:
    """Every wrong command gets an error that says what would be right, and the proxy goes on."""
    assert word in proxy.line(line)["error"]
    assert httpx.get(proxy.url).status_code == 200


def test_the_handle_turns_a_refusal_into_an_error_with_four_parts(proxy: Proxy) -> None:
    """A wrong number in a notebook is a LabError that names the edge, the call and what was wrong."""
    with pytest.raises(LabError) as caught:
        proxy.edge.latency(-1)
    assert caught.value.where == "latency(seconds=-1)"
    assert EDGE in caught.value.what and "seconds is -1" in caught.value.evidence and caught.value.next_step


def test_decisions_depend_on_seed_edge_and_number_only() -> None:
    """The same seed gives the same weather on an edge; another seed or edge gives another."""

    def first(seed: int, edge: str) -> list[object]:
        return list(itertools.islice(decisions(seed, edge, "storm"), 50))

    assert first(7, EDGE) == first(7, EDGE)
    assert first(7, EDGE) != first(8, EDGE)
    assert first(7, EDGE) != first(7, "rides->stations")


@pytest.mark.parametrize(
    ("weather", "delay", "shares"),
    [
        ("calm", 0.0, {}),
        ("drizzle", 0.03, {DROP: 0.01}),
        ("storm", 0.2, {RESET: 0.03, LOSE: 0.03}),
    ],
)
def test_each_weather_keeps_its_promise(weather: str, delay: float, shares: dict[str, float]) -> None:
    """The longest round trip and the share of each fate over 20,000 decisions."""
    drawn = list(itertools.islice(decisions(1, EDGE, weather), 20_000))
    longest = max(decision.there + decision.back for decision in drawn)
    assert 0.9 * delay <= longest <= delay
    fates = Counter(decision.fate for decision in drawn)
    assert set(fates) == {PASS, *shares}
    for fate, share in shares.items():
        assert fates[fate] / len(drawn) == pytest.approx(share, abs=0.004)


def test_the_proxy_follows_the_decisions(proxy: Proxy, wallet: RawServer) -> None:
    """In a storm each request meets the fate and the delay of its number; `clear` takes no weather away."""
    number = 12
    wanted = {RESET, LOSE}
    seed = next(
        s
        for s in itertools.count()
        if wanted <= {d.fate for d in itertools.islice(decisions(s, EDGE, "storm"), number)}
    )
    assert proxy.send({"fault": "weather", "name": "storm", "seed": seed}) == {"ok": True}
    proxy.edge.clear()
    met, reached = [], []
    for n, decision in enumerate(itertools.islice(decisions(seed, EDGE, "storm"), number)):
        began = time.perf_counter()
        try:
            httpx.get(f"{proxy.url}/{n}")
            met.append(PASS)
            assert time.perf_counter() - began >= decision.there + decision.back
        except httpx.RemoteProtocolError:
            met.append(LOSE)
        except (httpx.ReadError, httpx.WriteError):
            met.append(RESET)
        reached.append(any(path == f"/{n}" for _, path, _, _ in wallet.calls))
    drawn = list(itertools.islice(decisions(seed, EDGE, "storm"), number))
    assert met == [decision.fate for decision in drawn]
    assert reached == [decision.fate != RESET for decision in drawn]


def test_the_same_seed_again_is_the_same_weather_again(proxy: Proxy) -> None:
    """Asking for the weather again begins the sequence again, also in the middle of it."""
    seed = next(s for s in itertools.count() if next(decisions(s, EDGE, "storm")).fate == RESET)
    for _ in range(2):
        proxy.send({"fault": "weather", "name": "storm", "seed": seed})
        with pytest.raises((httpx.ReadError, httpx.WriteError)):
            httpx.get(proxy.url)
    proxy.send({"fault": "weather", "name": "calm"})
    assert httpx.get(proxy.url).status_code == 200
