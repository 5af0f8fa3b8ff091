"""The caller and the stand-ins for the checks of a mesh's routes, without an Envoy between them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab_services.checks import FakeService, eventually
from lab_services.checks.mesh_routing import Application, Asked, Version, said_by

NODE = {"service": "rides", "replica": 1, "node": "rides-1", "speaks": "http", "state": "ready"}


@pytest.fixture
def version() -> Version:
    """A version that answers."""
    return Version("v1")


@pytest.fixture
def rides(version: Version, tmp_path: Path) -> Iterator[Application]:
    """An application whose proxy is that version itself."""
    service = FakeService("v1", version)
    file, port = tmp_path / "mesh.json", int(service.url.rpartition(":")[2])
    file.write_text(json.dumps([NODE | {"inbound": 1, "admin": 2, "outbound": port}]))
    yield Application(file, "rides", "pricing")
    version.go.set()
    service.close()


def test_who_answers_is_told_in_the_order_of_the_calls(rides: Application, version: Version) -> None:
    """Each call is made once, on one of the connections, with its id; answers keep their places."""
    version.status = lambda call, attempt: 500 if call.headers.get("x-ride") == "bad" else 200
    asked = [Asked(headers={"x-ride": "bad"} if place == 3 else {}) for place in range(10)]
    assert rides.ask(asked, 3) == ["v1"] * 3 + ["v1 500"] + ["v1"] * 6
    assert version.attempts() == dict.fromkeys((one.id for one in asked), 1)
    assert rides.ask([]) == []


def test_what_is_written_is_in_the_book_whatever_is_answered(rides: Application, version: Version) -> None:
    """A POST and a PUT are written down, also when the connection then breaks; a GET is not."""
    version.status = lambda call, attempt: 0
    asked = [Asked(), Asked("POST", "/receipts"), Asked("PUT", "/receipts/r1")]
    assert rides.ask(asked, 1) == ["nobody"] * 3
    assert version.book == [one.id for one in asked[1:]] and version.attempts("GET") == {asked[0].id: 1}


def test_a_second_attempt_is_known_as_one(rides: Application, version: Version) -> None:
    """The same call once more is its second attempt, and may be answered otherwise."""
    version.status = lambda call, attempt: 503 if attempt == 1 else 200
    asked = [Asked()]
    assert rides.ask(asked) + rides.ask(asked) == ["v1 503", "v1"]


def test_a_version_that_hangs_has_got_the_call(rides: Application, version: Version) -> None:
    """While `go` is not set the attempt is in the ledger and not answered."""
    version.go.clear()
    found: list[str] = []
    calling = threading.Thread(target=lambda: found.extend(rides.ask([Asked()])))
    calling.start()
    eventually(lambda: version.attempts().total() == 1)
    assert found == []
    version.go.set()
    calling.join()
    assert found == ["v1"]


def test_what_no_version_says_is_the_envoys() -> None:
    """A text, or JSON without a version, is nobody else's answer."""
    assert [said_by(503, each) for each in (b"no healthy upstream", b"[]", b'{"detail": ""}')] == ["Envoy 503"] * 3
    assert said_by(200, b'{"version": "v2"}') == "v2"
