"""gRPC services live like HTTP ones: they start, get ready, follow edits, scale, stop; and what breaks them is told."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from lab_services.errors import BrokenCode, LabError, NotReady, ServiceCrashed
from lab_services.lab import Lab
from tests.runtime.conftest import HELLO, Maker, alive, family, refused, service, town_spec, until, write
from tests.runtime.door import CALLER, DOOR, PROTO, RETRY, WATCH, channel, knock, make_door, word


def down(target: str) -> bool:
    """Say whether nobody listens at host:port."""
    return refused(f"http://{target}")


@pytest.mark.parametrize("launch", ["warm", "cold"])
def test_a_grpc_service_answers_when_start_returns(make_town: Maker, launch: str) -> None:
    """start() returns when the service answers at its address, which is host and port without a scheme."""
    lab = make_door(make_town, launch=launch)
    lab.start()
    handle = lab["door"]
    assert handle.url.startswith("127.0.0.1:") and handle.replica_urls == (handle.url,)
    assert word(handle.url) == "hello"
    assert handle.state == "ready"
    assert "http://" not in repr(lab.status().details()) + repr(lab.topology())


def test_health_and_reflection_are_there(make_town: Maker) -> None:
    """Every gRPC service tells its health by name, and which services and messages it has."""
    lab = make_door(make_town)
    lab.start()
    with channel(lab["door"].url) as opened:
        stub = health_pb2_grpc.HealthStub(opened)
        for name in ("", "toy.Door"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1
        known = ProtoReflectionDescriptorDatabase(opened)
        assert "toy.Door" in known.get_services()
        assert known.FindFileContainingSymbol("toy.Answer").name == "door.proto"


def test_not_serving_is_not_ready(make_town: Maker) -> None:
    """A service that says NOT_SERVING of itself is not ready, and the message says what it answered."""
    says = DOOR.replace("serve(server):", "serve(server, health):\n    await health.set('', 2)")
    lab = make_door(make_town, says)
    with pytest.raises(NotReady, match="NOT_SERVING") as failure:
        lab.start()
    assert "health.set" in failure.value.next_step
    assert {state.state for state in lab.states()} == {"not ready"}


def test_ready_is_when_it_says_serving(make_town: Maker) -> None:
    """start() waits for a service that becomes SERVING a moment after it listens."""
    later = DOOR.replace(
        "serve(server):",
        "serve(server, health):\n    await health.set('', 2)\n"
        "    waiting = asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(health.set('', 1)))",
    )
    lab = make_door(make_town, later)
    began = time.monotonic()
    lab.start()
    assert time.monotonic() - began > 0.3
    assert lab["door"].state == "ready"


@pytest.mark.parametrize(
    "form",
    [
        "import contextlib\n@contextlib.asynccontextmanager\nasync def serve(server):\n    ADD\n    yield\n",
        "async def serve(server):\n    ADD\n    yield\n",
        "async def serve(server, health):\n    ADD\n",
        "def serve(server):\n    ADD\n",
    ],
)
def test_serve_may_have_several_forms(make_town: Maker, form: str) -> None:
    """`serve` may have one yield, decorated or not, or only add its servicer."""
    add = form.replace("ADD", "door_pb2_grpc.add_DoorServicer_to_server(Door(), server)")
    lab = make_door(make_town, DOOR.split("async def serve")[0] + add)
    lab.start()
    assert word(lab["door"].url) == "hello"


def test_interceptors_of_the_module_see_every_call(make_town: Maker) -> None:
    """A list `interceptors` in the module is given to the server."""
    counts = DOOR + (
        "\nclass Seen(grpc.aio.ServerInterceptor):\n"
        "    async def intercept_service(self, continuation, details):\n"
        "        print('seen', details.method, flush=True)\n        return await continuation(details)\n"
        "interceptors = [Seen()]\n"
    )
    lab = make_door(make_town, counts)
    lab.start()
    assert word(lab["door"].url) == "hello"
    until(lambda: "seen /toy.Door/Open" in repr(lab.logs("door")))


def test_a_service_finds_a_grpc_need_ready(make_town: Maker) -> None:
    """What needs a gRPC service starts after it, with its target and the file of its replicas in the environment."""
    asks = CALLER + (
        'with grpc.insecure_channel(os.environ["DOOR_URL"]) as channel:\n'
        '    assert b"hello" in channel.unary_unary("/toy.Door/Open")(b"", timeout=3)\n'
    )
    door = service("door", target="door:serve", speaks="grpc")
    lab = make_town(service("desk", needs=("door",)), door, door=DOOR, desk=asks)
    write(lab.folder / "door.proto", PROTO)
    lab.start()
    settings = httpx.get(lab["desk"].url + "/settings").json()
    assert settings["DOOR_URL"] == lab["door"].url
    assert json.loads(Path(settings["DOOR_REPLICAS_FILE"]).read_text()) == [lab["door"].url]


def test_a_replaced_grpc_service_is_reached_at_the_other_target(make_town: Maker) -> None:
    """With replace=, callers get the other target, without a scheme, and a list of it alone."""
    door = service("door", target="door:serve", speaks="grpc")
    lab = make_town(service("desk", needs=("door",)), door, door=DOOR, desk=CALLER)
    lab.start(replace={"door": "http://127.0.0.1:9"})
    settings = httpx.get(lab["desk"].url + "/settings").json()
    assert settings["DOOR_URL"] == lab["door"].url == "127.0.0.1:9"
    assert json.loads(Path(settings["DOOR_REPLICAS_FILE"]).read_text()) == ["127.0.0.1:9"]


# --- edits ---


@pytest.mark.parametrize("launch", ["warm", "cold"])
def test_a_saved_program_takes_effect_at_the_same_address(make_town: Maker, launch: str) -> None:
    """A channel that was open before the save gets the new answer from its next call on."""
    lab = make_door(make_town, launch=launch)
    lab.start()
    with channel(url := lab["door"].url) as opened:
        assert knock(opened)[1] == "hello"
        write(lab.folder / "door.py", DOOR.replace("hello", "changed"))
        assert lab["door"].url == url
        assert knock(opened)[1] == "changed"


def test_a_saved_proto_takes_effect(make_town: Maker) -> None:
    """Code is generated anew from a saved .proto: the field has another number on the wire."""
    lab = make_door(make_town)
    lab.start()
    with channel(lab["door"].url) as opened:
        assert knock(opened)[1] == "hello"
        write(lab.folder / "door.proto", PROTO.replace("string word = 1", "string word = 7"))
        until(lambda: 7 in knock(opened))
        assert lab["door"].url and knock(opened)[7] == "hello"
    assert not list(lab.folder.glob("*_pb2*"))


def test_a_saved_proto_restarts_every_service_that_uses_it(make_town: Maker) -> None:
    """An HTTP service that has generated a stub from the .proto restarts with it; a stranger does not."""
    uses = CALLER + '\nbodies, stubs = grpc.protos_and_services("door.proto")\n'
    door = service("door", target="door:serve", speaks="grpc")
    lab = make_town(door, service("desk"), service("other"), door=DOOR, desk=uses, other=HELLO)
    write(lab.folder / "door.proto", PROTO)
    lab.start()
    before = {name: lab[name].pids for name in ("door", "desk", "other")}
    write(lab.folder / "door.proto", PROTO + "message More {}\n")
    changed = {name for name in before if lab[name].pids != before[name]}
    assert changed == {"door", "desk"}


@pytest.mark.parametrize(
    ("file", "text", "where", "evidence"),
    [
        ("door.py", "def oh(:\n", "door.py:1", "^"),
        ("door.proto", PROTO.replace("string lock = 1;", "string lock = 1"), "door.proto:4:", 'Expected ";"'),
        ("door.proto", PROTO.replace("(Ask) returns (Answer)", "(Asc) returns (Answer)"), "door.proto:7:", '"Asc"'),
        ("door.proto", PROTO.replace("package toy;", 'import "tarif.proto";'), "door.proto:3:", "tarif.proto"),
    ],
)
def test_a_broken_save_keeps_the_version_before_it(
    make_town: Maker, file: str, text: str, where: str, evidence: str
) -> None:
    """After a bad save the old version answers; the error has the file, the line, protoc's words and what to do."""
    lab = make_door(make_town)
    lab.start()
    url = lab["door"].url
    write(lab.folder / file, text)
    with pytest.raises(BrokenCode) as failure:
        lab["door"]
    assert failure.value.where.startswith(where)
    assert evidence in failure.value.evidence and f"mend {where}" in failure.value.next_step
    assert "Traceback" not in str(failure.value)
    assert word(url) == "hello"
    [state] = lab.states()
    assert state.state == "ready" and "the version before it still serves" in state.note
    write(lab.folder / "door.py", DOOR.replace("hello", "mended"))
    write(lab.folder / "door.proto", PROTO)
    assert word(lab["door"].url) == "mended"


