"""What a sidecar costs, measured once, in short rounds, at the shape `costs` of lab 06."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from lab_services.lab import Lab
from lab_services.mesh import cost_times, costs
from lab_services.mesh.cost_facts import MeshCosts
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
def measured(lab: Lab) -> MeshCosts:
    """Measure once."""
    return costs.mesh_costs(lab, ROUNDS)


def test_every_way_is_measured(measured: MeshCosts) -> None:
    """Each way has as many calls as every other, and numbers that a machine of any speed can have."""
    assert {way.name: way.sidecars for way in measured.ways} == WAYS
    for way in measured.ways:
        assert len(way.alone_ms) == ROUNDS * cost_times.ALONE_CALLS and way.alone_ms[0] > 0.02
        assert len(way.waiting_ms) == ROUNDS * cost_times.WAITING_CALLS and min(way.waiting_ms) >= 9.0
        assert list(way.alone_ms) == sorted(way.alone_ms) and len(way.rounds) == ROUNDS
        for one in way.rounds:
            assert one.calls >= cost_times.CONNECTIONS and one.seconds >= cost_times.TOGETHER_SECONDS
            assert 0 <= one.app_seconds + one.sidecars_seconds < 4 * one.seconds + 0.1


def test_only_ways_with_sidecars_pay_for_them(measured: MeshCosts) -> None:
    """Where there is none, none works and none has memory; one Envoy has between 5 and 40 MB for itself."""
    none, *others = measured.ways
    assert none.sidecars_us() == 0 and none.private_mb == 0
    assert all(way.sidecars_us() > 0 and 5 < way.private_mb / way.sidecars < 40 for way in others)


def test_a_longer_way_takes_longer(measured: MeshCosts) -> None:
    """The ways took turns call by call, so even on a busy machine the medians come in the order of the sidecars."""
    ratios = measured.latency(50)
    assert 1.0 == ratios["no sidecar"] < ratios["both sidecars"]
    assert measured.waiting()["both sidecars"] < ratios["both sidecars"], "a callee that waits hides its sidecars"


def test_the_calls_have_gone_the_way_that_they_are_counted_for(lab: Lab, measured: MeshCosts) -> None:
    """As the Envoys themselves count: the caller's has passed on what the callee's then got; TLS is TLS."""
    admin = {one.service: one.admin for one in workloads_of(lab)}

    def counted(service: str, counter: str) -> int:
        page = httpx.get(f"http://127.0.0.1:{admin[service]}/stats?format=json&filter=^{counter}$", trust_env=False)
        return sum(one["value"] for one in page.json()["stats"] if "value" in one)

    done = "cluster.%s.upstream_rq_200"
    calls = {
        way.name: len(way.alone_ms) + len(way.waiting_ms) + sum(r.calls for r in way.rounds) for way in measured.ways
    }
    assert counted("caller", done % "callee") >= calls["both sidecars"]
    both = calls["both sidecars"] + calls["the callee's sidecar"]
    assert counted("callee", done % "app") >= both
    assert counted("sealing", done % "sealed") == counted("sealed", done % "app") >= calls["both, mutual TLS"]
    assert counted("sealing", "cluster.sealed.ssl.handshake") > 0 == counted("caller", "cluster.callee.ssl.handshake")


@pytest.mark.parametrize(("target", "status"), [("http://nobody", "502"), ("http://callee/nothing", "404")])
def test_an_answer_that_is_no_answer_ends_the_measurement(lab: Lab, target: str, status: str) -> None:
    """Refusals are quick: who counted them as calls would find that the mesh makes a city faster."""
    way = replace(costs.ways(lab)[2], target=target)
    asked = json.dumps({"rounds": 1, "ways": [vars(way)]})
    command = [sys.executable, "-m", costs.PROGRAM]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=60)
    assert done.returncode and f"HTTP/1.1 {status}" in done.stderr and not done.stdout


def test_a_failed_measurement_says_why(lab: Lab) -> None:
    """When a sidecar is gone, the end of what the program said is in the error."""
    lab.kill("sealed_sidecar")
    try:
        with pytest.raises(RuntimeError, match=r"(?s)the measurement has failed.*(503|NoSuchProcess)"):
            costs.mesh_costs(lab, 1)
    finally:
        lab.launch("sealed_sidecar")
