"""The probe, the keeper and the storm that judge what a service says of itself, at a service that says anything."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from lab_services.checks import Call, DropAnswer, FakeService
from lab_services.checks.prober import LIVE, READY, STARTUP, Keeper, Said, probe, storm


class Patient:
    """Says of each address what it is told to; 0 breaks the connection."""

    def __init__(self) -> None:
        self.says = {STARTUP: 200, LIVE: 200, READY: 200}
        self.go = threading.Event()
        self.go.set()
        self.fake = FakeService("patient", self.answer, health=False)

    def answer(self, call: Call) -> tuple[int, object]:
        """Answer one probe."""
        self.go.wait(5)
        if not (status := self.says[call.path]):
            raise DropAnswer
        return status, {"said": status}

    def asked(self) -> Counter[str]:
        """Count the probes that came."""
        return Counter(call.path for call in self.fake.calls)


@pytest.fixture
def patient() -> Iterator[Patient]:
    """A service that is well."""
    made = Patient()
    yield made
    made.go.set()
    made.fake.close()


def steps(keeper: Keeper, count: int) -> Keeper:
    """Let so many periods pass."""
    for _ in range(count):
        keeper.step()
    return keeper


def test_a_stand_in_answers_for_its_health_unless_it_is_told_otherwise() -> None:
    """Probes of a stand-in are answered with 200 and not in its ledger."""
    service = FakeService("wallet", lambda call: (503, None))
    assert probe(service.url, READY).good and service.calls == ()
    service.close()


def test_a_probe_is_good_from_200_to_399(patient: Patient) -> None:
    """What is good is what a kubelet takes for good, and the body comes along."""
    found = {}
    for status in (200, 399, 400, 503):
        patient.says[LIVE] = status
        found[status] = probe(patient.fake.url, LIVE).good
    assert found == {200: True, 399: True, 400: False, 503: False}
    assert probe(patient.fake.url, LIVE).body == {"said": 503} and Said(200, "ready").body is None


def test_no_answer_is_a_failed_probe(patient: Patient) -> None:
    """An answer that is late, a broken connection and a closed port are the same to a prober."""
    patient.go.clear()
    late = probe(patient.fake.url, LIVE, 0.05)
    patient.go.set()
    patient.says[LIVE] = 0
    broken = probe(patient.fake.url, LIVE)
    patient.fake.close()
    assert [late, broken, probe(patient.fake.url, LIVE)] == [Said(0)] * 3 and not late.good
    assert "no answer" in repr(late)


def test_a_keeper_asks_nothing_else_until_the_start(patient: Patient) -> None:
    """While start-up fails, live and ready are not asked; then start-up is not."""
    patient.says |= {STARTUP: 503, LIVE: 503}
    keeper = steps(Keeper(patient.fake.url), 29)
    assert patient.asked() == {STARTUP: 29} and (keeper.restarts, keeper.in_load) == (0, False)
    patient.says |= {STARTUP: 200, LIVE: 200}
    steps(keeper, 2)
    patient.says[STARTUP] = 503
    assert steps(keeper, 40).restarts == 0 and keeper.in_load and patient.asked()[STARTUP] == 30


def test_a_start_without_an_end_is_restarted(patient: Patient) -> None:
    """So many failures of start-up in a row lead to a restart, and are counted anew after it."""
    patient.says[STARTUP] = 0
    assert steps(Keeper(patient.fake.url, start_failures=5), 14).restarts == 2


def test_three_failures_of_live_in_a_row_are_a_restart(patient: Patient) -> None:
    """One good answer begins the row anew; a restart begins with start-up, and out of the load."""
    restarted: list[str] = []
    keeper = steps(Keeper(patient.fake.url, lambda: restarted.append("now")), 1)
    for status in (503, 503, 200, 503, 503):
        patient.says[LIVE] = status
        keeper.step()
    assert restarted == [] and keeper.started and keeper.in_load
    keeper.step()
    assert restarted == ["now"] and repr(keeper) == "1 restart, out of the load" and not keeper.started
    patient.says[LIVE] = 200
    assert steps(keeper, 1).in_load and keeper.restarts == 1


def test_ready_routes_and_restarts_nobody(patient: Patient) -> None:
    """What ready says is obeyed at once, in both directions, and never leads to a restart."""
    keeper = Keeper(patient.fake.url)
    found = []
    for status in (200, 503, 200, *[503] * 20):
        patient.says[READY] = status
        found.append(steps(keeper, 1).in_load)
    assert found == [True, False, True, *[False] * 20] and keeper.restarts == 0


def test_a_storm_is_counted_and_has_an_end(patient: Patient) -> None:
    """Each probe of each prober is counted by its status; a prober without an answer sends no more."""
    assert storm(patient.fake.url, READY, 4, 5) == {200: 20}
    patient.says[READY] = 0
    assert storm(patient.fake.url, READY, 4, 5) == {0: 4}
