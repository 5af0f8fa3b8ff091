"""Play those who ask a service how it is: one probe, the keeper who restarts and routes by it, a storm of probers.

The keeper does what a kubelet does (kubernetes.io, "Configure Liveness, Readiness and Startup Probes"), with one
difference: a period passes when `step` is called and at no other time, so that no check races with a clock.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PROBE_SECONDS = 2.0  # a probe that has no answer by then has failed
STARTUP, LIVE, READY = "/health/startup", "/health/live", "/health/ready"


@dataclass(frozen=True)
class Said:
    """What a probe was answered: the status, 0 when no answer came in time, and the body as text."""

    status: int
    text: str = ""

    @property
    def good(self) -> bool:
        """True for 200 to 399, which is what a kubelet takes for yes."""
        return 200 <= self.status < 400

    @property
    def body(self) -> Any:
        """The body read as JSON; None when it is none."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    def __repr__(self) -> str:
        """Say what a failure shows."""
        return f"{self.status} {self.text}" if self.status else f"no answer within {PROBE_SECONDS:g} s"


def probe(url: str, path: str, seconds: float = PROBE_SECONDS) -> Said:
    """Send one GET on a connection of its own; a refused, broken or late answer is Said(0)."""
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=seconds)
    try:
        line.request("GET", path)
        answer = line.getresponse()
        return Said(answer.status, answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException):
        return Said(0)
    finally:
        line.close()


def storm(url: str, path: str, probers: int, each: int) -> Counter[int]:
    """Let so many probers send so many probes each, all of them at once; count the statuses that come.

    A prober who gets no answer (0) sends no more, so that a storm has an end.
    """

    def send(_: int) -> list[int]:
        statuses: list[int] = []
        while len(statuses) < each and 0 not in statuses:
            statuses.append(probe(url, path).status)
        return statuses

    with ThreadPoolExecutor(probers) as pool:
        return Counter(status for statuses in pool.map(send, range(probers)) for status in statuses)


class Keeper:
    """Keep one process: `restart` it when it is not alive, and have riders sent to it while it is ready.

    Until its start-up has succeeded once it is asked for nothing else; after `start_failures` failures in a row it is
    restarted. From then on, `failures` failed answers of live in a row restart it. What ready says is obeyed at once.

        keeper = Keeper(url, restart)
        keeper.step()           # one period
        keeper.in_load, keeper.restarts
    """

    def __init__(
        self, url: str, restart: Callable[[], object] = lambda: None, failures: int = 3, start_failures: int = 30
    ) -> None:
        self.url = url
        self.restarts = 0
        self.started = False
        self.in_load = False
        self._restart = restart
        self._most = {STARTUP: start_failures, LIVE: failures}
        self._failed: Counter[str] = Counter()

    def __repr__(self) -> str:
        """Say what a failure shows."""
        restarts = "1 restart" if self.restarts == 1 else f"{self.restarts} restarts"
        return f"{restarts}, {'in' if self.in_load else 'out of'} the load"

    def step(self) -> None:
        """Let one period pass: ask what is to be asked now, and do what follows from it."""
        if not self.started:
            self.started = self._holds(STARTUP)
        if self.started and self._holds(LIVE):
            self.in_load = probe(self.url, READY).good
        for path, most in self._most.items():
            if self._failed[path] >= most:
                self._begin_anew()

    def _holds(self, path: str) -> bool:
        good = probe(self.url, path).good
        self._failed[path] = 0 if good else self._failed[path] + 1
        return good

    def _begin_anew(self) -> None:
        self.started = self.in_load = False
        self._failed.clear()
        self.restarts += 1
        self._restart()
