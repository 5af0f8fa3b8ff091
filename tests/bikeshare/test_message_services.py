"""The city of chapter 04 as its lab.toml starts it: a ride is paid once, whatever dies, comes twice or is nonsense."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from nats.errors import NoRespondersError
from nats.js.errors import APIError, NoStreamResponseError

from lab_services.bikeshare import billing
from lab_services.bikeshare.messages import MOST_BYTES, new_event, written
from lab_services.bikeshare.streams import token
from lab_services.checks.broker_probes import Heard, Spy, spying
from lab_services.lab import Lab
from lab_services.runtime.spec_types import LabSpec
from tests.bikeshare.broker_users import may_hear, may_say, request
from tests.bikeshare.test_bad_input import BAD_CENTS, BAD_IDS
from tests.bikeshare.town import NO_TLS, check_problem, eventually, together
from tests.running_labs import running_lab

SECONDS = 15.0
QUICK = {
    "billing": {"ACK_SECONDS": "0.5", "AGAIN_SECONDS": "0.2", "BILL_SECONDS": "0.05"},
    "batteries": {"DEVICE_SECONDS": "0.005"},
}
CLIENT = httpx.Client(timeout=SECONDS, trust_env=False, verify=NO_TLS)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run the lab's own system, with less patience and slower payments than the learner's."""

    def quick(spec: LabSpec) -> LabSpec:
        services = {name: replace(spec.services[name], env=MappingProxyType(env)) for name, env in QUICK.items()}
        return replace(spec, services=MappingProxyType({**spec.services, **services}))

    folder = tmp_path_factory.mktemp("messaging")
    with closing(CLIENT), running_lab("04_messaging", folder, change=quick) as lab:
        yield lab
    logs = [file for name in QUICK for file in (folder / "run").rglob(f"{name}*.log")]
    told = [line for file in logs for line in file.read_text().splitlines()]
    assert told and not [line for line in told if re.search(r"Traceback|\bada\b|zoe", line)]


@pytest.fixture(scope="module")
def spy(lab: Lab) -> Iterator[Spy]:
    with spying(lab["broker"].url) as spy:
        yield spy


@pytest.fixture(autouse=True)
def laws_hold(lab: Lab, spy: Spy) -> Iterator[None]:
    """Whatever the test did: when all is quiet, each ended ride has been paid once."""
    yield
    quiet(spy)
    assert lab.laws().broken == ()


def quiet(spy: Spy) -> None:
    """Wait until every message is done with."""

    def is_quiet() -> bool:
        found = spy.consumer("RIDES", "billing")
        return found is not None and found.num_pending == 0 and found.num_ack_pending == 0

    eventually(is_quiet, within=SECONDS)


def end(lab: Lab, ride_id: str, rider_id: str = "ada", cents: int = 100) -> httpx.Response:
    """Say that a ride has ended."""
    url = f"{lab['rides'].url}/rides/{ride_id}/ended"
    return CLIENT.put(url, json={"rider_id": rider_id, "cents": cents})


def end_many(lab: Lab, name: str, count: int) -> list[str]:
    """End rides at once; each is repeated until the broker has taken its event."""
    ride_ids = [f"{name}-{number}" for number in range(count)]

    def until_told(ride_id: str) -> None:
        eventually(lambda: end(lab, ride_id).is_success, within=SECONDS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(until_told, ride_ids))
    return ride_ids


def begin_sixty(lab: Lab, name: str) -> None:
    """Return when billing is in the middle of the work for sixty rides."""
    lab.pause("billing")
    end_many(lab, name, 60)
    lab.resume("billing")
    eventually(lambda: charged(lab, name) >= 5, within=SECONDS)


def charges(lab: Lab, ride_id: str) -> list[dict[str, Any]]:
    return list(ask(lab["billing"].url, f"/charges/{ride_id}")["charges"])


def charged(lab: Lab, name: str) -> int:
    """Count the charges of all rides whose ids begin so, in the file itself."""
    with closing(sqlite3.connect(lab["billing"].data / "wallet.db", timeout=SECONDS)) as db:
        return int(db.execute("SELECT count(*) FROM holds WHERE ride_id GLOB ?", [f"{name}-*"]).fetchone()[0])


def ask(url: str, path: str) -> dict[str, Any]:
    answer = CLIENT.get(url + path)
    assert answer.is_success, answer.text
    return dict(answer.json())


