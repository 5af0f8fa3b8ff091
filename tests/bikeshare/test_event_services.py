"""The city of chapter 05 as its lab.toml starts it: whatever is killed, the laws are kept when all is quiet."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import httpx
import psutil
import pytest

from lab_services.bikeshare.outbox import LEASE_SECONDS
from lab_services.bikeshare.start_riders import StartReport, send_starters
from lab_services.broker import until_quiet
from lab_services.checks.broker_probes import Spy, spying
from lab_services.lab import Lab
from lab_services.runtime.spec_types import LabSpec
from tests.bikeshare.broker_users import may_hear, may_say
from tests.bikeshare.test_bad_input import BAD_CENTS, BAD_IDS
from tests.bikeshare.town import NO_TLS, check_problem, eventually, together
from tests.running_labs import running_lab

SECONDS = 60.0
QUICK = {"STEP_SECONDS": "1", "AGAIN_SECONDS": "1.2", "ACK_SECONDS": "0.5", "STUCK_SECONDS": "0.6", "SLOW_SECONDS": "2"}
CLIENT = httpx.Client(timeout=SECONDS, trust_env=False, verify=NO_TLS)
KILLED = ("starts", "wallet", "stations", "locks", "rides", "relay", "citymap", "broker")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the lab's own system, with less patience than the learner's."""

    def quick(spec: LabSpec) -> LabSpec:
        services = {
            name: each if each.kind == "server" else replace(each, env=MappingProxyType({**each.env, **QUICK}))
            for name, each in spec.services.items()
        }
        return replace(spec, services=MappingProxyType(services))

    folder = tmp_path_factory.mktemp("events")
    with closing(CLIENT), running_lab("05_events", folder, change=quick) as lab:
        yield lab
    logs = [file for file in (folder / "run").rglob("*.log") if not file.name.startswith("broker")]
    told = [line for file in logs for line in file.read_text().splitlines()]
    assert logs and not [line for line in told if re.search(r"Traceback|\bada\b|zoe", line)]


@pytest.fixture(scope="module")
def spy(lab: Lab) -> Iterator[Spy]:
    with spying(lab["broker"].url) as spy:
        yield spy


@pytest.fixture(autouse=True)
def laws_hold(lab: Lab) -> Iterator[None]:
    """Whatever the test did: when all is quiet, the laws are kept, and the map shows what rides has."""
    yield
    until_quiet(lab, SECONDS)
    assert lab.laws().broken == ()
    assert on_map(lab) == {row["ride_id"]: row["state"] for row in rows(lab, "rides", "SELECT * FROM rides")}


def rows(lab: Lab, service: str, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(lab[service].data / f"{service}.db", timeout=SECONDS)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query)]


def on_map(lab: Lab) -> dict[str, str]:
    shown = "SELECT ride_id, state FROM map JOIN generations USING (generation) WHERE shown"
    return {row["ride_id"]: row["state"] for row in rows(lab, "citymap", shown)}


def ask(url: str) -> dict[str, Any]:
    answer = CLIENT.get(url)
    assert answer.is_success, answer.text
    return dict(answer.json())


def start(lab: Lab, ride_id: str, bike_id: str, rider_id: str = "ada", cents: int = 500) -> httpx.Response:
    wish = {"rider_id": rider_id, "bike_id": bike_id, "cents": cents}
    return CLIENT.put(f"{lab['starts'].url}/starts/{ride_id}", json=wish)


def end(lab: Lab, ride_id: str, station_id: str = "A1", cents: int = 120) -> httpx.Response:
    return CLIENT.put(f"{lab['rides'].url}/rides/{ride_id}/ended", json={"station_id": station_id, "cents": cents})


def outcome(lab: Lab, ride_id: str) -> dict[str, Any]:
    """Return a start that has come to its end."""

    def ended() -> dict[str, Any] | None:
        found = ask(f"{lab['starts'].url}/starts/{ride_id}")
        return found if found["state"] in ("started", "refused") else None

    return dict(eventually(ended, within=SECONDS))


