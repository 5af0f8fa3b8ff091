"""Call a service of the mesh as one application does, by the sidecar beside it; and be the versions that it calls."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from lab_services.mesh.registry import read

from .fakes import Answer, Call, DropAnswer

CONNECTIONS = 4
ANSWER_SECONDS = 6.0
CALL_ID = "x-call"  # one for each call: by it an attempt or a copy is known again
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Asked:
    """One call, with an id of its own."""

    method: str = "GET"
    path: str = "/quote?minutes=12"
    headers: Mapping[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"c{next(_numbers)}")


class Application:
    """Calls as the application of a node does: through the port on which its sidecar is its HTTP proxy."""

    def __init__(self, mesh_file: Path, service: str, callee: str) -> None:
        self._port = next(workload.outbound for workload in read(mesh_file) if workload.service == service)
        self._callee = callee

    def ask(self, asked: Sequence[Asked], connections: int = CONNECTIONS) -> list[str]:
        """Make these calls on so many connections at once, and return who has answered each, in their order.

        That is the `version` in the answer, followed by the status if it is not 200 ("v2 500"); "Envoy 503" when it is
        no version's; "nobody" when none came within ANSWER_SECONDS. Neighbours travel on different connections.
        """
        found = [""] * len(asked)

        def work(first: int) -> None:
            line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
            for place in range(first, len(asked), connections):
                found[place] = self._answer(line, asked[place])
            line.close()

        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(work, range(min(connections, len(asked)))))
        return found

    def _answer(self, line: http.client.HTTPConnection, asked: Asked) -> str:
        try:
            headers = {**asked.headers, CALL_ID: asked.id}
            line.request(asked.method, f"http://{self._callee}{asked.path}", headers=headers)
            answer = line.getresponse()
            return said_by(answer.status, answer.read())
        except (OSError, http.client.HTTPException):
            line.close()  # the next call opens it again
            return "nobody"


def said_by(status: int, content: bytes) -> str:
    """Return who has said it: "v1", "v2 500", "Envoy 503"."""
    try:
        version = json.loads(content)["version"]
    except (ValueError, KeyError, TypeError):
        return f"Envoy {status}"
    return str(version) if status == 200 else f"{version} {status}"


class Version:
    """One version of a service, as the handler of a FakeService: it notes each attempt, and writes down all but GETs.

    `status(call, attempt)` says with what the first, second, ... attempt of a call is answered; 0 breaks its
    connection. While `go` is not set it hangs, for ANSWER_SECONDS at most.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.status: Callable[[Call, int], int] = lambda call, attempt: 200
        self.book: list[str] = []  # ids of calls: written even if the answer is a failure
        self.go = threading.Event()
        self.go.set()
        self._seen: list[tuple[str, str]] = []
        self._guard = threading.Lock()

    def __call__(self, call: Call) -> Answer:
        """Answer one attempt."""
        id = call.headers.get(CALL_ID, "")
        with self._guard:
            self._seen.append((call.method, id))
            attempt = sum(known == id for _, known in self._seen)
            if call.method != "GET":
                self.book.append(id)
        self.go.wait(ANSWER_SECONDS)
        status = self.status(call, attempt)
        if not status:
            raise DropAnswer
        return status, {"version": self.name, "cents": 340}

    def attempts(self, method: str = "") -> Counter[str]:
        """Count the attempts that have arrived, with this method or any, by the id of their call."""
        with self._guard:
            return Counter(id for known, id in self._seen if method in ("", known))