def ask_each(lab: Lab, service: str, path: str) -> list[dict[str, Any]]:
    return [ask(url, path) for url in lab[service].replica_urls]


def event_of(spy: Spy, ride_id: str) -> Heard:
    """Return the event of a ride as the stream keeps it."""
    found = spy.jetstream("get_last_msg", "RIDES", f"ride.ended.{token(ride_id)}")
    return Heard(found.subject, found.data, found.headers)


def dead(spy: Spy) -> dict[bytes, str]:
    """Return what DEAD keeps, each content with its reason."""
    letters = spy.kept("DEAD")
    assert len({letter.headers["From-Sequence"] for letter in letters}) == len(letters), "each message once"
    return {letter.data: letter.headers["Reason"] for letter in letters}


def ready(lab: Lab) -> bool:
    """Say whether every replica of every service has a broker."""
    services = ("rides", "billing", "displays", "batteries")
    urls = [url for name in services for url in (lab[name].replica_urls or (lab[name].url,))]
    return all(CLIENT.get(f"{url}/health/ready").is_success for url in urls)


def ended(data: object, **changes: Any) -> bytes:
    """Return the event ride.ended with this data, as it comes over the wire."""
    event = {"id": "x-1.ended", "type": "ride.ended", "version": 1, "time": NOON.isoformat(), "data": data}
    return json.dumps(event | changes).encode()


def test_rides_are_shared_and_each_is_paid_once(lab: Lab, spy: Spy) -> None:
    """Three workers, one durable consumer: all of them work, and no ride is billed by two."""
    rounds = map(str, range(20))
    eventually(lambda: end_many(lab, f"shared-{next(rounds)}", 20) and all(
        found["events"] for found in ask_each(lab, "billing", "/billed")), within=SECONDS)  # fmt: skip
    quiet(spy)
    events = [event for found in ask_each(lab, "billing", "/billed") for event in found["events"]]
    assert len(events) == len(set(events)) == len(spy.kept("RIDES"))
    assert {found["replica"] for found in ask_each(lab, "billing", "/billed")} == {"1", "2", "3"}


def test_an_event_says_what_has_happened(lab: Lab, spy: Spy) -> None:
    """A dot in an id makes no second part of a subject; the event's id is the ride's, and the row is written."""
    ride = end(lab, "event.1", "bo", 350).json()
    kept = event_of(spy, "event.1")
    assert (kept.subject, kept.headers["Nats-Msg-Id"]) == ("ride.ended.event%2E1", "event.1.ended")
    facts = {"ride_id": "event.1", "rider_id": "bo", "cents": 350}
    said = json.loads(kept.data)
    assert (said["id"], said["data"], said["version"]) == ("event.1.ended", facts, 1)
    assert datetime.fromisoformat(said["time"]) == datetime.fromisoformat(ride["ended_at"])
    assert ask(lab["rides"].url, "/rides/event.1") == ride == {
        **facts, "bike_id": None, "state": "ended", "ended_at": ride["ended_at"]}  # fmt: skip
    eventually(lambda: charges(lab, "event.1") == [{"rider_id": "bo", "captured_cents": 350}])


def test_a_put_that_is_repeated_says_the_same(lab: Lab, spy: Spy) -> None:
    """Ten at once are one ride, one event in the stream and one charge; another price for it is refused."""
    statuses = together(10, lambda number: end(lab, "again-1").status_code)
    assert sorted(statuses) == [200] * 9 + [201]
    check_problem(end(lab, "again-1", cents=101), 409, "again-1")
    check_problem(end(lab, "again-1", "bo"), 409, "again-1")
    said = [message for message in spy.kept("RIDES") if message.subject == "ride.ended.again-1"]
    assert len(said) == 1


def test_workers_killed_in_the_middle_lose_and_double_nothing(lab: Lab, spy: Spy) -> None:
    """kill -9 with a batch in hand: what was not acknowledged comes again, what was committed is not charged again."""
    begin_sixty(lab, "killed")
    lab.kill("billing")
    left = spy.consumer("RIDES", "billing")
    assert left.num_ack_pending > 0 and charged(lab, "killed") < 60
    end_many(lab, "while-away", 3)
    lab.launch("billing")
    eventually(lambda: charged(lab, "killed") >= 60 and charged(lab, "while-away") >= 3, within=SECONDS)


