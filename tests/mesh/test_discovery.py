"""The control plane: who is called follows the registry, a refused version harms nobody, and the plane may die."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab_services.mesh.registry import Workload
from lab_services.mesh.resources import (
    Message,
    Resources,
    answer,
    not_in_the_mesh,
    route,
    route_configuration,
    virtual_host,
)
from lab_services.mesh.sidecars import sidecar
from tests.mesh.envoys import Seen, Town, until

FOLLOW_SECONDS = 1.0
PROGRAM = """
from pathlib import Path
from lab_services.mesh.discovery import control_plane
from lab_services.mesh.sidecars import sidecar
app = control_plane(sidecar, registry=Path({registry!r}))
"""


def answers(town: Town, calls: int, node: str = "rides-1") -> Counter[str]:
    """Call pricing so often; count who answered, errors by their status."""
    with town.client(node) as client:
        found = [client.get("http://pricing/quote") for _ in range(calls)]
    return Counter(one.text if one.status_code == 200 else str(one.status_code) for one in found)


def with_broken_routes(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    """Return routes with two virtual hosts for every name, which Envoy refuses."""
    good = sidecar(node, workloads)
    twice = [*good.routes[0]["virtual_hosts"], not_in_the_mesh() | {"name": "again"}]
    return replace(good, routes=[good.routes[0] | {"virtual_hosts": twice}])


def test_unchanged_code_reaches_the_replicas_in_turn(town: Town) -> None:
    """A client that knows a proxy and a name reaches each replica equally; a name that nobody has is 502."""
    assert answers(town, 20) == {"pricing-1": 10, "pricing-2": 10}
    nobody = town.call("rides-1", "http://nobody/")
    assert nobody.status_code == 502 and "not in the mesh" in nobody.text


def test_a_new_replica_is_called_within_a_second(town: Town) -> None:
    """From the moment at which the registry names a replica that runs, it takes less than a second."""
    new = town.add("pricing", 3)
    until(lambda: new.admin("/ready").status_code == 200)
    town.remove("pricing-3")
    until(lambda: "pricing-3" not in answers(town, 4))
    town.replicas["pricing-3"] = new
    town.write()
    until(lambda: answers(town, 3).keys() == {"pricing-1", "pricing-2", "pricing-3"}, FOLLOW_SECONDS)


def test_a_removed_replica_gets_nothing_within_a_second(town: Town) -> None:
    """After a second a replica that has left the registry gets no call, though it still runs; no call fails."""
    begin, gone = time.monotonic(), town.replicas["pricing-2"]
    town.remove("pricing-2")
    found = Counter[str]()
    while time.monotonic() < begin + FOLLOW_SECONDS:
        found += answers(town, 5)
    before = len(gone.seen())
    assert answers(town, 20) == {"pricing-1": 20} and len(gone.seen()) == before
    assert found.keys() <= {"pricing-1", "pricing-2"}


def test_a_draining_replica_finishes_and_gets_nothing_new(town: Town) -> None:
    """A call that is under way when its replica begins to drain is answered by it; the next ones go elsewhere."""
    release, draining = threading.Event(), town.replicas["pricing-2"]

    def slow(seen: Seen) -> tuple[int, str]:
        release.wait(20)
        return 200, "finished"

    assert draining.application is not None
    draining.application.reply = slow
    found: list[str] = []
    callers = [
        threading.Thread(target=lambda: found.append(town.call("rides-1", "http://pricing/slow").text))
        for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    until(lambda: draining.seen())
    town.change("pricing-2", state="draining")
    until(lambda: town.replicas["rides-1"].stat("cluster.pricing.membership_total") == 1, FOLLOW_SECONDS)
    assert answers(town, 20) == {"pricing-1": 20}
    release.set()
    for caller in callers:
        caller.join()
    assert sorted(found) == ["finished", "pricing-1"] and len(draining.seen()) == 1


def test_a_refused_version_leaves_the_one_before_in_force(town: Town) -> None:
    """Envoy keeps what it had; the plane says what was sent, what is in force and what was refused, once."""
    good = town.subscription("rides-1", "routes")["sent"]
    town.use(with_broken_routes)
    until(lambda: town.subscription("rides-1", "routes")["state"] == "refused")
    found = town.subscription("rides-1", "routes")
    assert found["confirmed"] == good and found["refused"] == found["sent"] != good
    assert answers(town, 4) == {"pricing-1": 2, "pricing-2": 2}
    rides, name = town.replicas["rides-1"], "http.outbound.rds.outbound.update_rejected"
    until(lambda: rides.stat("http.outbound.rds.outbound.update_attempt") > 0)
    time.sleep(1.0)  # the time in which a plane that compares with what Envoy reports sends it some fifty times
    assert rides.stat(name) == 1 and "Only a single wildcard domain" in rides.log()
    town.use(sidecar)
    until(town.settled)
    assert town.subscription("rides-1", "routes")["confirmed"] == good


def test_a_first_version_that_is_refused_is_repeated_ever_more_slowly(make_town: Callable[..., Town]) -> None:
    """An Envoy that has nothing cannot say that it refused; it is told again, seldom, and learns the mended one."""
    town = make_town(build=with_broken_routes)
    rides = town.add("rides")
    until(lambda: town.subscription("rides-1", "routes")["state"] == "refused")
    time.sleep(1.0)
    assert rides.stat("http.outbound.rds.outbound.update_rejected") <= 7
    town.use(sidecar)
    until(town.settled)
    assert town.call("rides-1", "http://nobody/").status_code == 502


def test_a_build_that_raises_leaves_everything_as_it_was(town: Town) -> None:
    """A learner's function that fails for one node harms no node; the plane shows the error beside that node."""
    new = "http://pricing-alias/quote"

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        if node.service == "pricing":
            raise KeyError("version")
        alias: Message = virtual_host("pricing-alias", [route("pricing")])
        return replace(sidecar(node, workloads), routes=[route_configuration("outbound", [alias])])

    town.use(build)
    until(lambda: town.call("rides-1", new).status_code == 200)
    nodes = town.mesh()["nodes"]
    assert nodes["pricing-1"]["error"] == "KeyError: 'version'" and "error" not in nodes["rides-1"]


