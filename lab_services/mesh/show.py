"""What the shape `show` of lab 06 demonstrates, asked for from a notebook; the calls are made by its services."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from .of_lab import Running, workloads_of
from .statistics import read_mesh

SECONDS, LOOK_SECONDS = 10.0, 0.05
FAULTS = {"abort": "x-envoy-fault-abort-request", "delay": "x-envoy-fault-delay-request"}
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Answer:
    """One answer of pricing, or of a sidecar in its place.

    `replica` is the one whose sidecar has answered, empty when that of rides could reach none.
    """

    rider: str
    status: int
    replica: str
    body: str


class Show:
    """The demonstrations of a lab that runs in the shape `show`. `trace_id` is that of the last question."""

    def __init__(self, lab: Running) -> None:
        self._lab = lab
        self.trace_id = ""

    def ask(self, calls: int = 1, at_once: int = 1, path: str = "/quote", **headers: str | int) -> list[Answer]:
        """Let rides ask pricing; return the answers, in the order of the questions.

        Headers of the calls: `way` (a policy, or CHECKED), `ticket`, `abort` (a status), `delay` (milliseconds).
        """
        self.trace_id = secrets.token_hex(16)
        sent = {FAULTS.get(name, f"x-{name}"): str(value) for name, value in headers.items()}
        sent["traceparent"] = f"00-{self.trace_id}-{secrets.token_hex(8)}-01"
        asked: dict[str, str | int] = {"calls": calls, "at_once": at_once, "path": path}
        found = _get(self._lab["rides"].url + "/ask", asked, sent)
        return [Answer(**{**one, "replica": one["replica"] or ""}) for one in found]

    def ask_locks(self, calls: int, caller: str = "rides") -> list[str]:
        """Let rides or desk ask locks on one connection; return which replica has answered each call."""
        found: list[str] = _get(self._lab[caller].url + "/locks", {"calls": calls})
        return found

    def make_ill(self, replica: int, ill: bool = True) -> None:
        """Make a replica of pricing ill, or well, and wait until the sidecar of rides has noticed."""
        url = self._lab["pricing"].replica_urls[replica - 1] + "/able"
        httpx.put(url, json=not ill, timeout=SECONDS, trust_env=False).raise_for_status()
        _until(lambda: self._spared(replica) == ill)

    def _spared(self, replica: int) -> bool:
        arrows = read_mesh(workloads_of(self._lab)).arrows
        hosts = [host for one in arrows if (one.caller, one.cluster) == ("rides", "CHECKED") for host in one.hosts]
        return any(host.spared for host in hosts if host.replica == replica)

    def log(self, lines: int) -> list[dict[str, Any]]:
        """Return the lines that sidecars have written of the last question, each with its `sidecar`, once so many came.

        A line comes up to 0.1 s after the call, from each sidecar that the call has passed, for each of its listeners.
        """

        def found() -> list[dict[str, Any]]:
            own = [(name, line) for name, line in self._lab.trace(self.trace_id).lines if name.endswith("_sidecar")]
            return [{"sidecar": name.removesuffix("_sidecar"), **json.loads(line)} for name, line in own]

        return _until(lambda: seen if len(seen := found()) >= lines else [])

    def spans(self, count: int) -> list[dict[str, str]]:
        """Return the spans of the last question, each behind its parent, once so many have come."""
        url = f"{self._lab['spans'].url}/traces/{self.trace_id}"
        found: list[dict[str, str]] = _until(lambda: seen if len(seen := _get(url)) >= count else [])
        known = {one["span"] for one in found}
        chain = [one for one in found if one["parent"] not in known]
        for one in chain:
            chain.extend(child for child in found if child["parent"] == one["span"])
        return chain


def _get(url: str, params: Mapping[str, str | int] | None = None, headers: Mapping[str, str] | None = None) -> Any:
    answer = httpx.get(url, params=params, headers=headers, timeout=3 * SECONDS, trust_env=False)
    return answer.raise_for_status().json()


def _until(probe: Callable[[], Seen]) -> Seen:
    """Return what a probe says as soon as it is true.

    Raises:
        TimeoutError: it was not within 10 s.
    """
    end = time.monotonic() + SECONDS
    while not (seen := probe()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    return seen
