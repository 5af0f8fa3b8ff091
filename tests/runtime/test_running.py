"""What a lab does when all is well: it starts, follows edits, scales, stops."""

from __future__ import annotations

import json
import os
import threading
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from lab_services.errors import LabError, NotRunning, UnknownName
from tests.runtime.conftest import HELLO, Maker, alive, refused, service, until, word, write


def test_every_service_answers_when_start_returns(make_town: Maker) -> None:
    """start() returns when every service answers at its address."""
    lab = make_town(service("a"), service("b"))
    lab.start()
    assert [word(lab[name].url) for name in "ab"] == ["hello", "hello"]
    assert {state.state for state in lab.states()} == {"ready"}


def test_a_service_starts_after_what_it_needs(make_town: Maker) -> None:
    """A service finds what it needs ready while it is still starting up itself."""
    asks = 'import httpx, os\nassert httpx.get(os.environ["B_URL"]).json()["word"] == "hello"\n' + HELLO
    lab = make_town(service("a", needs=("b",)), service("b"), a=asks)
    lab.start()
    assert word(lab["a"].url) == "hello"


def test_independent_services_start_at_the_same_time(make_town: Maker, tmp_path: Path) -> None:
    """Two services that each wait for the other's first line both come up."""
    waits = f"""
    import os, time, pathlib
    folder = pathlib.Path({str(tmp_path)!r})
    (folder / os.environ["SERVICE_NAME"]).touch()
    end = time.monotonic() + 2
    while len([n for n in "ab" if (folder / n).exists()]) < 2:
        assert time.monotonic() < end, "started alone"
        time.sleep(0.005)
    """
    import textwrap

    lab = make_town(service("a"), service("b"), a=textwrap.dedent(waits) + HELLO, b=textwrap.dedent(waits) + HELLO)
    lab.start()
    assert word(lab["a"].url) == "hello"


def test_a_soft_call_gets_an_address_whatever_the_order(make_town: Maker) -> None:
    """A service that only calls another starts without it, and has its address all the same."""
    tells = HELLO + '\n@app.get("/url")\ndef url(): return os.environ["B_URL"]\n'
    lab = make_town(service("a", calls=("b",)), service("b"), a=tells)
    lab.start(skip=["b"])
    assert httpx.get(lab["a"].url + "/url").json() == lab["b"].url
    assert refused(lab["b"].url)
    lab.launch("b")
    assert word(lab["b"].url) == "hello"


def test_an_edit_takes_effect_at_the_same_address(make_town: Maker) -> None:
    """A saved file is what answers next, at the address that was there before."""
    lab = make_town(service("a"))
    lab.start()
    url = lab["a"].url
    write(lab.folder / "a.py", HELLO.replace("hello", "changed"))
    assert lab["a"].url == url
    assert word(url) == "changed"


def test_an_edit_takes_effect_without_being_asked_for(make_town: Maker) -> None:
    """The watcher restarts a service after a save even if nobody looks at the lab."""
    lab = make_town(service("a"))
    lab.start()
    url = lab["a"].url
    write(lab.folder / "a.py", HELLO.replace("hello", "changed"))
    until(lambda: word(url) == "changed")


def test_an_edit_restarts_only_the_services_that_use_the_file(make_town: Maker) -> None:
    """A file imported by one service leaves the process of the other alone."""
    lab = make_town(service("a"), service("b"), a="import tariff\n" + HELLO)
    write(lab.folder / "tariff.py", "CENTS = 1\n")
    lab.start()
    before = lab["a"].pids, lab["b"].pids
    write(lab.folder / "tariff.py", "CENTS = 2\n")
    assert lab["a"].pids != before[0]
    assert lab["b"].pids == before[1]


def test_a_slow_answer_outlives_two_restarts(make_town: Maker) -> None:
    """Who waits for an answer while the service is replaced twice gets it, and asks on over the same connection."""
    slow = '@app.get("/slow")\ndef slow():\n    print("asked")\n    time.sleep(1.5)\n    return {"pid": os.getpid()}\n'
    lab = make_town(service("a"), a=f"import time\n{HELLO}\n{slow}")
    lab.start()
    (first,) = lab["a"].pids
    connection = HTTPConnection(urlsplit(lab["a"].url).netloc, timeout=10)
    connection.request("GET", "/slow")
    until(lambda: "asked" in str(lab.logs("a")))
    for _ in range(2):
        lab.restart("a")
    assert json.load(connection.getresponse())["pid"] == first
    until(lambda: not alive(first))
    connection.request("GET", "/")
    assert (json.load(connection.getresponse())["pid"],) == lab["a"].pids
    connection.close()