@pytest.mark.parametrize("wrong", [None, {"clusters": []}, Resources(routes=[{"name": "a", "not": Path("json")}])])
def test_a_build_that_returns_something_else_harms_nobody(wrong: object, town: Town) -> None:
    """What is no Resources, or cannot be written as JSON, is an error of the node in /mesh; calls go on."""
    town.use(lambda node, workloads: wrong)  # type: ignore[arg-type, return-value]
    until(lambda: all("TypeError" in node["error"] for node in town.mesh()["nodes"].values()))
    assert answers(town, 4) == {"pricing-1": 2, "pricing-2": 2}
    town.use(sidecar)
    until(town.settled)
    assert not any("error" in node for node in town.mesh()["nodes"].values())


def test_a_change_in_place_is_a_change(town: Town) -> None:
    """A build that returns the same list again, with other content, is understood: the plane keeps copies."""
    routes = [route("pricing")]

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        good = sidecar(node, workloads)
        return replace(good, routes=[route_configuration("outbound", [virtual_host("pricing", routes)])])

    town.use(build)
    until(town.settled)
    routes[0] = answer(418, "tea")
    until(lambda: town.call("rides-1", "http://pricing/quote").status_code == 418)


def test_new_routes_wait_for_the_clusters_that_they_name(town: Town) -> None:
    """A cluster appears before the route to it and stays until the route is gone: of 400 calls none fails."""
    failed, done = [], threading.Event()

    def keep_calling() -> None:
        with town.client("rides-1") as client:
            while not done.is_set():
                found = client.get("http://pricing/quote")
                if found.status_code != 200:
                    failed.append((found.status_code, found.text))

    def renamed(name: str) -> Callable[[Workload, tuple[Workload, ...]], Resources]:
        def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
            good = sidecar(node, workloads)
            if node.service != "rides":
                return good
            host = virtual_host("pricing", [route(name)])
            clusters = [one | {"name": name} if one["name"] == "pricing" else one for one in good.clusters]
            places = [one | {"cluster_name": name} for one in good.endpoints]
            return replace(good, clusters=clusters, endpoints=places, routes=[route_configuration("outbound", [host])])

        return build

    caller = threading.Thread(target=keep_calling)
    caller.start()
    try:
        for name in ("one", "other", "third", "pricing"):
            town.use(renamed(name))
            until(town.settled)
    finally:
        done.set()
        caller.join()
    assert not failed and len(town.replicas["pricing-1"].seen()) > 10


