"""What is read from the Envoys is what has happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lab_services.mesh.authority import Authority, spiffe_name
from lab_services.mesh.facts import HostFacts, MeshFacts, ReplicaFacts
from lab_services.mesh.registry import Workload, read
from lab_services.mesh.resources import (
    Resources,
    circuit_breakers,
    not_in_the_mesh,
    outlier_detection,
    retry_policy,
    route,
)
from lab_services.mesh.sidecars import sidecar
from lab_services.mesh.statistics import read_mesh
from lab_services.views import MeshView
from tests.mesh.builds import calling
from tests.mesh.envoys import Town, until

QUOTE = "http://pricing/quote"


@pytest.fixture
def versions(make_town: Callable[..., Town]) -> Town:
    """A town with two replicas of rides, and pricing v1 and v2."""
    town = make_town(build=calling([route("pricing_v1")]))
    for number in (1, 2):
        town.add("rides", number, calls=("pricing",))
        town.add("pricing", number, labels={"version": f"v{number}"})
    town.ready()
    return town


def facts(town: Town) -> MeshFacts:
    """Read the mesh, with the plane and the logs."""
    return read_mesh(read(town.registry), town.plane_url, lambda node: town.replicas[node].log())


def test_calls_errors_retries_and_spared_replicas_are_those_that_were(versions: Town) -> None:
    """Of both replicas of rides together, by cluster and by replica of pricing."""
    bad = versions.replicas["pricing-2"].application
    assert bad is not None
    bad.reply = lambda seen: (503, "bad")
    routes = [route("pricing_v2", when={"path": "/bad"}), route("pricing", retry_policy=retry_policy("5xx", 1))]
    versions.use(calling(routes, outlier_detection=outlier_detection(3)))
    until(versions.settled)
    statuses = [versions.call(node, "http://pricing/bad").status_code for node in ("rides-1", "rides-1", "rides-2")]
    assert statuses == [503] * 3
    with versions.client("rides-1") as client:
        assert {client.get(QUOTE).status_code for _ in range(20)} == {200}
    read_now = facts(versions)
    arrows = {arrow.cluster: arrow for arrow in read_now.arrows if arrow.caller == "rides"}
    v2, mixed, v1 = arrows["pricing_v2"], arrows["pricing"], arrows["pricing_v1"]
    assert (v2.calls, v2.errors, v2.callee, v2.versions) == (3, 3, "pricing", ("v2",))
    assert v2.hosts == (HostFacts(2, 3, 3, False),)
    assert (mixed.calls, mixed.errors, mixed.retries, mixed.versions) == (20, 0, 3, ("v1", "v2"))
    assert mixed.hosts == (HostFacts(1, 20, 0, False), HostFacts(2, 3, 3, True))
    assert v1.calls == 0 and ReplicaFacts("pricing", 2, "ready", "v2") in read_now.replicas
    shown = repr(MeshView("The mesh", read_now))
    assert "replica 2 (v2) ready, spared by rides" in shown
    assert "rides -> pricing: v2: 3 calls (13.0 %), 3 errors (100.0 %)" in shown


def test_what_a_breaker_refuses_is_counted_as_refused(versions: Town) -> None:
    """A limit of no call at all lets each one fail at once."""
    versions.use(calling([route("pricing")], circuit_breakers=circuit_breakers(max_requests=0)))
    until(versions.settled)
    assert versions.call("rides-1", QUOTE).status_code == 503
    (arrow,) = [arrow for arrow in facts(versions).arrows if arrow.cluster == "pricing"]
    assert (arrow.refused, arrow.errors) == (1, 1)


def test_a_refusal_is_told_with_its_reason_and_whether_it_lasts(town: Town) -> None:
    """The reason is Envoy's; once the plane has sent something better the refusal is history."""

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        good = sidecar(node, workloads)
        twice = [*good.routes[0]["virtual_hosts"], not_in_the_mesh() | {"name": "again"}]
        return replace(good, routes=[good.routes[0] | {"virtual_hosts": twice}]) if node.service == "rides" else good

    town.use(build)
    until(lambda: facts(town).refusals)
    (refusal,) = until(lambda: [one for one in facts(town).refusals if one.now and one.message])
    assert (refusal.node, refusal.kind, refusal.times) == ("rides-1", "routes", 1)
    assert "Only a single wildcard domain is permitted" in refusal.message
    town.use(sidecar)
    until(town.settled)
    assert [one.now for one in facts(town).refusals] == [False]


def test_certificates_are_told_with_what_is_left_of_them(make_town: Callable[..., Town]) -> None:
    """Name, life and remaining life of the certificate of each sidecar."""
    authority = Authority()

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        plain = sidecar(node, workloads, secure=True)
        return replace(plain, secrets=authority.secrets(node.service, 600))

    town = make_town(build=build)
    town.add("rides", calls=("pricing",))
    town.add("pricing")
    town.ready()
    assert town.call("rides-1", QUOTE).status_code == 200
    found = {one.node: one for one in facts(town).certificates}
    assert found.keys() == {"rides-1", "pricing-1"} and found["rides-1"].name == spiffe_name("rides")
    assert all(0 < one.seconds_left <= 600 <= one.seconds for one in found.values())
    assert "certificate valid" in repr(MeshView("The mesh", facts(town)))


def test_an_envoy_that_is_gone_is_unreachable(town: Town) -> None:
    """A killed sidecar is named as such, and the others are read all the same."""
    process = town.replicas["pricing-2"].process
    assert process is not None
    process.kill()
    process.wait()
    found = facts(town)
    assert ReplicaFacts("pricing", 2, "unreachable") in found.replicas
    assert ReplicaFacts("pricing", 1, "ready") in found.replicas and found.arrows