def test_restarts_under_load_lose_no_request(make_town: Maker) -> None:
    """Ten restarts while four keep-alive clients ask without pause: every request is answered."""
    lab = make_town(service("a"))
    lab.start()
    url, stop, failures, answered = lab["a"].url, threading.Event(), [], []

    def ask() -> None:
        with httpx.Client(timeout=5) as client:
            while not stop.is_set():
                try:
                    answered.append(client.get(url).json()["pid"])
                except httpx.HTTPError as error:
                    failures.append(repr(error))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    for _ in range(10):
        lab.restart("a")
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert len(set(answered)) >= 5


def test_an_idle_keep_alive_connection_survives_a_restart(make_town: Maker) -> None:
    """A connection that was open before a restart serves the next request, from the new process."""
    lab = make_town(service("a"))
    lab.start()
    with httpx.Client() as client:
        answer = client.get(lab["a"].url)
        port = answer.extensions["network_stream"].get_extra_info("client_addr")
        lab.restart("a")
        second = client.get(lab["a"].url)
        assert second.extensions["network_stream"].get_extra_info("client_addr") == port
        assert second.json()["pid"] != answer.json()["pid"]


def test_an_answer_in_the_making_is_finished_by_the_old_process(make_town: Maker, tmp_path: Path) -> None:
    """A slow request that a restart overtakes gets its answer from the version that began it."""
    slow = (
        HELLO
        + f"""
import asyncio, pathlib
here = pathlib.Path({str(tmp_path)!r})
@app.get("/slow")
async def slow():
    (here / "begun").touch()
    for _ in range(400):
        if (here / "go").exists(): break
        await asyncio.sleep(0.01)
    return WORD
"""
    )
    lab = make_town(service("a"), a=slow)
    lab.start()
    url, found = lab["a"].url, []
    caller = threading.Thread(target=lambda: found.append(httpx.get(url + "/slow", timeout=5).json()))
    caller.start()
    until((tmp_path / "begun").exists)
    write(lab.folder / "a.py", slow.replace('"hello"', '"changed"'))
    assert word(lab["a"].url) == "changed"
    (tmp_path / "go").touch()
    caller.join()
    assert found == ["hello"]


def test_a_killed_service_refuses_and_comes_back(make_town: Maker) -> None:
    """kill() leaves an address that refuses connections; launch() brings the service back there."""
    lab = make_town(service("a"), service("b"))
    lab.start()
    url = lab["a"].url
    lab.kill("a")
    assert refused(url)
    assert word(lab["b"].url) == "hello"
    assert lab["a"].state == "killed"
    lab.launch("a")
    assert word(url) == "hello"


def test_a_paused_service_hangs_until_it_is_resumed(make_town: Maker) -> None:
    """pause() leaves callers without an answer, resume() lets the service go on."""
    lab = make_town(service("a"))
    lab.start()
    url = lab["a"].url
    lab.pause("a")
    with pytest.raises(httpx.TimeoutException):
        httpx.get(url, timeout=0.2)
    assert lab["a"].state == "paused"
    lab.resume("a")
    assert word(url) == "hello"


def test_scaling_keeps_the_address_and_loses_no_request(make_town: Maker) -> None:
    """From one replica to three and back to two, under load: same address, every replica asked, nothing lost."""
    lab = make_town(service("a"))
    lab.start()
    url, stop, failures = lab["a"].url, threading.Event(), []

    def ask() -> None:
        with httpx.Client(timeout=5) as client:
            while not stop.is_set():
                answer = client.get(url)
                if answer.status_code != 200:
                    failures.append(answer.text)

    client = threading.Thread(target=ask)
    client.start()
    lab.scale("a", 3)
    assert lab["a"].url == url
    asked: set[str] = set()  # the other client takes turns as well: which replica is next is nobody's to say
    assert until(lambda: asked.add(httpx.get(url).json()["replica"]) or len(asked) == 3), asked
    lab.scale("a", 2)
    stop.set()
    client.join()
    assert failures == []
    assert len(lab["a"].pids) == 2


def test_one_killed_replica_of_three_costs_no_get(make_town: Maker) -> None:
    """With one replica of three killed, every GET behind the address still succeeds."""
    lab = make_town(service("a", replicas=3))
    lab.start()
    lab.kill("a", replica=2)
    assert {httpx.get(lab["a"].url).json()["replica"] for _ in range(12)} == {"1", "3"}
    assert lab["a"].state == "ready"


