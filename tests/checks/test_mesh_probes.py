"""How checks ask a control plane and its Envoys: a held question is seen as held, and what comes is told in words."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lab_services.checks.mesh_probes import MeshProbe, answered

SECONDS = 10.0
HELD_SECONDS = 0.2
ENDPOINTS = {
    "cluster_name": "pricing",
    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"port_value": 9}}}}]}],
}


class Stand(ThreadingHTTPServer):
    """Stands in for a control plane, for an Envoy's admin page and for its outbound port, all at one address."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.news = threading.Event()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.calls: list[str] = []
        self.replies: list[tuple[int, bytes]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Stand
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, question))
        if question.get("version_info") == "1":
            self.server.news.wait(SECONDS)
        if question["node"]["id"] == "gone-1":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if question["node"]["id"] == "odd-1":
            self._send(500, b"[]")
            return
        found = {"version_info": "2", "resources": [ENDPOINTS, {"name": "app"}]}
        self._send(200, json.dumps(found).encode())

    def do_GET(self) -> None:
        self.server.calls.append(self.path)
        if self.path.startswith("/stats"):
            wanted = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            stats: list[dict[str, Any]] = [
                {"name": "a.rejected", "value": 3},
                {"name": "b", "value": 0},
                {"histograms": {}},
            ]
            assert wanted == {"format": ["json"], "usedonly": [""], "filter": ["rejected$"]}
            self._send(200, json.dumps({"stats": stats}).encode())
        else:
            self._send(*self.server.replies.pop(0))

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stand() -> Iterator[Stand]:
    """A stand-in that listens."""
    made = Stand()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.news.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def mesh(stand: Stand, tmp_path: Path) -> Iterator[MeshProbe]:
    """A mesh of one node, whose plane, admin page and outbound port are the stand-in."""
    node = {"node": "rides-1", "outbound": stand.server_port, "admin": stand.server_port, "state": "ready"}
    (tmp_path / "mesh.json").write_text(json.dumps([node]))
    probe = MeshProbe({"plane": SimpleNamespace(url=stand.url, data=tmp_path)})
    yield probe
    probe.close()


def test_a_question_is_what_an_envoy_asks(mesh: MeshProbe, stand: Stand) -> None:
    """Node, kind, names and version arrive as Envoy writes them; an Envoy that has nothing says no version."""
    answer = mesh.ask("rides-1", "endpoints", "pricing").answer(SECONDS)
    mesh.ask("rides-1", "clusters", have="7").answer(SECONDS)
    node = {"id": "rides-1", "cluster": "rides"}
    assert stand.asked == [
        ("/v3/discovery:endpoints", {"node": node, "resource_names": ["pricing"]}),
        ("/v3/discovery:clusters", {"node": node, "version_info": "7"}),
    ]
    assert answer is not None and (answer.status, answer.version) == (200, "2")
    assert answer.names == {"pricing", "app"} and answer.ports == {9} and 0 < answer.seconds < SECONDS
    assert repr(answer).startswith("200 version 2, ['app', 'pricing'] [9] after ")


def test_a_held_question_has_no_answer_until_there_is_one(mesh: MeshProbe, stand: Stand) -> None:
    """Waiting ends when it has lasted long enough, and an answer that comes later is not lost."""
    held = mesh.ask("rides-1", "endpoints", "pricing", have="1")
    began = time.monotonic()
    assert answered([held], HELD_SECONDS) == [] and held.answer(0) is None
    assert time.monotonic() - began >= HELD_SECONDS
    assert repr(held) == "rides-1 asks for endpoints pricing and has 1: no answer"
    stand.news.set()
    assert answered([held], SECONDS) == [held]
    answer = held.answer(0)
    assert answer is not None and answer.version == "2" and answer.seconds >= HELD_SECONDS


def test_what_is_no_answer_of_a_plane_is_told_as_it_came(mesh: MeshProbe) -> None:
    """A connection that is cut has the status 0, and an answer without resources its text."""
    cut, odd = (mesh.ask(node, "listeners").answer(SECONDS) for node in ("gone-1", "odd-1"))
    assert cut is not None and cut.status == 0 and cut.version == "" and cut.text
    assert odd is not None and (odd.status, odd.text, odd.names, odd.ports) == (500, "[]", set(), set())
    assert repr(odd).startswith("500 [] after ")


def test_calls_go_through_the_outbound_port(mesh: MeshProbe, stand: Stand) -> None:
    """Who answered is counted by replica, failures by their status; the name is left to the sidecar."""
    stand.replies = [(200, b'{"replica": 1}'), (200, b'{"replica": 2}'), (503, b"no"), (200, b'{"replica": 1}')]
    assert mesh.replicas("rides-1", "http://pricing/quote", 4) == {"1": 2, "2": 1, "status 503": 1}
    assert stand.calls == ["http://pricing/quote"] * 4


def test_the_registry_is_replaced_whole(mesh: MeshProbe, tmp_path: Path) -> None:
    """A change leaves the rest of the file as it is, and no other file behind."""
    before = (tmp_path / "mesh.json").stat().st_ino
    mesh.change("rides-1", state="draining")
    assert mesh.registry()["rides-1"]["state"] == "draining" and mesh.registry()["rides-1"]["admin"]
    assert (tmp_path / "mesh.json").stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.json"]


def test_counters_are_those_that_were_asked_for(mesh: MeshProbe) -> None:
    """The admin page is asked for the names that match, and what is 0 is left out."""
    assert mesh.counters("rides-1", "rejected$") == {"a.rejected": 3}
