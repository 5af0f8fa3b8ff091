"""Checks of task 7.4: what the wallet says of itself, and what those who restart it and route to it do about it."""

import itertools
import json
import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import httpx
import psutil
import pytest

from lab_services.checks import Call, DropAnswer, FakeService, eventually, expect
from lab_services.checks.prober import LIVE, READY, STARTUP, Keeper, Said, probe, storm

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with stand-ins for the bank and for notices

LOOKS, WATCH, ANSWERS = "health_looks.py", "health_watch.py: is_up", "health_answers.py"
WORKERS = 4  # as in health_wallet.py
LOOK_EVERY_SECONDS, STUCK_SECONDS, LEAVE_SECONDS = 1.0, 30.0, 0.5
START_SECONDS, WAIT_SECONDS, SAID_SECONDS, PAID_SECONDS = 8.0, 2.0, 1.0, 8.0
PROBERS, EACH = 20, 10
ALL_UP = {"database": "up", "bank": "up", "notices": "up"}
FAILURES = {"bank": ((503, None), (200, []), (200, {"open": False}), None), "notices": ((503, None), None)}
OUTAGES = (  # what is so, what is missing, and what ready says after some looks
    ("the database is locked", ["database"], 503, "not ready"),
    ("the database is not locked any more", [], 200, "ready"),
    ("the bank and notices say that they are not ready, and do all that they are asked", ["readiness"], 200, "ready"),
    ("notices fail", ["notices"], 200, "degraded"),
    ("notices and the bank fail", ["notices", "bank"], 503, "not ready"),
    ("the bank and notices do well again", [], 200, "ready"),
)


class Dependency:
    """The bank, or notices: each call hangs while `go` is not set, and is answered as `well` says."""

    def __init__(self, name: str) -> None:
        self.well, self.own_health = True, 200
        self.go, self.balances = threading.Event(), threading.Event()
        self.go.set(), self.balances.set()
        self._looks: list[str] = []
        self._failures = itertools.cycle(FAILURES[name])
        self.fake = FakeService(name, self.answer, health=False)

    def answer(self, call: Call) -> tuple[int, Any]:
        """Answer one call."""
        if call.path.startswith("/health/"):
            self._looks.append(call.path)
            return self.own_health, {}
        if call.path == "/balances":
            self.balances.wait(PAID_SECONDS)
            return 200, {"ada": 5000}
        said = (200, {"open": True}) if self.well else next(self._failures)
        if call.method == "GET":
            self._looks.append(call.path)  # from now on `well` is for the next one
        self.go.wait(PAID_SECONDS)
        if said is None:
            raise DropAnswer  # it hangs up
        return said

    def looks(self) -> int:
        """Count how often it was asked how it is, in whatever way."""
        return len(self._looks)

    def close(self) -> None:
        """Let go of everybody who waits, and stop."""
        self.go.set(), self.balances.set()
        self.fake.close()