@pytest.mark.parametrize(
    ("source", "kind", "says"),
    [
        (DOOR.replace("door.proto", "doors.proto"), BrokenCode, "doors.proto is not there"),
        (DOOR.replace("async def serve", "async def starts"), BrokenCode, "async def serve(server)"),
        (DOOR.replace("door_pb2_grpc.add_DoorServicer_to_server(Door(), server)", "pass"), BrokenCode, "no servicer"),
        (
            DOOR.replace("    yield\n", "    raise OSError('no locks found')\n    yield\n", 1),
            BrokenCode,
            "no locks found",
        ),
        (DOOR.replace("serve(server)", "serve()"), BrokenCode, "NameError"),
        (DOOR.replace("serve(server)", "serve(server, health, more)"), BrokenCode, "TypeError"),
        (DOOR + "\nprint('no key'); os._exit(7)\n", ServiceCrashed, "exit code 7"),
        (DOOR + "\nimport threading\nthreading.Event().wait()\n", NotReady, "did not finish starting up"),
    ],
)
def test_what_cannot_start_is_told_in_four_parts(
    make_town: Maker, source: str, kind: type[LabError], says: str
) -> None:
    """A gRPC service that cannot start is one message with file, evidence and the next step; the others run."""
    lab = make_town(service("door", target="door:serve", speaks="grpc"), service("b"), door=source)
    write(lab.folder / "door.proto", PROTO)
    with pytest.raises(kind) as failure:
        lab.start()
    error = failure.value
    assert error.what and error.where and error.evidence and error.next_step
    assert says in str(error) and "Traceback" not in str(error)
    assert httpx.get(lab["b"].url).json()["word"] == "hello"
    write(lab.folder / "door.py", DOOR)
    assert word(lab["door"].url) == "hello"