def test_workers_that_are_told_to_leave_end_what_they_do(lab: Lab, spy: Spy) -> None:
    """On SIGTERM a worker ends its message and gives the others back."""
    begin_sixty(lab, "left")
    lab.restart("billing")
    eventually(lambda: charged(lab, "left") >= 60, within=SECONDS)


def test_a_broker_that_is_killed_loses_nothing(lab: Lab, spy: Spy) -> None:
    """PUTs meet a 503 problem while it is away, the same PUT heals that, and every worker and board is back once."""
    with ThreadPoolExecutor(1) as pool:
        riding = pool.submit(end_many, lab, "outage", 60)
        eventually(lambda: charged(lab, "outage") >= 5, within=SECONDS)
        lab.kill("broker")
        check_problem(end(lab, "outage-x"), 503)
        assert ask(lab["rides"].url, "/rides/outage-x")["state"] == "ended"
        check_problem(CLIENT.get(lab["rides"].url + "/health/ready"), 503, "broker")
        lab.launch("broker")
        riding.result(SECONDS)
    assert end(lab, "outage-x").status_code == 200
    eventually(lambda: charged(lab, "outage") >= 61, within=SECONDS)
    eventually(lambda: ready(lab), within=SECONDS)
    spy.publish("storm.warning", written(new_event("storm.warning", NOON, {"text": "after"}, event_id="after")))
    eventually(lambda: 0 not in copies(lab, "after"), within=SECONDS)
    assert copies(lab, "after") == [1, 1, 1]


def copies(lab: Lab, event_id: str) -> list[int]:
    """Count for each board how often it has heard an event."""
    return [[each["id"] for each in found["heard"]].count(event_id) for found in ask_each(lab, "displays", "/heard")]


def test_a_duplicate_that_the_broker_does_not_see_is_not_charged(lab: Lab, spy: Spy) -> None:
    """The same event without Nats-Msg-Id, ten times; a second event of the ride is a matter for a human."""
    end(lab, "twice-1")
    said = event_of(spy, "twice-1")
    for _ in range(10):
        assert not spy.keep(said.subject, said.data).duplicate
    other = ended({"ride_id": "twice-1", "rider_id": "ada", "cents": 100}, id="another")
    spy.keep(said.subject, other)
    quiet(spy)
    assert len(charges(lab, "twice-1")) == 1
    eventually(lambda: dead(spy).get(other) == "ride twice-1 has been billed before, by another event")
    assert said.data not in dead(spy)


FACTS = {"ride_id": "x-1", "rider_id": "ada", "cents": 100}
POISON = [
    (b"", "0 bytes"),
    (b"\xff\xfe\x00", "content: Invalid JSON"),
    (b"[]", "content: "),
    (b"[" * 5000, "content: Invalid JSON"),
    (b" " * (MOST_BYTES + 1), "65,537 bytes"),
    (ended(FACTS, version=2), "version: 2 of ride.ended, and 1 is the newest known"),
    (ended(FACTS, type="ride.started"), "type: ride.started is not known"),
    (ended(FACTS, id="a b"), "id: "),
    (ended({}), "data.ride_id: Field required"),
    (ended(FACTS | {"ride_id": "../x\r\ny: z"}), "data.ride_id: "),
    (ended(FACTS | {"rider_id": None}), "data.rider_id: "),
    *((ended(FACTS | {"cents": cents}), "data.cents: ") for cents in (-1, 10**40, 5.5, "5", True, None)),
    (ended(FACTS | {"rider_id": "zoe"}), "zoe has no wallet"),
    (ended(FACTS | {"cents": 100_000_000}), "ada has "),
]


def test_poison_goes_where_it_can_be_looked_at(lab: Lab, spy: Spy) -> None:
    """What nobody can bill is in DEAD as it came, once, with the reason; the rides in between are paid."""
    for number, (content, _) in enumerate(POISON):
        spy.keep("ride.ended.x", content)
        assert end(lab, f"between-{number}", "chen").status_code == 201
    quiet(spy)
    assert charged(lab, "between") == len(POISON)
    found = dead(spy)
    assert [found[content][: len(reason)] for content, reason in POISON] == [reason for _, reason in POISON]


