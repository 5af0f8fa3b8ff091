"""The control plane over gRPC, on the real runtime with real Envoys: the shape of the chapter's last section."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from lab_services.errors import LabError, MissingProgram
from lab_services.lab import Lab
from lab_services.mesh.of_lab import mesh_of, workloads_of
from lab_services.runtime.spec import load_spec
from tests.bikeshare.town import NO_TLS, eventually
from tests.running_labs import running_lab

SECONDS = 60.0
TWICE = ("TWICE = ()", 'TWICE = ("pricing",)')
REFUSED = "Only unique values for domains are permitted. Duplicate entry of domain pricing in route outbound"
CLIENT = httpx.Client(timeout=SECONDS, trust_env=False, verify=NO_TLS)
NODES = ("gateway-1", "pricing-1", "pricing-2")
Save = Callable[..., None]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, ads: None) -> Iterator[Lab]:
    """Run the shape `ads`; its Envoys are two of pricing and one that calls them."""
    folder = tmp_path_factory.mktemp("ads")
    with closing(CLIENT), running_lab("06_mesh", folder, shape="ads", ready_seconds=SECONDS) as lab:
        yield lab


@pytest.fixture
def save(lab: Lab) -> Iterator[Save]:
    """Save the learner's plane with one text replaced; it is what it was at the end, and the Envoys have it."""
    file = lab.folder / "ads_plane.py"
    before = file.read_text()

    def save(old: str, new: str) -> None:
        assert before.count(old) == 1
        file.write_text(before.replace(old, new))
        lab.states()

    yield save
    begun = len(told(lab))
    file.write_text(before)
    lab.states()
    eventually(lambda: everybody(lab, begun), within=SECONDS)


def log(lab: Lab, service: str) -> str:
    """Return all that a service has written."""
    return (lab._scratch / "logs" / f"{service}.log").read_text()


def told(lab: Lab, since: int = 0) -> list[tuple[str, str, str]]:
    """Return node, ACK or NACK, and kind of each reply in the plane's log from that one on."""
    return re.findall(r"^(\S+) (N?ACK) (\w+)", log(lab, "plane"), re.M)[since:]


def everybody(lab: Lab, since: int) -> bool:
    """Say whether each Envoy has confirmed its routes, the last of what it is told, after that reply."""
    return {(node, "ACK", "routes") for node in NODES} <= set(told(lab, since))


def works(lab: Lab) -> bool:
    """Say whether a call comes through both sidecars."""
    return CLIENT.get(f"{lab['gateway'].url}/quote?minutes=5").status_code == 200


def replicas(lab: Lab) -> Counter[str]:
    """Return how many of 60 calls went to each address of pricing, from the access log of the caller's Envoy."""
    before = len(log(lab, "gateway_sidecar"))
    assert all(works(lab) for _ in range(60))
    pattern = re.compile(r'"cluster":"pricing".*?"replica":"([^"]+)"')
    eventually(lambda: len(pattern.findall(log(lab, "gateway_sidecar")[before:])) >= 60, within=SECONDS)
    return Counter(pattern.findall(log(lab, "gateway_sidecar")[before:]))


def test_the_configuration_comes_on_one_stream_and_each_part_is_confirmed(lab: Lab) -> None:
    """Every Envoy ACKs clusters before listeners before routes, and calls go through; nothing is refused."""
    assert works(lab)
    for node in NODES:
        kinds = [kind for who, word, kind in told(lab) if who == node and word == "ACK"]
        assert kinds.index("clusters") < kinds.index("listeners") < kinds.index("routes")
    assert {word for _, word, _ in told(lab)} == {"ACK"}
    [plane] = lab["plane"].pids
    admin = workloads_of(lab)[0].admin
    config = CLIENT.get(f"http://127.0.0.1:{admin}/config_dump").json()["configs"][0]["bootstrap"]
    assert config["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"
    ours = [one for one in psutil.Process(plane).net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    assert len(ours) == 3, "one connection for each Envoy"


def test_only_this_process_sees_the_packages_of_the_extra(lab: Lab) -> None:
    """The plane finds them first, by its own path; the tests, in the environment of the course, do not find them."""
    import importlib.util

    from lab_services import extras

    [pid] = lab["plane"].pids
    assert psutil.Process(pid).environ()["PYTHONPATH"].split(":")[-1] == str(extras.folder("ads"))
    with pytest.raises(ModuleNotFoundError):
        importlib.util.find_spec("envoy.service.discovery.v3.ads_pb2_grpc")


def test_a_wrong_configuration_is_refused_in_envoys_words_and_the_old_one_kept(lab: Lab, save: Save) -> None:
    """The plane's log has the NACK with Envoy's message, the facts of the mesh have it too, and calls still work."""
    begun = len(told(lab))
    save(*TWICE)
    eventually(lambda: ("gateway-1", "NACK", "routes") in told(lab, begun), within=SECONDS)
    line = next(line for line in log(lab, "plane").splitlines() if " NACK " in line)
    assert line.endswith(f": {REFUSED}") and works(lab)
    facts = mesh_of(lab)
    assert [(one.node, one.kind) for one in facts.refusals] == [("gateway-1", "routes")]
    assert REFUSED in facts.refusals[0].message


def test_a_field_that_does_not_exist_is_never_sent(lab: Lab, save: Save) -> None:
    """protobuf knows Envoy's fields: the plane says which one is wrong, and the Envoys keep what they have."""
    begun = len(log(lab, "plane"))
    save("    return found", '    found.routes[0]["time_out"] = "1s"\n    return found')
    eventually(lambda: 'has no field named "time_out"' in log(lab, "plane")[begun:], within=SECONDS)
    assert "gateway-1 NOT SENT ParseError" in log(lab, "plane")[begun:] and works(lab)


def test_a_plane_that_cannot_run_leaves_the_one_before_it(lab: Lab, save: Save) -> None:
    """A slip in the learner's file is told in four parts; the older process goes on telling the Envoys."""
    before = lab["plane"].pids
    with pytest.raises(LabError) as caught:
        save("serve = control_plane(build)", "serve = control_plan(build)")
        _ = lab["plane"]
    assert "ads_plane.py" in caught.value.where and works(lab)
    assert [state.replicas[0].pid for state in lab.states() if state.name == "plane"] == list(before)


def test_endpoints_follow_the_replicas(lab: Lab) -> None:
    """A third replica gets its share of the calls after scale(3), and none after scale(2); no call fails meanwhile."""
    assert len(replicas(lab)) == 2
    lab.scale("pricing", 3)
    eventually(lambda: len(replicas(lab)) == 3, within=SECONDS)
    lab.scale("pricing", 2)
    eventually(lambda: len(replicas(lab)) == 2, within=SECONDS)


def test_the_mesh_outlives_its_plane(lab: Lab) -> None:
    """With the plane killed calls go on; launched again, it hears every Envoy confirm all of it anew."""
    lab.kill("plane")
    assert all(works(lab) for _ in range(10))
    begun = len(told(lab))
    lab.launch("plane")
    eventually(lambda: everybody(lab, begun), within=SECONDS)
    assert works(lab)


def test_without_the_extra_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts the shape without it reads what to type."""
    from lab_services import extras
    from lab_services.runtime.addresses import packages

    monkeypatch.setattr(extras, "_installed", lambda package, where: None)
    with pytest.raises(MissingProgram) as caught:
        packages(load_spec("06_mesh").shapes["ads"]["plane"])
    assert "python3 -m lab_services add ads" in caught.value.next_step and "xds-protos" in caught.value.evidence