def test_an_edit_reaches_every_replica(make_town: Maker) -> None:
    """A saved file changes all replicas of a scaled service."""
    lab = make_town(service("a", replicas=2))
    lab.start()
    write(lab.folder / "a.py", HELLO.replace("hello", "changed"))
    assert {word(url) for url in lab["a"].replica_urls} == {"changed"}


def test_replicas_share_the_data_of_their_service(make_town: Maker) -> None:
    """Replicas have one DATA_DIR, another service has another."""
    tells = HELLO + '\n@app.get("/data")\ndef data(): return os.environ["DATA_DIR"]\n'
    lab = make_town(service("a", replicas=2), service("b"), a=tells, b=tells)
    lab.start()
    found = {httpx.get(url + "/data").json() for url in lab["a"].replica_urls}
    assert found == {str(lab["a"].data)}
    assert httpx.get(lab["b"].url + "/data").json() not in found


def test_start_begins_with_fresh_data_and_keeps_the_last(make_town: Maker) -> None:
    """A new start finds an empty folder; what the run before wrote is kept beside it."""
    lab = make_town(service("a"))
    lab.start()
    (lab["a"].data / "ledger").write_text("x")
    lab.stop()
    lab.start()
    assert list(lab["a"].data.iterdir()) == []
    assert (lab["a"].data.parent.with_name("data.before") / "a" / "ledger").read_text() == "x"


def test_start_twice_changes_nothing(make_town: Maker) -> None:
    """A second start() leaves the processes as they are and brings back what is down."""
    lab = make_town(service("a"), service("b"))
    lab.start()
    pids = lab["a"].pids
    lab.kill("b")
    lab.start()
    assert lab["a"].pids == pids
    assert word(lab["b"].url) == "hello"


def test_stop_ends_the_services_and_frees_the_ports(make_town: Maker) -> None:
    """After stop() no service runs, and asking for one says what to type."""
    lab = make_town(service("a"))
    lab.start()
    url = lab["a"].url
    lab.stop()
    assert refused(url)
    with pytest.raises(NotRunning, match="not running") as refusal:
        lab["a"]
    assert "lab.start()" in str(refusal.value)


def test_two_labs_run_side_by_side(make_town: Maker) -> None:
    """Two labs at once have addresses and data of their own."""
    one, two = make_town(service("a")), make_town(service("a"), name="11_town")
    one.start()
    two.start()
    assert one["a"].url != two["a"].url
    one.stop()
    assert word(two["a"].url) == "hello"


@pytest.mark.parametrize("launch", ["warm", "cold"])
def test_both_ways_of_starting_behave_the_same(make_town: Maker, launch: str) -> None:
    """A service in a fresh interpreter serves, restarts without a lost connection and dies like a forked one."""
    lab = make_town(service("a", launch=launch))
    lab.start()
    url = lab["a"].url
    with httpx.Client() as client:
        client.get(url)
        lab.restart("a")
        assert client.get(url).json()["word"] == "hello"
    lab.kill("a")
    assert refused(url)


def test_cold_replicas_have_hash_seeds_of_their_own(make_town: Maker) -> None:
    """hash() of a string differs between two replicas that are started cold, as on two machines."""
    tells = HELLO + '\n@app.get("/hash")\ndef hashed(): return hash("ada")\n'
    lab = make_town(service("a", launch="cold", replicas=2), a=tells)
    lab.start()
    assert len({httpx.get(url + "/hash").json() for url in lab["a"].replica_urls}) == 2


def test_logs_hold_the_first_and_the_last_line(make_town: Maker) -> None:
    """What a service prints, from its first line on, is in its log."""
    lab = make_town(service("a"), a='print("first words")\n' + HELLO)
    lab.start()
    assert "first words" in repr(lab.logs("a"))


def test_trace_finds_an_id_in_every_log(make_town: Maker) -> None:
    """trace() shows the lines of all services that carry an id, and no others."""
    says = HELLO + '\n@app.get("/say/{text}")\nasync def say(text: str): print("saw", text, flush=True)\n'
    lab = make_town(service("a"), service("b"), a=says, b=says)
    lab.start()
    for name, text in [("a", "r-17"), ("b", "r-17"), ("b", "r-18")]:
        httpx.get(f"{lab[name].url}/say/{text}")
    until(lambda: repr(lab.trace("r-17")).count("saw r-17") == 2)
    assert "r-18" not in repr(lab.trace("r-17"))