def ride(lab: Lab, count: int, name: str) -> StartReport:
    return send_starters(lab["starts"].url, lab["rides"].url, count, name)


def test_a_ride_from_its_start_to_its_end(lab: Lab, spy: Spy) -> None:
    """Each command and reply is said once, in the order of the steps; the money is taken and the bike is docked."""
    first = start(lab, "whole.1", "b-01")
    assert first.status_code == 202 and first.json()["state"] == "holding"
    assert outcome(lab, "whole.1")["reason"] is None
    again = start(lab, "whole.1", "b-01")
    assert (again.status_code, again.json()["state"], again.json()["step"]) == (200, "started", None)
    check_problem(start(lab, "whole.1", "b-02"), 409, "whole.1")
    check_problem(start(lab, "whole.1", "b-01", cents=501), 409, "whole.1")
    ended = end(lab, "whole.1", "C3")
    assert ended.status_code == 200 and end(lab, "whole.1", "C3").json() == ended.json()
    check_problem(end(lab, "whole.1", "C4"), 409, "whole.1")
    until_quiet(lab, SECONDS)
    assert ask(f"{lab['stations'].url}/bikes/b-01")["station_id"] == "C3"
    assert ask(f"{lab['wallet'].url}/holds/whole.1")["captured_cents"] == 120
    assert ask(f"{lab['locks'].url}/bolts/b-01")["open_for"] is None
    actions = ("wallet.hold", "stations.reserve", "locks.unlock", "rides.start")
    assert [m.subject for m in spy.kept("COMMANDS")] == [f"command.{action}.whole%2E1" for action in actions]
    assert [m.subject for m in spy.kept("REPLIES")] == [f"reply.{action}.whole%2E1" for action in actions]
    assert [m.subject for m in spy.kept("RIDES")] == ["ride.started.whole%2E1", "ride.ended.whole%2E1"]
    assert [m.headers["Nats-Msg-Id"] for m in spy.kept("COMMANDS")] == [f"whole.1.{action}" for action in actions]
    said = json.loads(spy.kept("REPLIES")[0].data)
    assert (said["id"], said["type"]) == ("whole.1.wallet.hold.reply", "wallet.hold.done")
    assert said["data"] == {"ride_id": "whole.1", "command": "whole.1.wallet.hold"}


def test_what_cannot_be_is_undone_in_reverse(lab: Lab, spy: Spy) -> None:
    """No money, no bike, a lock that refuses: what was done before is undone, the last of it first."""
    wishes = {"poor": ("b-02", "poor"), "nobody": ("b-02", "zoe"), "no-bike": ("b-99", "ada"), "lock": ("b-13", "bo")}
    for ride_id, (bike_id, rider_id) in wishes.items():
        assert start(lab, ride_id, bike_id, rider_id).status_code == 202
    found = {ride_id: outcome(lab, ride_id) for ride_id in wishes}
    assert {each["state"] for each in found.values()} == {"refused"}
    reasons = ["poor has 100 cents", "zoe has no wallet", "there is no bike b-99", "locks.unlock is told to refuse"]
    assert all(found[ride_id]["reason"].startswith(reason) for ride_id, reason in zip(wishes, reasons, strict=True))
    assert commands(spy, "poor") == commands(spy, "nobody") == ["wallet.hold"]
    assert commands(spy, "no-bike") == ["wallet.hold", "stations.reserve", "wallet.release"]
    back = ["stations.cancel", "wallet.release"]
    assert commands(spy, "lock") == ["wallet.hold", "stations.reserve", "locks.unlock", *back]
    until_quiet(lab, SECONDS)  # rides hears of it by a fact
    check_problem(end(lab, "lock"), 409, "lock")


def commands(spy: Spy, ride_id: str) -> list[str]:
    """Return what was asked for a ride, in order, each once."""
    said = [m.subject.split(".") for m in spy.kept("COMMANDS")]
    return list(dict.fromkeys(".".join(words[1:3]) for words in said if words[3] == ride_id))


