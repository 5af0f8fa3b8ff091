"""The balancer: fair turns, no request lost that can be saved, no POST sent twice, both directions streamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.runtime.raw_server import Answer, RawServer, nothing, ok

READY_SECONDS = 10.0
BIG = 50 * 1024 * 1024


@dataclass(frozen=True)
class Front:
    """A running balancer: where it is, its process, and the file that names its replicas."""

    url: str
    process: psutil.Process
    file: Path

    def use(self, *replicas: RawServer | str) -> None:
        """Replace the file, as the runtime does."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps([r if isinstance(r, str) else r.url for r in replicas]))
        os.replace(fresh, self.file)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One balancer process for all tests, without replicas at first."""
    file = tmp_path_factory.mktemp("balancer") / "replicas.json"
    file.write_text("[]")
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    uvicorn = [sys.executable, "-m", "uvicorn", "lab_services.runtime.balancer:app", "--fd", str(listener.fileno())]
    process = subprocess.Popen(
        [*uvicorn, "--log-level", "warning", "--no-access-log", "--no-proxy-headers"],
        env={**os.environ, "REPLICAS_FILE": str(file)},
        pass_fds=[listener.fileno()],
    )
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    end = time.monotonic() + READY_SECONDS
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url + "/health/live", timeout=1).status_code == 200:
                break
        assert time.monotonic() < end, "the balancer did not start"
        time.sleep(0.02)
    yield Front(url, psutil.Process(process.pid), file)
    process.terminate()
    process.wait(10)


@pytest.fixture
def make_replica() -> Iterator[Callable[..., RawServer]]:
    """Make replicas that are gone after the test."""
    made: list[RawServer] = []

    def make(answer: Answer = ok, **settings: bool) -> RawServer:
        made.append(RawServer(answer, **settings))
        return made[-1]

    yield make
    for replica in made:
        replica.end()


MakeReplica = Callable[..., RawServer]


def test_three_healthy_replicas_share_exactly(front: Front, make_replica: MakeReplica) -> None:
    """300 requests over 3 healthy replicas are 100 each, whatever their method."""
    replicas = [make_replica() for _ in range(3)]
    front.use(*replicas)
    with httpx.Client(base_url=front.url) as client:
        for n in range(300):
            assert client.request(("GET", "PUT", "POST")[n % 2], "/x").status_code == 200
    assert [len(replica.calls) for replica in replicas] == [100, 100, 100]


def test_many_at_once_share_exactly(front: Front, make_replica: MakeReplica) -> None:
    """The turns stay exact with 16 clients at once."""
    replicas = [make_replica() for _ in range(3)]
    front.use(*replicas)

    async def ask_all() -> list[int]:
        async with httpx.AsyncClient(base_url=front.url, limits=httpx.Limits(max_connections=16)) as client:
            return [answer.status_code for answer in await asyncio.gather(*(client.get("/x") for _ in range(150)))]

    assert asyncio.run(ask_all()) == [200] * 150
    assert [len(replica.calls) for replica in replicas] == [50, 50, 50]


def test_the_request_arrives_as_it_was_sent(front: Front, make_replica: MakeReplica) -> None:
    """Method, path with its escapes, query, Host and body arrive; fields of the hop do not; Via and the client do."""
    replica = make_replica()
    front.use(replica)
    answer = httpx.request(
        "PATCH",
        front.url + "/a%2Fb/%C3%A4?q=1%202&q=%2B",
        content=b"body",
        headers={
            "Host": "rides.city",
            "Connection": "keep-alive, X-Secret",
            "X-Secret": "1",
            "Keep-Alive": "5",
            "TE": "trailers",
            "X-Forwarded-For": "10.0.0.7",
            "X-Kept": "yes",
        },
    )
    assert answer.content == b"body"
    assert answer.headers["via"] == "1.1 balancer"
    [(method, path, headers, body)] = replica.calls
    assert (method, path, body) == ("PATCH", "/a%2Fb/%C3%A4?q=1%202&q=%2B", b"body")
    assert headers["host"] == "rides.city"
    assert headers["x-forwarded-for"] == "10.0.0.7, 127.0.0.1"
    assert headers["via"] == "1.1 balancer"
    assert headers["x-kept"] == "yes"
    assert not {"x-secret", "keep-alive", "te"} & set(headers)


def test_a_target_is_not_tidied_on_its_way(front: Front, make_replica: MakeReplica) -> None:
    """Dots, empty segments and escapes belong to whom the request is for: a proxy changes none (RFC 9110, 7.7)."""
    replica = make_replica()
    front.use(replica)
    targets = ["/a/../b?x=/../y", "/./a//b/", "/a/%2e%2e/b%2Fc", "/a;b=1?q=a+b"]
    with httpx.Client(base_url=front.url) as client:
        for target in targets:
            assert client.get("/", extensions={"target": target.encode()}).status_code == 200
    assert [path for _, path, _, _ in replica.calls] == targets


def test_the_answer_comes_back_as_it_was_given(front: Front, make_replica: MakeReplica) -> None:
    """Status, repeated fields and a compressed body come back untouched; fields of the hop do not; one Date only."""
    raw = b"\x1f\x8b not really gzip"
    replica = make_replica(
        lambda *_: (
            b"HTTP/1.1 203 Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Encoding: gzip\r\nDate: then\r\n"
            b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 9\r\nContent-Length: %d\r\n\r\n%b" % (len(raw), raw)
        )
    )
    front.use(replica)
    with httpx.stream("GET", front.url + "/") as answer:
        assert b"".join(answer.iter_raw()) == raw
    assert answer.status_code == 203
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert len(answer.headers.get_list("date")) == 1
    assert not {"x-hop", "keep-alive"} & set(answer.headers)


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: 1\r\nContent-Length: 1000\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
def test_answers_without_a_body_end(front: Front, make_replica: MakeReplica, method: str, head: bytes) -> None:
    """HEAD, 304 and 204 have no body, and the connection to the client goes on."""
    front.use(make_replica(lambda *_: head))
    with httpx.Client(base_url=front.url) as client:
        for _ in range(3):
            answer = client.request(method, "/")
            assert (answer.status_code, answer.content) == (int(head.split()[1]), b"")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_goes_to_the_next(front: Front, make_replica: MakeReplica, method: str) -> None:
    """When a replica refuses, nothing was processed: the next one gets the request, also a POST."""
    down, up = make_replica(), make_replica()
    down.stop()
    front.use(down, up)
    answers = [httpx.request(method, front.url + "/", content=b"x").status_code for _ in range(6)]
    assert answers == [200] * 6
    assert len(up.calls) == 6


def test_a_get_whose_answer_was_lost_is_sent_again(front: Front, make_replica: MakeReplica) -> None:
    """An idempotent request whose answer did not come is sent to the next replica, with its body."""
    for method in ("GET", "PUT", "DELETE"):
        broken, up = make_replica(nothing), make_replica()
        front.use(broken, up)
        answers = [httpx.request(method, front.url + "/", content=b"abc") for _ in range(2)]
        assert [answer.content for answer in answers] == [b"abc", b"abc"]
        assert len(broken.calls) == 1 and len(up.calls) == 2


def test_a_post_whose_answer_was_lost_is_not_sent_again(front: Front, make_replica: MakeReplica) -> None:
    """A POST that may have taken effect is answered with 502 problem+json and reaches no second replica."""
    broken, up = make_replica(nothing), make_replica()
    front.use(broken, up)
    answers = [httpx.post(front.url + "/", content=b"abc") for _ in range(2)]
    assert sorted(answer.status_code for answer in answers) == [200, 502]
    [bad] = [answer for answer in answers if answer.status_code == 502]
    assert bad.headers["content-type"] == "application/problem+json"
    assert bad.json()["status"] == 502 and broken.url in bad.json()["detail"]
    assert len(broken.calls) == 1 and len(up.calls) == 1


def test_a_large_body_is_not_sent_again(front: Front, make_replica: MakeReplica) -> None:
    """A PUT of more than 64 kB is a stream that is gone once sent: 502, and no second replica sees it."""
    broken, also_broken = make_replica(nothing), make_replica(nothing)
    front.use(broken, also_broken)
    assert httpx.put(front.url + "/", content=b"x" * 200_000).status_code == 502
    assert len(broken.calls) + len(also_broken.calls) == 1


def test_a_large_body_survives_a_refused_connection(front: Front, make_replica: MakeReplica) -> None:
    """Where nothing was sent, a large body goes whole to the next replica."""
    down, up = make_replica(), make_replica()
    down.stop()
    front.use(down, up)
    for _ in range(2):
        assert len(httpx.post(front.url + "/", content=b"x" * 200_000).content) == 200_000


def test_a_replica_that_closes_idle_connections_costs_no_post(front: Front, make_replica: MakeReplica) -> None:
    """A POST uses a connection of its own: a replica that closes after each answer is no reason to fail."""
    replica = make_replica(keep_alive=False)
    front.use(replica)
    with httpx.Client(base_url=front.url) as client:
        answers = [client.post("/", content=b"x").status_code for _ in range(50)]
    assert answers == [200] * 50 and replica.connections == 50


def test_a_failed_replica_is_left_alone_and_comes_back(front: Front, make_replica: MakeReplica) -> None:
    """After a failure a replica gets nothing for half a second; then it takes its turns again."""
    flaky, steady = make_replica(nothing), make_replica()
    front.use(flaky, steady)
    with httpx.Client(base_url=front.url) as client:
        while not flaky.calls:
            client.get("/")
        ejected = time.monotonic()
        flaky.answer = ok
        counted = 0
        while len(flaky.calls) == 1:
            assert client.get("/").status_code == 200
            counted += 1
            assert time.monotonic() - ejected < 5, "it never came back"
        assert time.monotonic() - ejected >= 0.4
        assert counted > 5
        before = Counter(flaky=len(flaky.calls), steady=len(steady.calls))
        for _ in range(20):
            client.get("/")
    assert len(flaky.calls) - before["flaky"] == len(steady.calls) - before["steady"] == 10


def test_without_replicas_it_says_so(front: Front, make_replica: MakeReplica) -> None:
    """No replica, or none that answers: 503 problem+json that names them, and not ready; live all the time."""
    down = make_replica()
    down.stop()
    for replicas in ([], [down]):
        front.use(*replicas)
        for _ in range(2):
            answer = httpx.get(front.url + "/x")
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert all(replica.url in answer.json()["detail"] for replica in replicas)
        assert httpx.get(front.url + "/health/ready").status_code == 503
        assert httpx.get(front.url + "/health/live").status_code == 200


def test_all_failed_is_no_reason_not_to_try(front: Front, make_replica: MakeReplica) -> None:
    """When every replica has just failed they are tried all the same: the first to come back answers at once."""
    replica = make_replica()
    front.use(replica)
    replica.stop()
    assert httpx.get(front.url + "/").status_code == 503
    replica.start()
    assert httpx.get(front.url + "/").status_code == 200


def test_it_is_ready_with_one_ready_replica(front: Front, make_replica: MakeReplica) -> None:
    """One ready replica is enough, even beside one that hangs and one that refuses."""
    down = make_replica()
    down.stop()
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        front.use(down, f"http://127.0.0.1:{hanging.getsockname()[1]}", make_replica())
        began = time.monotonic()
        assert httpx.get(front.url + "/health/ready").status_code == 200
        assert time.monotonic() - began < 0.9


def test_half_an_answer_is_not_passed_off_as_a_whole(front: Front, make_replica: MakeReplica) -> None:
    """When a replica breaks off in the middle of its answer, the client notices."""
    front.use(make_replica(lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", keep_alive=False))
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(front.url + "/")


def test_large_bodies_do_not_stand_in_memory(front: Front, make_replica: MakeReplica) -> None:
    """50 MB there and 50 MB back cost the balancer less than 20 MB."""
    part = b"x" * 65536
    seen: list[int] = []

    def parts() -> Iterator[bytes]:
        for _ in range(BIG // len(part)):
            seen.append(front.process.memory_info().rss)
            yield part

    front.use(make_replica())
    httpx.post(front.url + "/", content=b"x" * 100_000)
    before = front.process.memory_info().rss
    upload = httpx.Request("POST", front.url + "/", content=parts(), headers={"Content-Length": str(BIG)})
    with httpx.Client(timeout=30) as client:
        answer = client.send(upload, stream=True)
        received = 0
        for chunk in answer.iter_raw():
            received += len(chunk)
            seen.append(front.process.memory_info().rss)
        answer.close()
    assert received == BIG
    assert max(seen) - before < 20 * 1024 * 1024


def test_a_client_that_leaves_ends_the_stream(front: Front, make_replica: MakeReplica) -> None:
    """When the client leaves in the middle of an endless answer, the replica's connection is closed, too."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                with contextlib.suppress(OSError):
                    while not over.wait(0.02):
                        connection.sendall(b"1\r\nx\r\n")
                over.set()

        thread = threading.Thread(target=drip)
        thread.start()
        front.use(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with httpx.stream("GET", front.url + "/") as answer:
            assert next(answer.iter_raw())
        thread.join(5)
        stopped_by_itself = over.is_set()
        over.set()
        thread.join(5)
    assert stopped_by_itself


def test_the_file_is_followed_while_running(front: Front, make_replica: MakeReplica) -> None:
    """A replaced file takes effect with the next request; a file that is gone changes nothing."""
    first, second = make_replica(), make_replica()
    for replica in (first, second, first):
        front.use(replica)
        before = len(replica.calls)
        httpx.get(front.url + "/")
        assert len(replica.calls) == before + 1
    front.file.unlink()
    assert httpx.get(front.url + "/").status_code == 200