class Town:
    """The wallet, its two stand-ins, its keeper, and its clock, which stands still until `passes` moves it on."""

    def __init__(self, city: Any) -> None:
        self.city, self.bank, self.notices = city, Dependency("bank"), Dependency("notices")
        city.start(skip=["wallet"], replace={"bank": self.bank.fake.url, "notices": self.notices.fake.url})
        self.url = next(each.url for each in city.states() if each.name == "wallet")
        self.data = city["wallet"].data
        self.time, self.watched = 1000.0, True
        self.data.mkdir(parents=True, exist_ok=True)
        self.passes(0)
        self.restart: Callable[[], object] = lambda: None
        self.keeper = Keeper(self.url, lambda: self.restart())
        self.pool = ThreadPoolExecutor(2 * WORKERS)
        self.numbers = itertools.count(1)

    def passes(self, seconds: float) -> None:
        """Let time pass for the wallet."""
        self.time += seconds
        (self.data / "clock.new").write_text(str(self.time))
        os.replace(self.data / "clock.new", self.data / "clock")

    def ask(self, path: str = READY) -> Said:
        """Ask the wallet how it is."""
        return probe(self.url, path)

    def asked(self) -> dict[str, int]:
        """Ask all three, and return the statuses."""
        return {path.rpartition("/")[2]: self.ask(path).status for path in (STARTUP, LIVE, READY)}

    def looks(self, marks: str = "...") -> Said:
        """Let as many looks come about, and return what ready says then; S and F: the bank does well, or fails."""
        said = Said(0)
        for mark in marks:
            self.bank.well = {"S": True, "F": False}.get(mark, self.bank.well)
            before = self.bank.looks()
            self.passes(LOOK_EVERY_SECONDS)
            said = self.ask()
            if self.watched:  # who looks in a task of their own may be a little later
                self.watched = eventually(lambda before=before: self.bank.looks() > before, SAID_SECONDS)
            self.keeper.step()
            if not said.status:
                break
        return said

    def says(self, status: int, word: str, every: float = 0, **states: str) -> bool:
        """Wait until ready says exactly this, while so many seconds pass between looks; tell whether it does."""
        wanted = (status, {"status": word, "dependencies": ALL_UP | states})

        def is_said() -> bool:
            self.passes(every)
            said = self.ask()
            return (said.status, said.body) == wanted

        return eventually(is_said, SAID_SECONDS)

    def storms(self) -> tuple[Counter[int], int]:
        """Let a storm of probers come when a look is due; count the statuses, and the looks at the bank."""
        before = self.bank.looks()
        self.passes(LOOK_EVERY_SECONDS)
        statuses = storm(self.url, READY, PROBERS, EACH)
        eventually(lambda: self.bank.looks() > before, SAID_SECONDS)
        return statuses, self.bank.looks() - before

    def pays(self) -> "Future[int]":
        """Let a rider pay, in a thread; its result is the status, 0 when no answer comes."""
        return self.pool.submit(self.paid, f"p-{next(self.numbers)}")

    def paid(self, payment_id: str) -> int:
        """Let a rider pay, and return the status."""
        url = f"{self.url}/payments/{payment_id}"
        try:
            return httpx.put(url, json={"rider_id": "ada", "cents": 340}, timeout=PAID_SECONDS).status_code
        except httpx.TransportError:
            return 0

    @contextmanager
    def without(self, *missing: str) -> Iterator[None]:
        """Let the database be locked, the bank or notices fail, or (readiness) both say that they are not ready."""
        self.bank.well, self.notices.well = "bank" not in missing, "notices" not in missing
        self.bank.own_health = self.notices.own_health = 503 if "readiness" in missing else 200
        with closing(sqlite3.connect(self.data / "wallet.db", WAIT_SECONDS, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE" if "database" in missing else "BEGIN")
            yield

    def close(self) -> None:
        """Let everybody go."""
        self.bank.close(), self.notices.close()
        self.city.kill("wallet")
        self.pool.shutdown()


@pytest.fixture
def unlaunched(city: Any) -> Iterator[Town]:
    """A town without a wallet."""
    town = Town(city)
    yield town
    town.close()


@pytest.fixture
def town(unlaunched: Town) -> Town:
    """A town whose wallet has started, and is in the load."""
    town = unlaunched
    launched = town.pool.submit(town.city.launch, "wallet")
    eventually(lambda: launched.done() or town.ask(LIVE).status, START_SECONDS)
    eventually(launched.done, WAIT_SECONDS)
    town.keeper.step()
    expect(town.keeper.in_load, sent="the start of the wallet, while the bank and notices do well; then probes",
           expected="200 for each, after the first look", came=f"{town.asked()}; {town.ask()}", service="wallet",
           look=f"{ANSWERS}; {WATCH}", why="who is well and says otherwise gets no riders")  # fmt: skip
    return town


def test_a_start_is_waited_for(unlaunched: Town) -> None:
    """While the wallet reads its balances it is alive and not ready; no keeper kills it, no rider is sent to it."""
    town = unlaunched
    town.bank.balances.clear()
    town.pool.submit(town.city.launch, "wallet")
    eventually(lambda: town.ask(LIVE).status and town.bank.fake.calls_to("GET", "/balances"), START_SECONDS)
    for _ in range(12):
        town.passes(STUCK_SECONDS)
        town.keeper.step()
    came, body = town.asked(), town.ask().body
    expect(came == {"startup": 503, "live": 200, "ready": 503} and body["status"] == "starting", look=ANSWERS,
           sent="probes while the bank has not told the balances", expected="startup 503, live 200, ready 503 with the "
           "status \"starting\"", came=f"{came}; body of ready: {json.dumps(body)}", service="wallet", why="who is "
           "killed while it starts begins anew, and never ends; who takes riders then, refuses them")  # fmt: skip
    expect(not town.keeper.restarts and not town.keeper.in_load, sent="12 periods of a keeper meanwhile",
           expected="0 restarts, out of the load", came=town.keeper, look=ANSWERS, service="wallet",
           why="a start takes as long as it takes")  # fmt: skip
    town.bank.balances.set()
    eventually(lambda: town.ask(STARTUP).good, WAIT_SECONDS)
    good = town.says(200, "ready")
    town.keeper.step()
    expect(good and town.keeper.in_load and not town.keeper.restarts, sent="the balances, and one period more",
           expected="ready 200, all up; in the load, 0 restarts", came=f"{town.ask()}; {town.keeper}", look=ANSWERS,
           service="wallet", why="riders wait for it")  # fmt: skip


def test_an_outage_is_told_and_restarts_nobody(town: Town) -> None:
    """Database or bank are away: live 200, ready 503 and names them; notices: ready 200. All of them come back."""
    for what, missing, status, word in OUTAGES:
        with town.without(*missing):
            town.looks()
            down = {name: "down" for name in missing if name in ALL_UP}
            right, _ = town.says(status, word, LOOK_EVERY_SECONDS, **down), town.keeper.step()
            came = {path: town.ask(path).status for path in (STARTUP, LIVE)}
            expect(set(came.values()) == {200} and not town.keeper.restarts, sent=f"{what}: probes of live and "
                   "startup", expected="200 for each, 0 restarts", came=f"{came}; {town.keeper}", look=ANSWERS,
                   service="wallet", why="a restart mends no other service, and ends every payment in hand, in all "
                   "replicas at once")  # fmt: skip
            wanted = json.dumps({"status": word, "dependencies": ALL_UP | down})
            expect(right and town.keeper.in_load == (status == 200), sent=f"{what}: probes of ready, after some looks",
                   expected=f"{status} {wanted}", came=f"{town.ask()}; {town.keeper}", look=f"{ANSWERS}; {LOOKS}",
                   service="wallet", why="riders can be sent elsewhere, and somebody at night has to see at whose door "
                   "it lies: in these words, and without a key")  # fmt: skip
    paid = town.pays().result()
    expect(paid == 201, sent="a payment, after all this", expected=201, came=paid, look=LOOKS, service="wallet",
           why="a look that keeps the lock of the database is an outage itself")  # fmt: skip


def test_one_look_changes_nothing(town: Town) -> None:
    """What is up is down after three failed looks in a row, what is down is up after two good ones."""
    for looks, up in (("FFSFF", True), ("F", False), ("SFS", False), ("S", True), ("FF", True), ("S", True)):
        town.looks(looks)
        right = town.says(200, "ready") if up else town.says(503, "not ready", bank="down")
        expect(right, sent=f"looks at the bank one after the other (S: good, F: failed, by a 503, an answer that makes "
               f"no sense, a broken connection): {looks}", expected=f"the bank is {'up' if up else 'down'}",
               came=town.ask(), look=WATCH, service="wallet", why="a fleet that leaves the load on account of one lost "
               "packet comes and goes all day, and whoever stays gets all the riders")  # fmt: skip
    expect(not town.keeper.restarts, sent="these looks", expected="0 restarts", came=town.keeper, look=ANSWERS,
           service="wallet", why="a restart mends no bank")  # fmt: skip


def test_what_hangs_holds_no_probe_up(town: Town) -> None:
    """All workers wait for a bank that hangs: probes are answered, and 200 at once cost the bank one look."""
    town.bank.go.clear()
    paying = [town.pays() for _ in range(WORKERS + 2)]
    eventually(lambda: len(town.bank.fake.calls_to("PUT")) >= WORKERS, WAIT_SECONDS)
    came = {path: town.ask(path).status for path in (LIVE, STARTUP)}
    expect(set(came.values()) == {200}, sent=f"{WORKERS + 2} payments while the bank hangs, then probes",
           expected="live 200 and startup 200, at once", came=came, look=ANSWERS, service="wallet", why="a process "
           "whose workers wait is alive; who kills it loses every payment in hand")  # fmt: skip
    statuses, looks = town.storms()
    expect(looks == 1 and statuses == {200: PROBERS * EACH}, sent=f"{PROBERS * EACH} probes of {PROBERS} probers at "
           "once, while the bank hangs and a look is due", expected="one look at the bank; 200 for each",
           came=f"{looks} looks; statuses (0: no answer): {dict(statuses)}", look=WATCH, service="wallet",
           why="who asks a bank in trouble once for each probe, keeps it there")  # fmt: skip
    town.looks("..")
    expect(town.says(503, "not ready", bank="down"), sent="two looks more", expected="503; the bank is down, and it "
           "alone", came=town.ask(), look=f"{WATCH}; {LOOKS}", service="wallet", why="a look that waits for a worker "
           "blames the wrong one")  # fmt: skip
    town.bank.go.set()
    town.looks("..")
    came = Counter(each.result() for each in paying)
    expect(town.says(200, "ready") and came == {201: WORKERS + 2}, sent="the bank goes on, 2 looks", look=WATCH,
           expected="ready 200; 201 for each payment", came=f"{town.ask()}; {came}", service="wallet",
           why="work in hand is not lost")  # fmt: skip


def test_a_deadlock_is_ended_by_a_restart(town: Town) -> None:
    """Notices hang, for which the teller waits: live 200. It is in a deadlock: live 503, and one restart ends it."""
    town.notices.go.clear()
    town.pays().result()
    tried = len(town.notices.fake.calls_to("PUT"))
    town.passes(STUCK_SECONDS + 1)
    eventually(lambda: len(town.notices.fake.calls_to("PUT")) > tried + 1, WAIT_SECONDS)  # a round since then
    came = town.ask(LIVE).status
    expect(came == 200 and not town.keeper.restarts, sent="notices hang; the teller tries again and again",
           expected="live 200, 0 restarts", came=f"live {came}; {town.keeper}", look=ANSWERS, service="wallet",
           why="who waits is not stuck")  # fmt: skip
    town.notices.go.set()
    httpx.post(f"{town.url}/deadlock", timeout=WAIT_SECONDS)
    town.restart = lambda: town.city.kill("wallet") or town.city.launch("wallet")
    town.passes(STUCK_SECONDS + 1)
    stuck = town.ask(LIVE).status
    [town.keeper.step() for _ in range(3)]
    expect(stuck == 503 and town.keeper.restarts == 1 and town.asked() == {"startup": 200, "live": 200, "ready": 200},
           sent=f"a deadlock of the teller, more than {STUCK_SECONDS:g} s, 3 periods of a keeper", expected="live 503; "
           "1 restart, then 200 for each", came=f"live {stuck}; {town.keeper}; {town.asked()}", look=ANSWERS,
           service="wallet", why="only a restart ends a deadlock; until then no rider is told")  # fmt: skip


def test_who_leaves_says_so_first(town: Town) -> None:
    """On SIGTERM ready is 503 and live 200 while a payment is in hand; it is finished, and the process ends."""
    town.bank.go.clear()
    paying = town.pays()
    eventually(lambda: town.bank.fake.calls_to("PUT"), WAIT_SECONDS)
    process = psutil.Process(town.city["wallet"].pids[0])
    process.send_signal(signal.SIGTERM)
    left = eventually(lambda: not town.ask().good, WAIT_SECONDS)
    came, body = town.asked(), town.ask().body
    expect(left and came == {"startup": 200, "live": 200, "ready": 503} and body["status"] == "leaving", look=ANSWERS,
           sent="a payment that the bank has in hand, then SIGTERM", expected="ready 503 with the status \"leaving\", "
           "live 200", came=f"{came}; body of ready: {json.dumps(body)}", service="wallet", why="riders who are sent "
           "to a door that closes are refused; who is killed now takes the payment along")  # fmt: skip
    town.passes(LEAVE_SECONDS)
    town.bank.go.set()
    status = paying.result()
    gone = eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, WAIT_SECONDS)
    expect(status == 201 and gone, sent=f"{LEAVE_SECONDS:g} s later", expected="201 for the payment, and the process "
           "has ended", came=f"{status}; it has{' ' if gone else ' not '}ended", look=ANSWERS, service="wallet",
           why="what was begun is finished")  # fmt: skip
