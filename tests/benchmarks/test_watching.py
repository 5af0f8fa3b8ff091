"""What watching costs: until the first figures, until the pager rings, and what Prometheus and Alertmanager take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest

from lab_services.lab import Lab
from tests.benchmarks.plain import table
from tests.runtime.conftest import until
from tests.runtime.watched_city import ask, call_rides, pages, up, watched_city

SERVERS = ("prometheus", "alertmanager")
IDLE_SECONDS = 10.0
START_SECONDS, PAGE_SECONDS = 10.0, 6.0  # Prometheus waits 5 s for its targets, and half a second to scrape
IDLE_SHARE = 0.04  # of one core, both together
MEMORY_RATIO = 3.0  # both servers, to one Python service of the same city
MEBIBYTE = 2**20
SERIES = 10_000
Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, float]]:
    """The city, and the seconds from the order to start it until all targets were up."""
    began = time.perf_counter()
    with watched_city(tmp_path_factory.mktemp("watched")) as lab:
        table("start of a city until it is ready", {"": [time.perf_counter() - began]})
        until(lambda: list(up(lab).values()) == [1.0] * 3, 30)
        yield lab, time.perf_counter() - began


def test_until_the_first_figures(begun: tuple[Lab, float], record_property: Record) -> None:
    """From lab.start() until Prometheus has looked at every replica."""
    keep(record_property, "start of a city until its first figures", begun[1], START_SECONDS, "s")


def test_idle_processor_time(begun: tuple[Lab, float], record_property: Record) -> None:
    """Two servers that scrape every half second and alert nobody."""
    processes = servers(begun[0])
    before = sum(map(used, processes))
    time.sleep(IDLE_SECONDS)
    share = (sum(map(used, processes)) - before) / IDLE_SECONDS
    keep(record_property, "idle Prometheus and Alertmanager, share of a core", share, IDLE_SHARE, "")


def test_memory_of_both(begun: tuple[Lab, float], record_property: Record) -> None:
    """Proportional memory of both servers, beside that of one service of the city."""
    lab = begun[0]
    [service] = lab["stations"].pids
    found = {name: pss(psutil.Process(lab[name].pids[0])) / MEBIBYTE for name in SERVERS}
    table("proportional memory", {name: [value] for name, value in found.items()}, "MB")
    ratio = sum(found.values()) * MEBIBYTE / psutil.Process(service).memory_info().rss
    keep(record_property, "memory of both servers, to a service", ratio, MEMORY_RATIO, "")


def test_from_the_first_error_to_the_pager(begun: tuple[Lab, float], record_property: Record) -> None:
    """A rule over 2 s, no `for`, scraped and evaluated every half second."""
    began = time.perf_counter()
    call_rides(begun[0], "500", 5)
    until(lambda: pages(begun[0]), 30)
    seconds = time.perf_counter() - began
    keep(record_property, "first error until the pager rings", seconds, PAGE_SECONDS, "s")


def test_memory_of_a_thousand_series(begun: tuple[Lab, float], record_property: Record) -> None:
    """Ten thousand more series; the figure is reported and hangs on when Go gives memory back."""
    lab = begun[0]
    process = psutil.Process(lab["prometheus"].pids[0])
    before = pss(process)
    httpx.post(f"{lab['rides'].url}/series/{SERIES // 2}", timeout=10).raise_for_status()  # each with its _created
    with ask(lab) as prometheus:
        until(lambda: prometheus.value('count({status=~"s.*"})') == SERIES, 30)
    kilobytes = (pss(process) - before) / 1024
    keep(record_property, "memory of 1,000 series in Prometheus", kilobytes / SERIES * 1000, None, "kB")


def servers(lab: Lab) -> list[psutil.Process]:
    """Return the processes of both servers."""
    return [psutil.Process(lab[name].pids[0]) for name in SERVERS]


def used(process: psutil.Process) -> float:
    """Return the processor time that a process has used, in seconds."""
    times = process.cpu_times()
    return times.user + times.system


def pss(process: psutil.Process) -> int:
    """Return the memory of a process in bytes, what it shares divided by those who share it (Linux)."""
    return int(getattr(process.memory_full_info(), "pss", process.memory_info().rss))


def keep(record: Record, figure: str, value: float, limit: float | None, unit: str) -> None:
    """Record a figure; hold its limit if it has one."""
    table(figure, {"": [value]}, unit)
    for name, said in {"figure": figure, "value": value, "limit": limit, "unit": unit}.items():
        record(name, said)
    assert limit is None or value <= limit