def test_what_no_stream_takes_is_refused_at_the_door(lab: Lab, spy: Spy) -> None:
    """A message larger than any reader takes, or about no ride, is an error of its publisher."""
    with pytest.raises(APIError, match="message size exceeds"):
        spy.keep("ride.ended.x", b" " * (MOST_BYTES + 8192))
    for subject in ("ride.ended", "ride.ended.a.b"):
        with pytest.raises(NoStreamResponseError):
            spy.keep(subject, b"{}")


def test_bad_input_is_refused_by_the_name_of_its_field(lab: Lab) -> None:
    """Values, bodies and ids that cannot be are 4xx problems, and no ride has ended."""
    url = lab["rides"].url
    wrong = [("cents", value) for value in BAD_CENTS] + [("rider_id", value) for value in BAD_IDS] + [("tip", 5)]
    for field, value in wrong:
        content = json.dumps({"rider_id": "ada", "cents": 100} | {field: value})
        answer = CLIENT.put(f"{url}/rides/bad-1/ended", content=content, headers={"content-type": "application/json"})
        assert check_problem(answer, 422, field)["errors"][0]["field"] == field
    for content in ("", "{", "[" * 5000, "[]", "null", '{"cents": 1e999}'):
        answer = CLIENT.put(f"{url}/rides/bad-1/ended", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        check_problem(answer, answer.status_code)
    check_problem(CLIENT.get(f"{url}/rides/bad-1"), 404, "bad-1")
    for ride_id in ("x" * 59, "x" * 8192, "a%20b", "%F0%28", "*", "%3E", "a%0d%0ab"):
        check_problem(end(lab, ride_id), 422, "ride_id")
        check_problem(CLIENT.get(f"{url}/rides/{ride_id}"), 422, "ride_id")
    check_problem(CLIENT.get(f"{lab['billing'].url}/charges/{'x' * 65}"), 422, "ride_id")
    assert ask(lab["billing"].url, "/charges/nobody-1") == {"ride_id": "nobody-1", "charges": []}
    assert end(lab, "x" * 58).status_code == 201


def test_a_payment_beyond_the_ack_wait_is_taken_once(lab: Lab, spy: Spy) -> None:
    """A worker so slow that the broker gives its message to another: both charge, and one of them finds it done."""
    with closing(sqlite3.connect(lab["billing"].data / "wallet.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        end_many(lab, "slow", 1)
        eventually(lambda: spy.consumer("RIDES", "billing").num_redelivered, within=SECONDS)
        db.execute("ROLLBACK")
    eventually(lambda: charged(lab, "slow") == 1, within=SECONDS)


def test_trouble_is_waited_for_and_not_buried(lab: Lab, spy: Spy) -> None:
    """While the books cannot be written, messages come again after a rest; nothing is given up, then all are billed."""
    before = dead(spy)
    with closing(sqlite3.connect(lab["billing"].data / "wallet.db", timeout=SECONDS, isolation_level=None)) as db:
        db.execute("ALTER TABLE billed RENAME TO lost")
        end_many(lab, "trouble", 3)
        eventually(lambda: spy.consumer("RIDES", "billing").num_redelivered == 3, within=SECONDS)
        end_many(lab, "trouble-too", 3)
        db.execute("ALTER TABLE lost RENAME TO billed")
    eventually(lambda: charged(lab, "trouble") == 6, within=SECONDS)
    assert dead(spy) == before
    assert "OperationalError at billing_table.py" in str(lab.logs("billing"))


def test_a_mistake_of_ours_is_tried_five_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected does not hold up its message for ever: DEAD takes it, and names the kind."""
    done: list[str] = []

    async def later(message: Any, seconds: float, trouble: Exception) -> None:
        done.append(f"later: {trouble!r}")

    async def bury(client: Any, message: Any, reason: str, seconds: float) -> None:
        done.append(reason)

    def mistake(event: Any) -> bool:
        raise ZeroDivisionError("ada")

    for each in (later, bury):
        monkeypatch.setattr(billing, each.__name__, each)
    monkeypatch.setattr(billing, "bill", mistake)
    for delivery in range(1, 6):
        message = SimpleNamespace(data=ended(FACTS), metadata=SimpleNamespace(num_delivered=delivery))
        asyncio.run(billing.handle(None, message))
    assert done == ["later: ZeroDivisionError('ada')"] * 4 + ["tried 5 times, at last ZeroDivisionError"]


def test_streams_that_are_lost_are_made_anew(lab: Lab, spy: Spy) -> None:
    """Somebody deletes both: the next PUT is kept again, and billing comes back to it by itself."""
    quiet(spy)
    for name in ("RIDES", "DEAD"):
        spy.jetstream("delete_stream", name)
    eventually(lambda: end(lab, "anew-1").is_success, within=SECONDS)
    eventually(lambda: charged(lab, "anew") == 1, within=SECONDS)
    spy.keep("ride.ended.x", b"again")
    eventually(lambda: b"again" in dead(spy))
    config = spy.stream("RIDES").config
    assert (config.storage, config.discard, config.max_bytes) == ("file", "new", 64 * 1024 * 1024)


def test_a_stream_that_somebody_has_changed_stays_so(lab: Lab, spy: Spy) -> None:
    """Services that come later take the stream as they find it."""
    config = spy.stream("DEAD").config
    spy.jetstream("update_stream", config, max_bytes=8 * 1024 * 1024)
    lab.restart("billing")
    assert end(lab, "changed-1").status_code == 201
    eventually(lambda: charged(lab, "changed") == 1, within=SECONDS)
    assert spy.stream("DEAD").config.max_bytes == 8 * 1024 * 1024


def test_every_board_hears_the_storm(lab: Lab, spy: Spy) -> None:
    """Three boards, three copies; what makes no sense is told with its reason, and the next warning is heard."""
    before = ask_each(lab, "displays", "/heard")
    bad = [b"", b"{", b"\xff", ended(FACTS), written(new_event("storm.warning", NOON, {"text": 5}))]
    bad += [written(new_event("storm.warning", NOON, {"text": text})) for text in ("", "x" * 201)]
    for content in bad:
        spy.publish("storm.warning", content)
    spy.publish("storm.warning", written(new_event("storm.warning", NOON, {"text": "Gusts"}, event_id="s-1")))
    spy.publish("storm.over", b"not for a board")
    eventually(lambda: 0 not in copies(lab, "s-1"), within=SECONDS)
    assert copies(lab, "s-1") == [1, 1, 1]
    for then, now in zip(before, ask_each(lab, "displays", "/heard"), strict=True):
        assert len(now["refused"]) - len(then["refused"]) == len(bad)
        assert len(now["heard"]) - len(then["heard"]) == 1
        assert now["refused"][-1] == "data.text: a text of 1 to 200 letters"


def test_one_of_the_locks_gateways_answers(lab: Lab, spy: Spy) -> None:
    """Each question has one answer, all replicas answer some, and each answer is about the lock that was asked."""
    eventually(lambda: ready(lab), within=SECONDS)
    spy.hears("_INBOX.>")
    for number in range(1, 61):
        answer = spy.ask(f"lock.l-{number:02}.battery", seconds=SECONDS)
        assert answer is not None
        assert json.loads(answer.data) == {"lock_id": f"l-{number:02}", "battery_percent": 100 - number % 60}
    assert len([each for each in spy.heard if b"battery_percent" in each.data]) == 60
    counts = [found["answered"] for found in ask_each(lab, "batteries", "/asked")]
    assert sum(counts) >= 60 and all(counts)


@pytest.mark.parametrize(("subject", "status", "told"), [
    ("lock.l-99.battery", 404, "there is no lock l-99"), ("lock.\u00fc.battery", 400, "lock_id: "),
    (f"lock.{'x' * 3000}.battery", 400, "lock_id: "), ("lock.$JS.battery", 400, "lock_id: "),
])  # fmt: skip
def test_what_is_wrong_with_a_question_is_an_answer(spy: Spy, subject: str, status: int, told: str) -> None:
    """An unknown lock, one that cannot be: told at once, in the body and in the headers of NATS services."""
    answer = spy.ask(subject, seconds=SECONDS)
    assert answer is not None
    assert answer.headers["Nats-Service-Error-Code"] == str(status)
    assert answer.headers["Nats-Service-Error"].startswith(told)
    assert json.loads(answer.data) == {"status": status, "detail": answer.headers["Nats-Service-Error"]}


def test_a_question_that_wants_no_answer_harms_nobody(spy: Spy) -> None:
    """A message to the subject of questions, without an inbox or with a large content, is nothing to stumble over."""
    spy.publish("lock.l-01.battery", b"")
    answer = spy.ask("lock.l-01.battery", b"x" * 500_000, seconds=SECONDS)
    assert answer is not None and json.loads(answer.data)["battery_percent"] == 99


def test_no_question_is_lost_when_replicas_change(lab: Lab, spy: Spy) -> None:
    """While all replicas are replaced, one after the other, every question is answered."""
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(lab.restart, "batteries")
        asked = 0
        while not changing.done() or asked < 20:
            assert spy.ask("lock.l-07.battery", seconds=SECONDS) is not None, f"question {asked}"
            asked += 1
        changing.result()


def test_nobody_there_is_noticed_at_once(lab: Lab, spy: Spy) -> None:
    """Without any gateway the broker says so: long before the time is over."""
    lab.kill("batteries")
    eventually(lambda: nobody_there(lab, "lock.l-01.battery"), within=SECONDS)  # one that was replaced may still leave
    lab.launch("batteries")
    assert spy.ask("lock.l-01.battery", seconds=SECONDS) is not None


def nobody_there(lab: Lab, subject: str) -> bool:
    try:
        return not request(lab["broker"].url, subject, 60.0)
    except NoRespondersError:
        return True


MAY_SAY = {
    "rides": {"ride.ended.r-1"},
    "billing": {"dead.billing", "$JS.ACK.RIDES.billing.1.1.1.1.1"},
    "displays": set(),
    "batteries": set(),
}
MAY_HEAR = {
    "rides": {("_INBOX.rides.x", "")},
    "billing": {("_INBOX.billing.x", "")},
    "displays": {("storm.warning", "")},
    "batteries": {("lock.*.battery", "batteries")},
}
OTHERS = {
    *("wallet.charge", "storm.warning", "ride.started.r-1", "ride.ended", "dead.rides", "lock.l-01.battery"),
    *("$JS.API.STREAM.DELETE.RIDES", "$JS.API.STREAM.PURGE.RIDES", "$JS.API.STREAM.UPDATE.RIDES"),
    *("$JS.API.CONSUMER.DELETE.RIDES.billing", "$JS.API.CONSUMER.CREATE.RIDES.mine", "$JS.API.STREAM.MSG.GET.RIDES"),
    *("$JS.API.CONSUMER.MSG.NEXT.RIDES.mine", "$JS.ACK.DEAD.billing.1.1.1.1.1", "_INBOX.lab.x", "$SYS.REQ.SERVER.PING"),
}


@pytest.mark.parametrize("user", MAY_SAY)
def test_each_service_may_do_its_work_and_no_more(lab: Lab, user: str) -> None:
    """Least permissions: nobody charges wallets, hears another's answers or takes a stream away."""
    password = psutil.Process(lab["broker"].pids[0]).environ()[f"{user.upper()}_PASSWORD"]
    url = (
        lab["broker"]
        .url.replace("lab:", f"{user}:", 1)
        .replace(lab["broker"].url.split(":")[2].split("@")[0], password)
    )
    harmless = set().union(*MAY_SAY.values()) - {"ride.ended.r-1"}  # a service that may say this one would break a law
    subjects = OTHERS | harmless | ({"ride.ended.r-1"} if user != "rides" else set())
    assert may_say(url, subjects) == MAY_SAY[user] - {"ride.ended.r-1"}
    everything = {("ride.>", ""), (">", ""), ("_INBOX.>", ""), ("lock.*.battery", ""), ("lock.*.battery", "others")}
    assert may_hear(url, everything.union(*MAY_HEAR.values())) == MAY_HEAR[user]


def test_a_service_that_was_refused_for_a_while_comes_back(lab: Lab, spy: Spy) -> None:
    """A broker.conf without the batteries, saved and mended: they answer again, without a restart of theirs."""
    pids = lab["batteries"].pids
    config = lab.folder / "broker.conf"
    good = config.read_text()
    config.write_text(good.replace("user: batteries,", "user: nobody,"))
    eventually(lambda: lab["broker"].state == "ready" and not answers(spy), within=SECONDS)
    config.write_text(good)
    eventually(lambda: answers(spy), within=SECONDS)
    eventually(lambda: ready(lab), within=SECONDS)
    assert lab["batteries"].pids == pids


def answers(spy: Spy) -> bool:
    return spy.ask("lock.l-01.battery", seconds=1.0) is not None