def test_an_envoy_that_is_killed_and_started_again_learns_everything(town: Town) -> None:
    """A new process has nothing, and is told at once what its predecessor knew."""
    rides = town.replicas["rides-1"]
    assert rides.process is not None
    rides.process.kill()
    rides.process.wait()
    town.launch("rides-1")
    town.ready()
    assert answers(town, 4) == {"pricing-1": 2, "pricing-2": 2}


def test_questions_are_held_long_and_answered_when_the_plane_has_to_leave(make_town: Callable[..., Town]) -> None:
    """A server that tells its plane when it has to leave gets no question for seconds, and then waits for none."""
    town = make_town(tells=True)
    town.add("rides")
    town.ready()
    plane = town.plane_thread()
    before = plane.questions
    time.sleep(2.5)  # longer than a plane holds a question that its server tells nothing
    assert plane.questions == before
    plane.leave()
    until(lambda: plane.questions >= before + 3, 2.0)  # all three are asked again, because all were answered


def test_a_node_that_has_left_is_forgotten(town: Town) -> None:
    """The plane does not show what it once told a node that is in the registry no more."""
    town.remove("pricing-2")
    until(lambda: "pricing-2" not in town.mesh()["nodes"])
    assert "pricing-1" in town.mesh()["nodes"]


def test_an_unknown_kind_and_a_foreign_question_are_refused(town: Town) -> None:
    """What is no question of an Envoy is answered with 404 or 422, not with a crash."""
    import httpx

    with httpx.Client(base_url=town.plane_url, trust_env=False) as client:
        assert client.post("/v3/discovery:runtime", json={}).status_code == 404
        assert client.post("/v3/discovery:routes", content=b"{").status_code == 422
        assert client.post("/v3/discovery:routes", json={"node": {}}).status_code == 422
        assert client.get("/health/ready").status_code == 200


@pytest.fixture
def program(make_town: Callable[..., Town]) -> Town:
    """A town whose plane is a process of its own: rides and two replicas of pricing."""
    town = make_town(plane=False)
    town.add("rides", calls=("pricing",), start=False)
    for number in (1, 2):
        town.add("pricing", number, start=False)
    return town


def started(town: Town) -> subprocess.Popen[bytes]:
    """Start the plane as a process, and wait until it answers."""
    (town.folder / "plane.py").write_text(PROGRAM.format(registry=str(town.registry)))
    command = [sys.executable, "-m", "uvicorn", "plane:app", "--port", str(town.plane_port.number)]
    with (town.folder / "plane.log").open("ab") as log:
        plane = subprocess.Popen(
            [*command, "--app-dir", str(town.folder), "--log-level", "warning"], stdout=log, stderr=log
        )
    until(lambda: town.mesh())
    return plane


def test_the_plane_may_die_and_come_back(program: Town) -> None:
    """Without a plane the calls go on as before; the new one sends nothing that is in force, and then what is new."""
    plane = started(program)
    try:
        for node in program.replicas:
            program.launch(node)
        program.ready()
        until(lambda: answers(program, 4) == {"pricing-1": 2, "pricing-2": 2})
        plane.kill()
        plane.wait()
        assert answers(program, 10) == {"pricing-1": 5, "pricing-2": 5}
        rides = program.replicas["rides-1"]
        successes = rides.stat("cluster.pricing.update_success")
        program.change("pricing-2", state="draining")
        assert answers(program, 10) == {"pricing-1": 5, "pricing-2": 5}
        plane = started(program)
        until(lambda: answers(program, 4) == {"pricing-1": 4})
        assert rides.stat("cluster.pricing.update_success") == successes + 1
        until(lambda: program.subscription("rides-1", "clusters")["state"] == "confirmed")
        assert rides.stat("cluster_manager.cds.update_rejected") == 0
    finally:
        plane.kill()
        plane.wait()
