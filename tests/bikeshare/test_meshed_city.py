"""The city of chapter 06 as its lab.toml starts it: finished services, unchanged, each beside a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lab_services.bikeshare.riders import send_requests, send_riders
from lab_services.lab import Lab
from lab_services.mesh.of_lab import mesh_of, workloads_of
from lab_services.views import MeshView
from tests.bikeshare.town import eventually
from tests.running_labs import running_lab

CALLS = {
    ("gateway", "rides"),
    ("rides", "notices"),
    ("rides", "pricing"),
    ("rides", "stations"),
    ("rides", "wallet"),
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the lab's own system."""
    with running_lab("06_mesh", tmp_path_factory.mktemp("mesh")) as lab:
        yield lab


def test_every_call_between_services_passes_two_envoys(lab: Lab) -> None:
    """The callers' Envoys have counted the calls of a ride, each to a replica that they know; the laws are kept."""
    report = send_riders(lab["gateway"].url, rate=20, seconds=1)
    assert report.failed == 0
    mesh = mesh_of(lab)
    called = {(one.caller, one.callee) for one in mesh.arrows if one.calls}
    assert called >= CALLS and not any(one.errors for one in mesh.arrows)
    prices = next(one for one in mesh.arrows if (one.caller, one.callee) == ("rides", "pricing"))
    assert [host.replica for host in prices.hosts] == [1, 2, 3] and all(host.calls for host in prices.hosts)
    assert prices.versions == ("v1",)
    assert len(workloads_of(lab)) == 8
    assert lab.laws().kept


def test_the_city_goes_on_while_its_control_plane_is_dead(lab: Lab) -> None:
    """The Envoys know all they need, and the picture says what they have seen."""
    lab.kill("plane")
    try:
        assert send_riders(lab["gateway"].url, rate=20, seconds=1).failed == 0
        assert "rides -> wallet" in str(MeshView("", mesh_of(lab)))
    finally:
        lab.launch("plane")


def test_scaling_under_load_fails_no_call(lab: Lab) -> None:
    """A replica that leaves has finished what it had. These are quotes: rides can fail by a station that is empty."""
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(send_requests, lab["gateway"].url, rate=40, seconds=4)
        lab.scale("pricing", 4)
        lab.scale("pricing", 2)
        assert asking.result().by_status == {"200": 160}
    assert len(lab["pricing"].replica_urls) == 2
    assert lab.laws().kept


def test_a_sidecar_that_is_killed_takes_its_service_out_of_reach_and_comes_back(lab: Lab) -> None:
    """There is no way around it; once it is launched, it has its configuration, and calls go on."""
    url = lab["gateway"].url
    lab.kill("wallet_sidecar")
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as web:
        assert web.get("/wallets/ada").status_code == 503
        lab.launch("wallet_sidecar")
        assert eventually(lambda: web.get("/wallets/ada").status_code in (200, 404))
    assert lab.laws().kept