def test_a_folder_of_any_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .proto is found below a folder whose name is not ASCII, one that imports another, too."""
    monkeypatch.setenv("COURSE_WORK", str(tmp_path / "work"))
    folder = tmp_path / "课程 Übung"
    folder.mkdir()
    shared = 'syntax = "proto3";\npackage toy;\nmessage Ask { string lock = 1; }\n'
    write(folder / "ask.proto", shared)
    imports = 'import "ask.proto";\nimport "google/protobuf/timestamp.proto";\n'
    write(folder / "door.proto", PROTO.replace("message Ask { string lock = 1; }", imports))
    write(folder / "door.py", DOOR)
    lab = Lab(town_spec(folder, service("door", target="door:serve", speaks="grpc")), folder, tmp_path / "runs")
    try:
        lab.start()
        assert word(lab["door"].url) == "hello"
        write(folder / "ask.proto", shared + "message More {}\n")
        before = lab["door"].pids
        write(folder / "ask.proto", shared)
        assert lab["door"].pids != before
    finally:
        lab.close()


# --- restarts, ends, replicas ---


@pytest.mark.parametrize("policy", [None, RETRY])
def test_restarts_under_load_lose_no_call(make_town: Maker, policy: object) -> None:
    """Eight restarts while four clients call without pause: every call is answered, by one version after the other."""
    lab = make_door(make_town)
    lab.start()
    url, stop, failures = lab["door"].url, threading.Event(), []
    seen: list[set[str]] = [set() for _ in range(4)]

    def call(pids: set[str]) -> None:
        with channel(url, policy) as opened:
            while not stop.is_set():
                try:
                    pids.add(knock(opened)[2])
                except grpc.RpcError as error:
                    failures.append(f"{error.code()}: {error.details()}")

    clients = [threading.Thread(target=call, args=(pids,)) for pids in seen]
    for client in clients:
        client.start()
    for _ in range(8):
        until(lambda: all(str(lab["door"].pids[0]) in pids for pids in seen), 20)
        lab.restart("door")
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert all(len(pids) >= 8 for pids in seen)


def test_a_call_in_the_making_is_finished_by_the_old_process(make_town: Maker) -> None:
    """A slow call that a restart overtakes is answered by the version that began it, once; the next by the new one."""
    lab = make_door(make_town)
    lab.start()
    data = lab["door"].data
    with channel(lab["door"].url) as opened, ThreadPoolExecutor() as pool:
        slow = pool.submit(knock, opened, "slow")
        until((data / "begun").exists)
        write(lab.folder / "door.py", DOOR.replace('"hello"', '"changed"'))
        assert word(lab["door"].url) == "changed"
        assert not slow.done()
        (data / "go").touch()
        assert slow.result()[1] == "hello"
    assert (data / "opened").read_text().count("slow") == 1


def test_a_call_in_the_making_is_finished_at_stop(make_town: Maker) -> None:
    """SIGTERM lets a running call finish, refuses new ones and ends within its time."""
    lab = make_door(make_town)
    lab.start()
    handle = lab["door"]
    with channel(handle.url) as opened, ThreadPoolExecutor() as pool:
        slow = pool.submit(knock, opened, "slow")
        until((handle.data / "begun").exists)
        stopping = pool.submit(lab.stop)
        until(lambda: down(handle.url))
        assert not slow.done() and alive(handle.pids[0])
        (handle.data / "go").touch()
        assert slow.result()[1] == "hello"
        stopping.result()
    assert not alive(handle.pids[0]) and down(handle.url)
    log = next((handle.data.parents[1] / "logs").glob("door.log")).read_text()
    assert "the door is shut" in log and "Traceback" not in log


def test_an_endless_stream_does_not_hold_up_the_end(make_town: Maker) -> None:
    """A stream that never ends is cancelled when the time for draining is over, and the process ends in order."""
    lab = make_door(make_town)
    lab.start()
    handle = lab["door"]
    with channel(handle.url) as opened:
        stream = opened.unary_stream(WATCH)(b"", timeout=20)
        next(stream)
        began = time.monotonic()
        lab.stop()
        assert time.monotonic() - began < 6
        with pytest.raises(grpc.RpcError):
            for _ in stream:
                pass
    assert not alive(handle.pids[0])
    assert "the door is shut" in next((handle.data.parents[1] / "logs").glob("door.log")).read_text()


def test_a_draining_service_says_not_serving(make_town: Maker) -> None:
    """Who watches the health of a service hears NOT_SERVING before the process goes."""
    lab = make_door(make_town)
    lab.start()
    with channel(lab["door"].url) as opened:
        watched = health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watched).status == 1
        with ThreadPoolExecutor() as pool:
            stopping = pool.submit(lab.stop)
            assert next(watched).status == 2
            watched.cancel()
            stopping.result()


def test_a_killed_grpc_service_refuses_and_comes_back(make_town: Maker) -> None:
    """kill() leaves an address that refuses at once; launch() brings the service back there."""
    lab = make_door(make_town)
    lab.start()
    url = lab["door"].url
    lab.kill("door")
    assert down(url)
    assert lab["door"].state == "killed"
    with channel(url) as opened, pytest.raises(grpc.RpcError) as failure:
        knock(opened)
    assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
    lab.launch("door")
    assert word(url) == "hello"


def test_a_paused_grpc_service_hangs_until_it_is_resumed(make_town: Maker) -> None:
    """pause() leaves a call without an answer until its deadline, resume() lets the service go on."""
    lab = make_door(make_town)
    lab.start()
    with channel(lab["door"].url) as opened:
        assert knock(opened)[1] == "hello"
        lab.pause("door")
        with pytest.raises(grpc.RpcError) as failure:
            knock(opened, seconds=0.3)
        assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        lab.resume("door")
        assert knock(opened)[1] == "hello"


def test_a_crash_is_a_state(make_town: Maker) -> None:
    """A gRPC service that ends by itself is shown as crashed, and comes back with restart()."""
    lab = make_door(
        make_town, DOOR.replace('if request.lock == "slow":', 'if request.lock == "die": os._exit(9)\n        if 0:')
    )
    lab.start()
    with channel(lab["door"].url) as opened, pytest.raises(grpc.RpcError):
        knock(opened, "die")
    until(lambda: lab["door"].state == "crashed")
    assert down(lab["door"].url)
    lab.restart("door")
    assert word(lab["door"].url) == "hello"


@pytest.mark.parametrize("launch", ["warm", "cold"])
def test_scaling_keeps_the_address_and_tells_the_callers(make_town: Maker, launch: str) -> None:
    """From one replica to three and back: replica 1 keeps the address; the file lists who is there, and only them."""
    door = service("door", target="door:serve", speaks="grpc", launch=launch)
    lab = make_town(service("desk", calls=("door",)), door, door=DOOR, desk=CALLER)
    write(lab.folder / "door.proto", PROTO)
    lab.start()
    url, pid = lab["door"].url, lab["door"].pids
    file = Path(httpx.get(lab["desk"].url + "/settings").json()["DOOR_REPLICAS_FILE"])
    lab.scale("door", 3)
    handle = lab["door"]
    assert handle.url == url == handle.replica_urls[0] and handle.pids[:1] == pid
    assert json.loads(file.read_text()) == list(handle.replica_urls)
    with_number = {}
    for target in handle.replica_urls:
        with channel(target) as opened:
            with_number[target] = knock(opened)[3]
    assert sorted(with_number.values()) == ["1", "2", "3"]
    lab.kill("door", replica=2)
    assert lab["door"].state == "ready" and down(handle.replica_urls[1])
    lab.scale("door", 1)
    assert json.loads(file.read_text()) == [url] and lab["door"].pids == pid
    assert all(down(target) for target in handle.replica_urls[1:])
    assert word(url) == "hello"


def test_an_edit_reaches_every_replica_of_a_grpc_service(make_town: Maker) -> None:
    """A saved file changes all replicas, one after the other, at their addresses."""
    lab = make_door(make_town, replicas=3)
    lab.start()
    before = lab["door"].replica_urls
    assert len(before) == 3
    write(lab.folder / "door.py", DOOR.replace("hello", "changed"))
    assert lab["door"].replica_urls == before
    assert [word(target) for target in before] == ["changed"] * 3


def test_a_replica_that_leaves_costs_no_call(make_town: Maker) -> None:
    """A client that spreads its calls over three replicas loses none while one of them is scaled away."""
    lab = make_door(make_town, replicas=3)
    lab.start()
    targets, stop, failures, numbers = lab["door"].replica_urls, threading.Event(), [], []
    policy = {"loadBalancingConfig": [{"round_robin": {}}], **RETRY}

    def call() -> None:
        with channel("ipv4:" + ",".join(targets), policy) as opened:
            while not stop.is_set():
                try:
                    numbers.append(knock(opened)[3])
                except grpc.RpcError as error:
                    failures.append(f"{error.code()}: {error.details()}")

    client = threading.Thread(target=call)
    client.start()
    until(lambda: set(numbers) == {"1", "2", "3"})
    lab.scale("door", 2)
    at = len(numbers)
    until(lambda: len(numbers) > at + 20)
    stop.set()
    client.join()
    assert failures == []
    assert set(numbers[at + 1 :]) == {"1", "2"}


def test_nothing_is_left_behind(make_town: Maker) -> None:
    """After close() no process lives and every port refuses; while the lab runs, all listen on loopback only."""
    lab = make_door(make_town, replicas=2)
    lab.start()
    targets, pids = lab["door"].replica_urls, family(lab)
    for pid in pids:
        for connection in psutil.Process(pid).net_connections("inet"):
            assert connection.laddr.ip.removeprefix("::ffff:") == "127.0.0.1"  # IPv4, by a socket for both
    lab.restart("door")
    lab.close()
    until(lambda: not any(alive(pid) for pid in pids))
    assert all(down(target) for target in targets)
    for target in targets:
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", int(target.rpartition(":")[2])))


def test_a_killed_supervisor_takes_its_grpc_services_along(make_town: Maker) -> None:
    """When the supervisor is killed, no gRPC service outlives it."""
    lab = make_door(make_town)
    lab.start()
    pids = family(lab)
    os.kill(pids[0], 9)
    until(lambda: not any(alive(pid) for pid in pids))


def test_the_launcher_has_imported_grpc_and_begun_nothing(make_town: Maker) -> None:
    """What forks the services has the library loaded, one thread, and no connection of gRPC's."""
    lab = make_door(make_town)
    lab.start()
    assert lab._client is not None
    [launcher] = psutil.Process(lab._client.pid).children()
    assert launcher.num_threads() == 1
    assert launcher.net_connections("inet") == []
    if hasattr(launcher, "memory_maps"):
        assert any("cygrpc" in region.path for region in launcher.memory_maps())