def test_a_replaced_service_is_reached_at_the_other_address(make_town: Maker) -> None:
    """With replace=, callers get the other address and the service itself is not started."""
    tells = HELLO + '\n@app.get("/url")\ndef url(): return os.environ["B_URL"]\n'
    lab = make_town(service("a", needs=("b",)), service("b"), a=tells)
    lab.start(replace={"b": "http://127.0.0.1:9"})
    assert httpx.get(lab["a"].url + "/url").json() == "http://127.0.0.1:9"
    assert lab["b"].pids == ()


def test_weather_loses_an_answer_after_the_effect(make_town: Maker) -> None:
    """drop_answer() lets the request take effect at the target and swallows its answer, once."""
    asks = (
        HELLO
        + """
import httpx
@app.get("/ask")
def ask():
    try: return httpx.get(os.environ["B_URL"] + "/count").json()
    except httpx.HTTPError as error: return type(error).__name__
"""
    )
    counts = HELLO + '\nseen = []\n@app.get("/count")\nasync def count():\n    seen.append(1)\n    return len(seen)\n'
    lab = make_town(service("a", needs=("b",)), service("b"), a=asks, b=counts)
    lab.start(weather="calm")
    assert httpx.get(lab["a"].url + "/ask").json() == 1
    lab.edge("a", "b").drop_answer(times=1)
    assert httpx.get(lab["a"].url + "/ask").json() == "RemoteProtocolError"
    assert httpx.get(lab["a"].url + "/ask").json() == 3


def test_an_edge_that_refuses_is_mended_by_clear(make_town: Maker) -> None:
    """refuse() leaves callers nobody to talk to; after clear() the same address answers again, every time."""
    tells = HELLO + '\n@app.get("/url")\ndef url(): return os.environ["B_URL"]\n'
    lab = make_town(service("a", needs=("b",)), service("b"), a=tells)
    lab.start(weather="calm")
    url = httpx.get(lab["a"].url + "/url").json()
    for _ in range(2):
        lab.edge("a", "b").refuse()
        assert refused(url)
        lab.edge("a", "b").clear()
        assert word(url) == "hello"


def test_weather_asked_of_a_running_lab_takes_effect(make_town: Maker) -> None:
    """start(weather=...) on a running lab starts it anew with that weather."""
    lab = make_town(service("a", needs=("b",)), service("b"))
    lab.start()
    lab.start(weather="calm")
    assert {state.name: state.edges for state in lab.states()} == {"a": ("b",), "b": ()}


def test_weather_is_printed_with_its_seed(make_town: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """Weather without a seed chooses one and says how to have the same again."""
    lab = make_town(service("a"), service("b", needs=("a",)))
    lab.start(weather="drizzle")
    assert 'lab.start(weather="drizzle", seed=' in capsys.readouterr().out


def test_unknown_names_are_refused_with_the_names_there_are(make_town: Maker) -> None:
    """A wrong service, weather, replica or number is one friendly error."""
    lab = make_town(service("a"))
    with pytest.raises(UnknownName, match="weather"):
        lab.start(weather="hail")
    lab.start()
    with pytest.raises(UnknownName, match="weather"):
        lab.start(weather="hail")
    assert word(lab["a"].url) == "hello"  # a slip stops nothing
    for wrong in (lambda: lab.scale("a", "3"), lambda: lab.logs("a", 2.5), lambda: lab.kill("a", replica="1")):
        with pytest.raises(UnknownName, match="whole number"):
            wrong()
    for wrong in (lambda: lab["b"], lambda: lab.kill("a", replica=7), lambda: lab.scale("a", 0), lambda: lab.kill("x")):
        with pytest.raises(UnknownName) as refusal:
            wrong()
        assert refusal.value.evidence and refusal.value.next_step
    with pytest.raises(LabError, match="no fault proxy"):
        lab.edge("a", "a")


def test_services_see_no_proxy_on_loopback(make_town: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that the learner's shell is set to does not catch calls between services."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    asks = 'import httpx, os\nassert httpx.get(os.environ["B_URL"]).status_code == 200\n' + HELLO
    lab = make_town(service("a", needs=("b",)), service("b"), a=asks)
    lab.start()
    assert lab["a"].state == "ready"


def test_every_listening_socket_is_on_loopback(make_town: Maker) -> None:
    """Nothing that a lab starts listens on an address that other machines can reach."""
    import psutil

    from tests.runtime.conftest import family

    lab = make_town(service("a", replicas=2), service("b", needs=("a",)))
    lab.start(weather="calm")
    for pid in family(lab):
        for connection in psutil.Process(pid).net_connections("inet"):
            assert connection.laddr.ip == "127.0.0.1", os.strerror(0)
