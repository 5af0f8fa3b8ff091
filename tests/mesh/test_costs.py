"""What a sidecar costs, measured once, in short rounds, at the shape `costs` of lab 06."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from lab_services.lab import Lab
from lab_services.measuring import Costs, measured, times
from lab_services.mesh import costs
from lab_services.mesh.of_lab import workloads_of
from tests.running_labs import running_lab

ROUNDS = 2
WAYS = {"no sidecar": 0, "the callee's sidecar": 1, "both sidecars": 2, "both, mutual TLS": 2}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the shape."""
    with running_lab("06_mesh", tmp_path_factory.mktemp("costs"), shape="costs") as lab:
        yield lab


@pytest.fixture(scope="module")
def found(lab: Lab) -> Costs:
    """Measure once."""
    return costs.mesh_costs(lab, ROUNDS)


def test_every_way_is_measured(found: Costs) -> None:
    """Each way has as many calls as every other, and numbers that a machine of any speed can have."""
    assert {way.name: way.beside for way in found.ways} == WAYS
    for way in found.ways:
        assert len(way.alone_ms) == ROUNDS * times.ALONE_CALLS and way.alone_ms[0] > 0.02
        assert len(way.waiting_ms) == ROUNDS * times.WAITING_CALLS and min(way.waiting_ms) >= 9.0
        assert list(way.alone_ms) == sorted(way.alone_ms) and len(way.rounds) == ROUNDS
        for one in way.rounds:
            assert one.calls >= times.CONNECTIONS and one.seconds >= times.TOGETHER_SECONDS
            assert 0 <= one.app_seconds + one.beside_seconds < 4 * one.seconds + 0.1


def test_only_ways_with_sidecars_pay_for_them(found: Costs) -> None:
    """Where there is none, none works and none has memory; one Envoy has between 5 and 40 MB for itself."""
    none, *others = found.ways
    assert none.beside_us() == 0 and none.beside_mb == 0
    assert all(way.beside_us() > 0 and 5 < way.beside_mb / way.beside < 40 for way in others)


def test_a_longer_way_takes_longer(found: Costs) -> None:
    """The ways took turns call by call, so even on a busy machine the medians come in the order of the sidecars."""
    ratios = found.latency(50)
    assert 1.0 == ratios["no sidecar"] < ratios["both sidecars"]
    assert found.waiting()["both sidecars"] < ratios["both sidecars"], "a callee that waits hides its sidecars"


def test_the_calls_have_gone_the_way_that_they_are_counted_for(lab: Lab, found: Costs) -> None:
    """As the Envoys themselves count: the caller's has passed on what the callee's then got; TLS is TLS."""
    admin = {one.service: one.admin for one in workloads_of(lab)}

    def counted(service: str, counter: str) -> int:
        page = httpx.get(f"http://127.0.0.1:{admin[service]}/stats?format=json&filter=^{counter}$", trust_env=False)
        return sum(one["value"] for one in page.json()["stats"] if "value" in one)

    done = "cluster.%s.upstream_rq_200"
    calls = {way.name: len(way.alone_ms) + len(way.waiting_ms) + sum(r.calls for r in way.rounds) for way in found.ways}
    assert counted("caller", done % "callee") >= calls["both sidecars"]
    both = calls["both sidecars"] + calls["the callee's sidecar"]
    assert counted("callee", done % "app") >= both
    assert counted("sealing", done % "sealed") == counted("sealed", done % "app") >= calls["both, mutual TLS"]
    assert counted("sealing", "cluster.sealed.ssl.handshake") > 0 == counted("caller", "cluster.callee.ssl.handshake")


def test_an_answer_that_is_no_answer_ends_the_measurement(lab: Lab) -> None:
    """Refusals are quick: who counted them as calls would find that the mesh makes a city faster."""
    way = replace(costs.ways(lab)[2], quick="http://nobody/quotes")
    with pytest.raises(RuntimeError, match=r"HTTP/1.1 502"):
        measured([way], 1)


def test_a_failed_measurement_says_why(lab: Lab) -> None:
    """When a sidecar is gone, the end of what the program said is in the error."""
    lab.kill("sealed_sidecar")
    try:
        with pytest.raises(RuntimeError, match=r"(?s)the measurement has failed.*(503|NoSuchProcess)"):
            costs.mesh_costs(lab, 1)
    finally:
        lab.launch("sealed_sidecar")
