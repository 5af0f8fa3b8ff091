"""Twenty restarts under constant load: nobody notices."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from lab_services.checks import eventually
from tests.benchmarks.plain import make_lab

RESTARTS = 20
ANSWERS_BETWEEN = 20  # at least so many between two restarts, so that each restart meets traffic
CALLERS = 4
PAUSE_SECONDS = 0.01  # between two requests of one caller
FRESH_EVERY = 5  # each fifth request on a new connection


def test_failed_requests_in_twenty_restarts(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """GETs and POSTs on kept and on new connections go on through twenty restarts, and none fails."""
    lab = make_lab(tmp_path, ["rides"])
    over = threading.Event()
    try:
        lab.start()
        url, pids, answered = lab["rides"].url, set(), []
        with ThreadPoolExecutor(CALLERS) as threads:
            calling = [threads.submit(call_until, over, url, answered) for _ in range(CALLERS)]
            try:
                for number in range(1, RESTARTS + 1):
                    lab.restart("rides")
                    pids.update(lab["rides"].pids)
                    eventually(lambda wanted=number * ANSWERS_BETWEEN: len(answered) >= wanted, within=30)
            finally:
                over.set()
            came = sum((calls.result() for calls in calling), Counter())
    finally:
        lab.close()
    failed = {answer: count for answer, count in came.items() if answer != "200"}
    print(f"\n{came.total()} requests during {RESTARTS} restarts; failed: {failed or 'none'}")
    record_property("figure", f"failed requests in {RESTARTS} restarts under load")
    record_property("value", sum(failed.values()))
    record_property("limit", 0)
    record_property("unit", "requests")
    record_property("requests", came.total())
    assert len(pids) == RESTARTS, "the service was not restarted each time"
    assert came.total() >= ANSWERS_BETWEEN * RESTARTS
    assert not failed


def call_until(over: threading.Event, url: str, answered: list[int]) -> Counter[str]:
    """Call the service at a steady pace until told to stop; count what came."""
    came: Counter[str] = Counter()
    with httpx.Client(timeout=10) as kept:
        while not over.wait(PAUSE_SECONDS):
            call = httpx if came.total() % FRESH_EVERY == 0 else kept
            try:
                came[ask(call, url, came.total())] += 1
                answered.append(1)
            except httpx.TransportError as error:
                came[type(error).__name__] += 1
    return came


def ask(client: httpx.Client, url: str, n: int) -> str:
    """Send a GET or a POST in turn; return the status, or what was wrong with the answer."""
    if n % 2:
        return str(client.get(url).status_code)
    ride = {"rider_id": "ada", "cents": n}
    answer = client.post(url, json=ride)
    return str(answer.status_code) if answer.json() == ride else "another answer"
