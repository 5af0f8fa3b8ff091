"""What checks ask of a mesh: its control plane, as an Envoy does; its Envoys, at their admin pages; a call through one.

A question to a control plane may be held for long: it is sent at once, and looked at when the check wants to know.

    mesh = MeshProbe(city)
    question = mesh.ask("rides-1", "endpoints", "pricing", have="7")
    answered([question], within=0.4)         # []: it is held
    mesh.change("pricing-2", state="down")   # in MESH_FILE, until the lab writes it again
    question.answer(within=2).version        # "8"
"""

from __future__ import annotations

import http.client
import json
import os
import select
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

CALL_SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """What a control plane has answered, after so many seconds; status 0: it has cut the connection."""

    status: int
    seconds: float
    body: dict[str, Any] = field(default_factory=dict)
    text: str = ""

    @property
    def version(self) -> str:
        """The version of the resources, empty without any."""
        return str(self.body.get("version_info", ""))

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The resources, Envoy's messages."""
        return list(self.body.get("resources") or [])

    @property
    def names(self) -> set[str]:
        """The names of the resources."""
        return {str(one.get("name", one.get("cluster_name"))) for one in self.resources}

    @property
    def ports(self) -> set[int]:
        """The ports of all hosts in the resources, if they are endpoints."""
        groups = [group for one in self.resources for group in one.get("endpoints") or []]
        hosts = [host["endpoint"]["address"] for group in groups for host in group.get("lb_endpoints") or []]
        return {int(host.get("socket_address", {}).get("port_value", 0)) for host in hosts}

    def __repr__(self) -> str:
        """Say it in short."""
        told = f" version {self.version}, {sorted(self.names)}" if self.body else f" {self.text[:120]}".rstrip()
        return f"{self.status}{told} {sorted(self.ports) or ''} after {self.seconds:.2f} s".replace("  ", " ")


class Question:
    """One question of one Envoy, which is on its way when this is made."""

    def __init__(self, url: str, node: str, kind: str, names: Sequence[str] = (), have: str = "") -> None:
        body: dict[str, Any] = {"node": {"id": node, "cluster": node.rpartition("-")[0]}}
        body |= {"version_info": have} if have else {}
        body |= {"resource_names": list(names)} if names else {}
        self.said = f"{node} asks for {kind} {' '.join(names)}".rstrip() + (f" and has {have}" if have else "")
        self._answer: Answer | None = None
        self._began = time.monotonic()
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=CALL_SECONDS)
        head = {"content-type": "application/json"}
        self._connection.request("POST", f"/v3/discovery:{kind}", json.dumps(body), head)

    def __repr__(self) -> str:
        """Say who asks for what, and what came."""
        return f"{self.said}: {self._answer or 'no answer'}"

    def answer(self, within: float = CALL_SECONDS) -> Answer | None:
        """Return the answer, or None when there is none `within` seconds from now."""
        if self._answer is None and select.select([self._connection.sock], [], [], within)[0]:
            self._answer = self._read(time.monotonic() - self._began)
        return self._answer

    def leave(self) -> None:
        """Cut the connection, as an Envoy does that is gone."""
        self._connection.close()

    def _read(self, seconds: float) -> Answer:
        try:
            response = self._connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, seconds, text=repr(error))
        finally:
            self._connection.close()
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        told = body if isinstance(body, dict) and "version_info" in body else {}
        return Answer(response.status, seconds, told, text)


def answered(questions: Iterable[Question], within: float) -> list[Question]:
    """Return the questions that have an answer as soon as one has; none when none has `within` seconds from now."""
    held = list(questions)
    end = time.monotonic() + within
    while True:
        if found := [question for question in held if question.answer(0)]:
            return found
        if time.monotonic() >= end:
            return []
        time.sleep(0.01)


class MeshProbe:
    """The mesh of a running city with a control plane."""

    def __init__(self, city: Any, plane: str = "plane") -> None:
        self._plane = city[plane]
        self._file: Path = self._plane.data / "mesh.json"
        self._clients: dict[str, httpx.Client] = {}
        self._questions: list[Question] = []

    def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            client.close()
        for question in self._questions:
            question.leave()

    def registry(self) -> dict[str, dict[str, Any]]:
        """Return the entries of MESH_FILE by node."""
        return {entry["node"]: entry for entry in json.loads(self._file.read_text())}

    def write(self, entries: Iterable[dict[str, Any]]) -> None:
        """Replace MESH_FILE; the lab does the same, whenever a service comes, goes or changes."""
        fresh = self._file.with_suffix(".check")
        fresh.write_text(json.dumps(list(entries)))
        os.replace(fresh, self._file)

    def change(self, node: str, **fields: Any) -> None:
        """Change one entry of MESH_FILE."""
        registry = self.registry()
        registry[node] |= fields
        self.write(registry.values())

    def ask(self, node: str, kind: str, *names: str, have: str = "") -> Question:
        """Send a question to the control plane."""
        self._questions.append(Question(self._plane.url, node, kind, names, have))
        return self._questions[-1]

    def call(self, node: str, url: str) -> httpx.Response:
        """Call what a node's application would: out through its sidecar, which is its HTTP proxy."""
        if node not in self._clients:
            proxy = f"http://127.0.0.1:{self.registry()[node]['outbound']}"
            self._clients[node] = httpx.Client(proxy=proxy, trust_env=False, timeout=CALL_SECONDS)
        return self._clients[node].get(url)

    def replicas(self, node: str, url: str, calls: int) -> Counter[str]:
        """Call so often, one after the other, and count the `replica` in the answers, or the status of a failure."""
        found = (self.call(node, url) for _ in range(calls))
        return Counter(str(one.json()["replica"]) if one.is_success else f"status {one.status_code}" for one in found)

    def counters(self, node: str, part: str) -> dict[str, int]:
        """Return those counters of a node's Envoy whose names match a regular expression, and are not 0."""
        admin = self.registry()[node]["admin"]
        page = {"format": "json", "usedonly": "", "filter": part}
        answer = httpx.get(f"http://127.0.0.1:{admin}/stats", params=page, trust_env=False, timeout=CALL_SECONDS)
        return {one["name"]: int(one["value"]) for one in answer.json()["stats"] if one.get("value")}