def test_silence_leads_back_before_the_pivot_and_forward_behind_it(lab: Lab, spy: Spy) -> None:
    """A reservation that comes too late is undone before it comes; a lock that has opened in silence is asked again."""
    assert start(lab, "late", "b-15").status_code == start(lab, "silent", "b-14").status_code == 202
    assert "stations.reserve" in outcome(lab, "late")["reason"]
    assert commands(spy, "late")[2:] == ["stations.cancel", "wallet.release"]
    assert outcome(lab, "silent")["state"] == "started"
    assert commands(spy, "silent")[2:] == ["locks.unlock", "rides.start"]
    replies = [m for m in spy.kept("REPLIES") if m.subject == "reply.stations.reserve.late"]
    eventually(lambda: "before it came" in str([m.data for m in spy.kept("REPLIES") if "reserve.late" in m.subject]))
    assert len(replies) <= 1 and end(lab, "silent", "B2").status_code == 200


def test_a_start_that_does_not_move_on_is_visible(lab: Lab) -> None:
    """With the locks dead it waits at the pivot, is listed, asks again and again, and goes on when they are back."""
    lab.kill("locks")
    start(lab, "dead-lock", "b-21")
    eventually(lambda: stuck(lab).get("dead-lock", {}).get("asked", 0) >= 3, within=SECONDS)
    assert stuck(lab)["dead-lock"]["step"] == "locks.unlock"
    lab.launch("locks")
    assert outcome(lab, "dead-lock")["state"] == "started" and "dead-lock" not in stuck(lab)
    assert end(lab, "dead-lock").is_success


def stuck(lab: Lab) -> dict[str, Any]:
    return {each["ride_id"]: each for each in ask(f"{lab['starts'].url}/starts?stuck=true")["starts"]}


def test_two_riders_and_one_bike(lab: Lab) -> None:
    """Of ten who want the same bike at once one gets it, and the others get their money back."""
    together(10, lambda number: start(lab, f"same-{number}", "b-20", "chen"))
    states = [outcome(lab, f"same-{number}")["state"] for number in range(10)]
    assert sorted(states) == ["refused"] * 9 + ["started"]
    assert end(lab, f"same-{states.index('started')}").is_success


@pytest.mark.parametrize("name", KILLED)
def test_whoever_is_killed(lab: Lab, name: str) -> None:
    """kill -9 under riders: every start comes to an end, every ride is paid, every bike is back."""
    with ThreadPoolExecutor(1) as pool:
        riding = pool.submit(ride, lab, 24, f"kill-{name}")
        begun = f"SELECT * FROM starts WHERE ride_id GLOB 'kill-{name}-*'"
        eventually(lambda: len(rows(lab, "starts", begun)) >= 5, within=SECONDS)
        lab.kill(name)
        time.sleep(0.2)  # in which the others go on without it
        lab.launch(name)
        report = riding.result(SECONDS)
    assert sum(report.states.values()) == 24 and set(report.states) <= {"ended", "refused"}
    assert name != "citymap" or report.states["ended"] == 24


def test_one_relay_of_two_is_enough(lab: Lab, spy: Spy) -> None:
    """With either replica killed the other one says everything, once."""
    started = []
    for replica in (1, 2):
        lab.kill("relay", replica)
        started.append(started_at_last(lab, f"relay-{replica}", f"b-3{replica}"))
        assert end(lab, started[-1]).is_success
        lab.launch("relay")
    until_quiet(lab, SECONDS)
    told = [m.subject for m in spy.kept("RIDES") if ".relay-" in m.subject]
    assert sorted(told) == sorted(f"ride.{what}.{ride_id}" for what in ("started", "ended") for ride_id in started)


def started_at_last(lab: Lab, name: str, bike_id: str) -> str:
    """Start rides of a bike until one is started: the lease of a dead relay may last longer than a step's patience."""
    for again in range(5):
        ride_id = f"{name}-{again}"
        assert start(lab, ride_id, bike_id).status_code == 202
        if outcome(lab, ride_id)["state"] == "started":
            return ride_id
    raise AssertionError(f"no ride of {bike_id} is started")


