"""The city of chapter 06 as its lab.toml starts it: finished services, unchanged, each beside a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lab_services.bikeshare.riders import send_riders
from lab_services.lab import Lab
from lab_services.mesh.of_lab import mesh_of, workloads_of
from lab_services.runtime.spec import load_spec
from lab_services.runtime.workspace import open_workspace
from lab_services.views import MeshView
from tests.bikeshare.town import eventually

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
    folder = tmp_path_factory.mktemp("mesh")
    with pytest.MonkeyPatch.context() as settings:
        settings.setenv("COURSE_WORK", str(folder / "work"))
        spec = load_spec("06_mesh")
        lab = Lab(spec, open_workspace(spec).folder, folder / "run")
        try:
            lab.start()
            yield lab
        finally:
            lab.close()


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


def test_scaling_under_riders_fails_no_ride(lab: Lab) -> None:
    """A replica that leaves has finished what it had, and one that comes gets its share."""
    with ThreadPoolExecutor() as threads:
        riding = threads.submit(send_riders, lab["gateway"].url, rate=20, seconds=4)
        lab.scale("pricing", 4)
        lab.scale("pricing", 2)
        assert riding.result().failed == 0
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
