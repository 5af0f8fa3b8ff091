"""What a lab.toml says of a mesh: how it is read, and that each slip is refused by name in four parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab_services.errors import SpecError
from lab_services.runtime.spec import load_spec, start_order
from lab_services.runtime.spec_types import LabSpec

GOOD = """
title = "A mesh"
minutes = 75
[services.plane]
run = "plane:app"
[services.rides]
run = "rides:app"
calls = ["pricing"]
sidecar = "plane"
[services.pricing]
run = "pricing:app"
replicas = 3
sidecar = "plane"
labels = { version = "v2" }
env = { DRAIN_SECONDS = "0.2" }
[services.bolts]
run = "bolts:serve"
speaks = "tcp"
[services.broker]
server = "nats"
[services.edge]
server = "envoy"
calls = ["rides"]
env = { PLANE = "plane" }
"""


def read(folder: Path, content: str) -> LabSpec:
    """Read a lab of this content."""
    lab = folder / "labs" / "06_mesh"
    lab.mkdir(parents=True)
    for name in ("plane", "rides", "pricing", "bolts"):
        (lab / f"{name}.py").write_text("app = object()\n")
    (lab / "lab.toml").write_text(content)
    return load_spec("06", folder)


def test_a_mesh_is_read_into_facts(tmp_path: Path) -> None:
    """A sidecar is a service behind its own, with as many replicas; lab.toml names only the plane."""
    lab = read(tmp_path, GOOD)
    assert list(lab.services) == ["plane", "rides", "pricing", "bolts", "broker", "edge"]
    system = lab.system(None)
    assert list(system) == [
        "plane", "rides", "rides_sidecar", "pricing", "pricing_sidecar", "bolts", "broker", "edge",
    ]  # fmt: skip
    pricing, beside, edge = system["pricing"], system["pricing_sidecar"], system["edge"]
    assert (pricing.sidecar, dict(pricing.labels), pricing.is_envoy) == ("plane", {"version": "v2"}, False)
    assert (beside.kind, beside.target, beside.replicas, beside.plane) == ("sidecar", "pricing", 3, "plane")
    assert dict(beside.labels) == {"version": "v2"} and beside.is_envoy
    assert (edge.plane, edge.is_envoy, system["plane"].plane) == ("plane", True, "")


def test_the_plane_starts_first_then_the_envoys_then_the_applications(tmp_path: Path) -> None:
    """Nothing of it has to be written as a need."""
    waves = start_order(read(tmp_path, GOOD).system(None))
    assert waves[:3] == (
        ("plane", "bolts", "broker"),
        ("rides_sidecar", "pricing_sidecar", "edge"),
        ("rides", "pricing"),
    )


def test_a_plane_may_speak_grpc_with_the_packages_of_an_extra(tmp_path: Path) -> None:
    """It is asked over ADS then; what has an extra starts in a fresh interpreter."""
    plane = read(tmp_path, GOOD.replace('"plane:app"', '"plane:serve"\nspeaks = "grpc"\nextra = "ads"')).services[
        "plane"
    ]
    assert (plane.speaks, plane.extra, plane.launch) == ("grpc", "ads", "cold")


def test_an_envoy_without_a_plane_is_a_server_like_others(tmp_path: Path) -> None:
    """Without PLANE it is no edge of a mesh, and waits for nobody."""
    edge = read(tmp_path, GOOD.replace('env = { PLANE = "plane" }', "")).services["edge"]
    assert (edge.plane, edge.is_envoy, edge.waits_for) == ("", False, ())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecar = "plan"', "'plan', which is no service here; did"),
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecar = 3', "'sidecar' of services.rides is a whole number"),
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecar = ""', "'sidecar' of services.rides is empty"),
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecars = "plane"', "'sidecars' that no lab.toml knows; did"),
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecar = "rides"', "it would have to run before itself"),
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecar = "broker"', "it is a server"),
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecar = "pricing"', "it has a sidecar itself"),
        ('"pricing"]\nsidecar = "plane"', '"pricing"]\nsidecar = "bolts"', "it speaks tcp"),
        ('run = "bolts:serve"', 'run = "bolts:serve"\nextra = "adds"', "'adds', and there is no such extra; did"),
        ('run = "bolts:serve"', 'run = "bolts:serve"\nextra = "ads"\nlaunch = "warm"', "'bolts' has an extra and"),
        ('server = "nats"', 'server = "nats"\nextra = "ads"', "'broker' is no Python service"),
        ('speaks = "tcp"', 'speaks = "tcp"\nsidecar = "plane"', "'bolts' cannot have a sidecar: it speaks a protocol"),
        ('server = "nats"', 'server = "nats"\nsidecar = "plane"', "the server 'broker' takes no sidecar"),
        ('PLANE = "plane"', 'PLANE = "plain"', "'PLANE' of edge is 'plain', which is no service here"),
        ('PLANE = "plane"', 'PLANE = "rides"', "'rides' cannot be the control plane of 'edge': it has a sidecar"),
        ('PLANE = "plane"', 'PLAN = "plane"', "the server 'edge' obeys no 'PLAN' in 'env'; did you mean 'PLANE'?"),
        ('env = { PLANE = "plane" }', 'env = { PLANE = "plane" }\nreplicas = 2', "'edge' cannot have 2 replicas"),
        ('speaks = "tcp"', 'labels = { version = "v2" }', "nobody reads the 'labels' of 'bolts'"),
        ('version = "v2"', 'Version = "v2"', "a label cannot be called 'Version'"),
        ('version = "v2"', "version = 2", "'version' of services.pricing.labels is a whole number"),
        ('version = "v2"', f'version = "{"v" * 64}"', "longer than 63 characters"),
        ('DRAIN_SECONDS = "0.2"', 'DRAIN_SECONDS = "soon"', "DRAIN_SECONDS of 'pricing' is 'soon'"),
        ('DRAIN_SECONDS = "0.2"', 'DRAIN_SECONDS = "11"', "DRAIN_SECONDS of 'pricing' is '11'"),
        ("[services.bolts]", "[services.rides_sidecar]", "the name of the sidecar of 'rides'"),
        ('run = "plane:app"', 'run = "plane:app"\nneeds = ["rides"]', "in a circle: plane -> rides -> plane"),
    ],
)  # fmt: skip
def test_a_slip_is_refused_by_name(tmp_path: Path, old: str, new: str, says: str) -> None:
    """Each refusal says what is wrong, in which table, and what to write instead."""
    assert GOOD.count(old) == 1
    with pytest.raises(SpecError) as caught:
        read(tmp_path, GOOD.replace(old, new))
    error = caught.value
    assert says in error.what
    assert error.where.startswith("labs/06_mesh/lab.toml, [services") and error.next_step


def test_a_refused_plane_is_told_in_four_parts(tmp_path: Path) -> None:
    """What, where, the services there are, and what to add."""
    with pytest.raises(SpecError) as caught:
        read(tmp_path, GOOD.replace('calls = ["pricing"]\nsidecar = "plane"', 'sidecar = "control"'))
    error = caught.value
    assert error.what == "'sidecar' of rides is 'control', which is no service here"
    assert error.where == "labs/06_mesh/lab.toml, [services.rides]"
    assert error.evidence == "services here: plane, rides, pricing, bolts, broker, edge"
    assert error.next_step == "add [services.control] or correct the name: it is the control plane of the Envoy"


def test_a_name_that_is_no_host_name_is_not_called_through_a_sidecar(tmp_path: Path) -> None:
    """Envoy would answer 400 to each call; beside a mesh, and in gRPC, such a name is as good as any."""
    renamed = GOOD.replace("services.pricing", "services.pricing_two").replace('["pricing"]', '["pricing_two"]')
    with pytest.raises(SpecError) as caught:
        read(tmp_path, renamed)
    assert "'rides' cannot call 'pricing_two' through its sidecar" in str(caught.value)
    one = '[services.pricing_two]\nrun = "pricing:app"\n'
    other = tmp_path / "other"
    other.mkdir()
    assert read(other, renamed.replace(one, one + 'speaks = "grpc"\n')).services["pricing_two"].speaks == "grpc"