def test_while_the_relay_is_away_nothing_is_said_and_nothing_is_lost(lab: Lab, spy: Spy) -> None:
    """PUTs are answered, their rows wait and can be seen; a relay that comes back finds them."""
    lab.kill("relay")
    assert start(lab, "waits", "b-33").status_code == 202
    assert [row["subject"] for row in rows(lab, "starts", "SELECT * FROM outbox")] == ["command.wallet.hold.waits"]
    lab.launch("relay")
    assert outcome(lab, "waits")["state"] in ("started", "refused")
    end(lab, "waits")


def test_a_relay_killed_between_the_stream_and_its_note(lab: Lab, spy: Spy) -> None:
    """The stream has the event and the row is still there: the next relay says it again, and the stream keeps one."""
    start(lab, "twice", "b-36")
    assert outcome(lab, "twice")["state"] == "started"
    until_quiet(lab, SECONDS)
    lab.pause("broker")
    taken = f"SELECT 1 FROM outbox_turn WHERE until > {time.time() + LEASE_SECONDS}"  # since now: a relay has the row
    assert end(lab, "twice").is_success
    eventually(lambda: rows(lab, "rides", taken), within=SECONDS)
    with closing(sqlite3.connect(lab["rides"].data / "rides.db", timeout=SECONDS, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        lab.resume("broker")
        eventually(lambda: said(spy, "ride.ended.twice") == 1, within=SECONDS)
        assert [row["event_id"] for row in rows(lab, "rides", "SELECT * FROM outbox")] == ["twice.ended"]
        lab.kill("relay")
        db.execute("ROLLBACK")
    lab.launch("relay")
    until_quiet(lab, SECONDS)
    assert said(spy, "ride.ended.twice") == 1


def said(spy: Spy, subject: str) -> int:
    return [message.subject for message in spy.kept("RIDES")].count(subject)


def test_without_a_broker_the_city_takes_wishes(lab: Lab) -> None:
    """A start and an end are written down while the broker is away, and done when it is back."""
    start(lab, "before", "b-34")
    assert outcome(lab, "before")["state"] == "started"
    lab.kill("broker")
    assert start(lab, "dark", "b-35").status_code == 202 and end(lab, "before").status_code == 200
    check_problem(CLIENT.get(f"{lab['starts'].url}/health/ready"), 503, "broker")
    assert ask(f"{lab['citymap'].url}/map/before")["state"] == "started"
    lab.launch("broker")
    assert outcome(lab, "dark")["state"] == "started" and end(lab, "dark").is_success


def test_the_map_is_made_anew_without_a_gap(lab: Lab) -> None:
    """While it is rebuilt, also over kill -9, every look sees a whole map that never goes back."""
    before = ask(f"{lab['citymap'].url}/map")
    generation = CLIENT.post(f"{lab['citymap'].url}/rebuilds").json()["generation"]
    assert generation > before["generation"]
    lab.kill("citymap")
    lab.launch("citymap")
    looks = [ask(f"{lab['citymap'].url}/map")]
    eventually(lambda: looks.append(ask(f"{lab['citymap'].url}/map")) or looks[-1]["generation"] == generation)
    positions = [look["position"] for look in looks]
    assert positions == sorted(positions) and positions[0] >= before["position"]
    assert looks[-1]["bikes"] == before["bikes"] and looks[-1]["rides"] == before["rides"]


def test_bad_input_is_refused_by_the_name_of_its_field(lab: Lab) -> None:
    """Values, bodies and ids that cannot be are 4xx problems, and nothing has begun or ended."""
    begin = {"rider_id": "ada", "bike_id": "b-40", "cents": 5}
    ids = [(key, value) for key in ("rider_id", "bike_id") for value in BAD_IDS]
    for field, value in [*(("cents", value) for value in BAD_CENTS), *ids, ("tip", 5)]:
        answer = put(f"{lab['starts'].url}/starts/bad-1", json.dumps(begin | {field: value}))
        assert check_problem(answer, 422, field)["errors"][0]["field"] == field
    for field, value in [("station_id", "E5"), ("station_id", 1), *(("cents", value) for value in BAD_CENTS)]:
        wish = {"station_id": "A1", "cents": 5} | {field: value}
        answer = put(f"{lab['rides'].url}/rides/bad-1/ended", json.dumps(wish))
        assert check_problem(answer, 422, field)["errors"][0]["field"] == field
    for content in ("", "{", "[" * 5000, "[]", "null", '{"cents": 1e999}'):
        assert put(f"{lab['starts'].url}/starts/bad-1", content).status_code in (400, 422)
    assert put(f"{lab['starts'].url}/starts/bad-1", " " * (1024 * 1024 + 1)).status_code == 413
    check_problem(CLIENT.get(f"{lab['starts'].url}/starts/bad-1"), 404, "bad-1")
    for ride_id in ("x" * 41, "x" * 8192, "a%20b", "*", "%3E", "a%0d%0ab"):
        check_problem(start(lab, ride_id, "b-40"), 422, "ride_id")
    check_problem(end(lab, "never"), 404, "never")


def put(url: str, content: str) -> httpx.Response:
    return CLIENT.put(url, content=content, headers={"content-type": "application/json"})


def test_a_ride_costs_at_most_what_is_held(lab: Lab) -> None:
    """A price above the hold could never be captured: it is refused while the ride still goes on."""
    start(lab, "dear", "b-41", cents=100)
    assert outcome(lab, "dear")["state"] == "started"
    assert check_problem(end(lab, "dear", cents=101), 422, "cents")["errors"][0]["field"] == "cents"
    assert end(lab, "dear", cents=100).is_success


MAY_SAY = {
    "starts": {"outbox.starts", "dead.starts"},
    "wallet": {"outbox.wallet", "dead.wallet"},
    "stations": {"outbox.stations", "dead.stations"},
    "locks": {"outbox.locks", "dead.locks"},
    "rides": {"outbox.rides", "dead.rides"},
    "relay": {"command.wallet.hold.%", "reply.wallet.hold.%", "ride.seen.%"},
    "citymap": set(),
}
OTHERS = {
    *("command.wallet", "ride.ended", "wallet.hold", "_INBOX.lab.x", "$SYS.REQ.SERVER.PING"),
    *("$JS.API.STREAM.DELETE.RIDES", "$JS.API.STREAM.PURGE.COMMANDS", "$JS.API.STREAM.UPDATE.RIDES"),
    *("$JS.API.CONSUMER.DELETE.RIDES.mine", "$JS.API.CONSUMER.CREATE.RIDES.mine", "$JS.API.STREAM.MSG.GET.RIDES"),
    *("$JS.API.CONSUMER.MSG.NEXT.RIDES.mine", "$JS.ACK.DEAD.mine.1.1.1.1.1"),
}


@pytest.mark.parametrize("user", MAY_SAY)
def test_each_service_may_do_its_work_and_no_more(lab: Lab, user: str) -> None:
    """Least permissions: only the relay says commands, replies and facts, and nobody hears another's answers."""
    password = psutil.Process(lab["broker"].pids[0]).environ()[f"{user.upper()}_PASSWORD"]
    url = re.sub("//lab:[^@]*@", f"//{user}:{password}@", lab["broker"].url)
    streams = {"command.wallet.hold.%", "reply.wallet.hold.%", "ride.seen.%", "dead.x"}
    kept = MAY_SAY[user] & {f"dead.{user}"} | (MAY_SAY[user] & streams)
    subjects = OTHERS | streams | {f"outbox.{name}" for name in MAY_SAY} | {f"dead.{name}" for name in MAY_SAY}
    assert may_say(url, subjects - kept) == MAY_SAY[user] - kept
    hears = {(f"_INBOX.{user}.x", "")} | ({("outbox.*", "")} if user == "relay" else set())
    everything = {(">", ""), ("_INBOX.>", ""), ("ride.>", ""), ("command.>", ""), ("reply.>", ""), ("outbox.*", "")}
    assert may_hear(url, everything | hears) == hears
