"""What instrumentation costs, measured once, in short rounds, at the shape `costs` of lab 07."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import psutil
import pytest

from lab_services.checks import eventually
from lab_services.lab import Lab
from lab_services.measuring import Costs, WayCosts, times
from lab_services.telemetry import costs
from lab_services.telemetry.reading import read_services
from lab_services.views import TelemetryCostsView
from tests.running_labs import running_lab

ROUNDS = 2
SECONDS = 10.0
SERVICES = tuple(costs.WAYS.values())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the shape."""
    with running_lab("07_observability", tmp_path_factory.mktemp("costs"), shape="costs") as lab:
        yield lab


@pytest.fixture(scope="module")
def found(lab: Lab) -> Costs:
    """Measure once."""
    return costs.telemetry_costs(lab, ROUNDS)


def calls(way: WayCosts) -> int:
    """Return how many calls of a way were counted; those that warmed it up come on top."""
    return len(way.alone_ms) + sum(one.calls for one in way.rounds)


def figures(lab: Lab, service: str) -> list[str]:
    """Return the pages of figures that a service shows, each at a port of its own beside that at which it serves."""
    connections = psutil.Process(lab[service].pids[0]).net_connections("tcp")
    serving = lab[service].url.rpartition(":")[2]
    own = [each.laddr.port for each in connections if not each.raddr and str(each.laddr.port) != serving]
    return [httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text for port in own]


def test_every_way_is_measured(found: Costs) -> None:
    """Each way has as many calls as every other; none of them waits."""
    assert [way.name for way in found.ways] == list(costs.WAYS)
    for way in found.ways:
        assert len(way.alone_ms) == ROUNDS * times.ALONE_CALLS and len(way.rounds) == ROUNDS
        assert way.waiting_ms == () and way.beside == 0 and 5 < way.app_mb < 200


def test_who_does_more_spends_more(found: Costs) -> None:
    """Counting costs processor time, tracing more: of a whole measurement that is so on a busy machine too."""
    plain, counted, traced = found.processor().values()
    assert 1.0 == plain < counted < traced
    assert found.ways[2].app_mb > found.ways[0].app_mb


def test_the_ways_are_what_they_are_called(lab: Lab, found: Costs) -> None:
    """One alone is traced; two are counted and write a line for each request; the third is left in peace."""
    assert figures(lab, "plain") == []
    for service, way in (("counted", found.ways[1]), ("traced", found.ways[2])):
        (page,) = figures(lab, service)
        lines = [line for line in page.splitlines() if line.startswith("http_server_requests_total{")]
        assert sum(float(line.rpartition(" ")[2]) for line in lines) >= calls(way), page
    lines = {name: [line for line in map(str, lab.logs(name, 50).lines) if "/quote" in line] for name in SERVICES}
    assert not lines["plain"] and len(lines["counted"]) >= 40 and len(lines["traced"]) >= 40, lines
    assert eventually(lambda: read_services(lab["traces"].url), within=SECONDS) == ("traced",)


def test_the_words_hold_for_what_was_measured(found: Costs) -> None:
    """What a notebook keeps: no number that would differ in another run."""
    _, *ways = [re.split(r"\s{2,}", line) for line in repr(TelemetryCostsView(found)).splitlines()[3:]]
    for name, p50, processor, memory in ways:
        assert name in costs.WAYS
        assert (p50, processor, memory) == ("up to 5 times", "up to 5 times", "up to 2 times")
