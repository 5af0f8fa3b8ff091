"""Checks of task 7.5: whom the rules wake, for what, how soon, and for how long.

All but the last is decided by promtool, on stories that are told to it second by second: no clock is waited for.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab_services.checks import eventually, expect
from lab_services.checks.alert_judge import Alert, Case, Fires, Watched, watch
from lab_services.checks.alert_stories import Phase, Story, Taps
from lab_services.errors import LabError
from lab_services.telemetry.queries import Prometheus

FAST, BILLS_FAST = (Alert("BudgetBurnsFast", "page", objective) for objective in ("taps", "billing"))
SLOW, BILLS_SLOW = (Alert("BudgetBurnsSlowly", "ticket", objective) for objective in ("taps", "billing"))
DOWN, MISSING, STANDS = (Alert(name, "page") for name in ("TargetDown", "SeriesMissing", "BillingStands"))
LOOK = "alert_rules.yml"
TOLD: set[str] = set()  # what promtool says of a file that it cannot use
AGAIN = "promtool cannot use the file, as the first of these checks says"
WELL = Phase(20)
EVERYTHING = ("taps-1", "taps-2", "rides-1", "billing-1", "billing-2")
NIGHT = (Taps(riders=0), Taps(riders=0))
FAULT_SECONDS, LATEST = 20, 17  # two taps of five are bad: the long window is over the limit after 12 s
INCIDENT = Taps(riders=5000, failed=0.4)
REQUESTS = tuple(f'request_seconds_{part}{{route="/unlock"' for part in ("bucket", "count", "sum"))


def both(**how: float) -> tuple[Taps, Taps]:
    """Return two replicas that answer so."""
    return Taps(**how), Taps(**how)


def well(seconds: int = WELL.seconds) -> str:
    """Say how a story begins."""
    return f"{seconds} s in which all is well; then "


def fault(
    told: str, why: str, *taps: Taps, within: int = LATEST, seconds: int = FAULT_SECONDS, before: Phase = WELL
) -> Case:
    """Return the case of a fault of taps behind `before`, which ends after so many seconds; one scrape is missed."""
    end = before.seconds + seconds
    missed = Phase(1, taps, down=("taps-1", "taps-2"))
    story = Story(before, Phase(seconds - 3, taps), missed, Phase(2, taps), Phase(8, before.taps))
    must = Fires(FAST, before.seconds, before.seconds + within, end, end + 6)
    told = f"{well(before.seconds)}for {seconds} s {told}; 3 s before the end one scrape is missed"
    return Case(told, why, story, (must,), (SLOW,))


def quiet(told: str, why: str, *phases: Phase, before: Taps | None = None) -> Case:
    """Return a case in which nothing fires."""
    return Case(told, why, Story(*phases, before=before))


def gone(told: str, **what: Any) -> Case:
    """Return the case in which something is not there for 20 s."""
    why = "a comparison with what is not there is never true: one of three that is lost is enough to be blind"
    story, must = Story(Phase(10), Phase(20, **what), Phase(4)), Fires(MISSING, 18, 25, 30, 33)
    return Case(f"{well(10)}for 20 s {told}", why, story, (must,), (DOWN, STANDS))


def first_wrong(city: Any, cases: Sequence[Case]) -> Watched:
    """Return what came of the first case that goes wrong, or of the last one; what promtool cannot use is told once."""
    came = watch(Path(city.folder, LOOK), cases)
    one = next((one for one in came if not one.right), came[-1])
    if one.problem in TOLD:
        return replace(one, problem=AGAIN)
    TOLD.update({one.problem} - {""})
    return one


def place(one: Watched) -> str:
    """Say where to look: at the alert that is wrong in what came."""
    return f"{LOOK}: {one.culprit}" if one.culprit else LOOK


SPENT = [
    fault(
        "every fifth tap is answered 503, at once",
        "too late, riders stand at docks and nobody knows; too long, somebody is kept awake by what is "
        "over: the short window ends a page, the long one remembers for 36 s",
        *both(failed=0.2),
        within=30,
        seconds=35,
        before=Phase(40),
    ),
    fault(
        "every tap is answered 503, at once",
        "when nobody can unlock, half a minute is too late: the long window is over its limit after 5 s",
        *both(failed=1),
        within=8,
        seconds=12,
        before=Phase(40),
    ),
    fault(
        "two taps of five are answered 200 after 0.8 s",
        "a rider who waits 0.8 s counts as one who is refused, also on a day on which nobody is refused (no"
        " series has status 503 then), and when most taps are quick",
        *both(slow=0.4),
    ),
    fault(
        "of 100 taps 13 are answered 503 and 13 others 200 after 0.8 s",
        "26 of 100 riders are disappointed; who judges failed and slow taps apart sees 13 twice",
        *both(failed=0.13, slow=0.13),
        within=25,
        seconds=28,
    ),
]
ONE_BAD = [
    fault(
        "of three replicas the first, which gets 20 of 22 taps, answers two of five 503",
        "a mean of the replicas' ratios lets an idle replica weigh as much as a busy one",
        Taps(20, failed=0.4),
        Taps(1),
        Taps(1),
        before=Phase(20, (Taps(20), Taps(1), Taps(1))),
    ),
    fault(
        "of two replicas one has nothing to do, and the other answers two taps of five 503",
        "0 / 0 is NaN, and a sum or a mean of ratios with one NaN in it is NaN: it fires for nothing",
        Taps(20, failed=0.4),
        Taps(0),
        before=Phase(20, (Taps(20), Taps(0))),
    ),
    quiet(
        "of two replicas the second, which gets 1 tap in 41, answers six of ten 503",
        "15 riders of 1000 meet it: the city keeps its promise, and one bad replica is no page",
        Phase(50, (Taps(40), Taps(1, failed=0.6))),
    ),
    fault(
        "two taps of five are answered 503, and 100 health checks a second are well",
        "health checks are no taps: in one sum with them, two riders of five vanish",
        *both(failed=0.4, probes=100),
        before=Phase(20, both(probes=100)),
    ),
    quiet(
        well() + "all health checks are answered 503, and every tap is well",
        "health checks are no taps: no rider has noticed",
        WELL,
        Phase(15, both(probes_failed=1)),
    ),
]
QUIET = [
    quiet(
        well(60) + "every tap is answered 503 for 3 s",
        "who is woken by what is over before they sit up turns the pager off: the long window has to agree",
        Phase(60),
        Phase(3, both(failed=1)),
        Phase(8),
    ),
    quiet(
        "of 100 taps 4 are answered 503, 1 after 0.8 s, and 30 with 402 (no money)",
        "5 in 100 burn the budget 5 times too fast, which is under both factors; a rider without money was "
        "answered well",
        Phase(50, both(failed=0.04, slow=0.01, refused=0.3)),
    ),
    quiet(
        well(10) + "40 s of night, without taps and rides, and a morning",
        "at night nobody taps: 0 of 0 is no failure, and a page for it comes every night",
        Phase(10),
        Phase(40, NIGHT, 0, 0),
        Phase(8),
    ),
    quiet(
        "counters remember yesterday's incident (40 of 100 taps were bad); the second replica of taps is "
        "restarted after 10 s, billing after 15 s",
        "a restart begins at zero: rate() and increase() see that in a counter, and nobody sees it in a sum"
        " or a difference of counters",
        Phase(10),
        Phase(5, restarted=("taps-2",)),
        Phase(40, restarted=("billing-1",)),
        before=INCIDENT,
    ),
]
BURNS = [
    fault(
        "14 taps in 100 are answered 503",
        "the factor comes from the share of the budget, the window and the period of 28 days: for 14 in 100 "
        "somebody has to come; a factor of another period misses it",
        *both(failed=0.14),
        within=40,
        seconds=45,
        before=Phase(40),
    ),
    quiet(
        well(90) + "for 30 s 12 taps in 100 are answered 503",
        "in 432 s that is 3 in 100, hardly worth a ticket: the long window has to agree",
        Phase(90),
        Phase(30, both(failed=0.12)),
    ),
    Case(
        "for 40 s, from the start, 13 taps in 100 are answered 503, then none",
        "it is no reason to wake anybody, and it is one for a ticket: at this pace the budget of 28 days lasts for two",
        Story(Phase(40, both(failed=0.13)), Phase(42)),
        (Fires(SLOW, 0, 20, 40, 80),),
    ),
    Case(
        "of 1000 taps 58 are answered 503",
        "more than 10 % of the budget of 28 days would be gone in 12 hours: what burns slowly burns down, too",
        Story(Phase(30, both(failed=0.058))),
        (Fires(SLOW, 0, 20, 30, 30),),
    ),
    Case(
        well() + "for 20 s one bill in twenty is late",
        "99.9 % leaves a tenth of the budget that 99 % leaves: 5 bills in 100 burn it 50 times too fast",
        Story(WELL, Phase(20, late=0.05), Phase(8)),
        (Fires(BILLS_FAST, 20, 34, 40, 46),),
        (BILLS_SLOW,),
    ),
    Case(
        "one bill in a hundred is late",
        "that burns the budget of billing 10 times too fast: a ticket, no page",
        Story(Phase(50, late=0.01)),
        (Fires(BILLS_SLOW, 0, 45, 50, 50),),
    ),
]
GONE = [
    Case(
        "one replica of taps misses one scrape after 10 s, and 10 in a row after 20 s",
        "one scrape is missed by every restart; a replica that is dead counts no failures, so nothing else tells of it",
        Story(Phase(10), Phase(1, down=("taps-2",)), Phase(9), Phase(10, down=("taps-2",)), Phase(5)),
        (Fires(DOWN, 20, 25, 30, 33),),
    ),
    gone("no replica of taps tells the requests of /unlock; those of /health/ready go on", hidden=REQUESTS),
    quiet(
        "Prometheus begins, and knows no series for 5 s; 10 s later the first replica of taps and that of billing are "
        "taken away for 12 s; another one is left of each",
        "that none is left to tell for more than 8 s is a reason; a Prometheus that begins is none, nor is one replica"
        " less",
        Phase(5, forgotten=EVERYTHING),
        Phase(10),
        Phase(12, forgotten=("taps-1", "billing-1")),
        Phase(4),
    ),
    gone("rides does not tell rides_ended_total", hidden=("rides_ended_total",)),
    gone(
        "neither replica of billing is scraped any more (there is no `up` of them)",
        forgotten=("billing-1", "billing-2"),
    ),
]
STANDING = [
    Case(
        well(10) + "for 75 s rides go on ending, two a second, and none is billed",
        "a ride that is never billed is in no ratio of bills: billing that does nothing has no failures",
        Story(Phase(10), Phase(75, billed=0), Phase(8)),
        (Fires(STANDS, 39, 75, 85, 90),),
    ),
    Case(
        well(10) + "for 75 s a ride ends every 8 s, and none is billed",
        "little work that is not done is not done either",
        Story(Phase(10, ended=2), *([Phase(7, ended=0, billed=0), Phase(1, ended=1, billed=0)] * 9)),
        (Fires(STANDS, 39, 75, 82, 82),),
    ),
    quiet(
        "a night without rides; then rides end, and the first is billed after 30 s, which is seen in the 31st: rides "
        "and billing are not scraped at the same moment",
        "without work nothing has to be done, and a bill may take 30 s: who takes either for trouble is "
        "woken every morning",
        Phase(40, NIGHT, 0, 0),
        Phase(31, billed=0),
        Phase(10),
    ),
]


SECONDS = 8.0  # most of the waits below take one or two
PAUSE_SECONDS = 0.02  # between the taps of a rider
LIVE = "test_the_pager_rings_and_is_told_when_it_is_over"
TARGETS = {"taps-1", "taps-2", "rides-1", "billing-1"}


class Town:
    """The running city with its pager, and riders who tap at both replicas of taps all the time."""

    def __init__(self, city: Any) -> None:
        self.city, self.web = city, httpx.Client(timeout=SECONDS, trust_env=False)
        self.replicas = city["taps"].replica_urls
        self._over = threading.Event()
        self._riders = [threading.Thread(target=self._ride, args=(url,), daemon=True) for url in self.replicas]

    def __enter__(self) -> "Town":
        for rider in self._riders:
            rider.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for rider in self._riders:
            rider.join()
        self.web.close()

    def _ride(self, url: str) -> None:
        with httpx.Client(timeout=SECONDS, trust_env=False) as web:
            while not self._over.wait(PAUSE_SECONDS):
                try:
                    web.post(f"{url}/unlock")
                except httpx.HTTPError:
                    continue

    def is_watched(self) -> bool:
        """Tell whether Prometheus has scraped every replica."""
        with Prometheus(self.city["prometheus"].url) as prometheus:
            return {one.labels["instance"] for one in prometheus.instant("up == 1")} >= TARGETS

    def order(self, status: int, *replicas: int) -> None:
        """Let these replicas answer every tap so."""
        for replica in replicas:
            self.web.put(f"{self.replicas[replica - 1]}/fault", json={"status": status, "every": 1}).raise_for_status()

    def pages(self) -> list[str]:
        """Return what the pager was told, oldest first, as "firing TargetDown"."""
        told = self.web.get(f"{self.city['pager'].url}/pages").json()["pages"]
        return [f"{page['status']} {page['labels']['alertname']}" for page in told]

    def rings(self, *pages: str) -> bool:
        """Wait until the pager was told all of these, and tell whether it was."""
        return bool(eventually(lambda: set(pages) <= set(self.pages()), SECONDS))


@pytest.fixture(scope="module")
def city(request: pytest.FixtureRequest, cities: Any) -> Iterator[Any]:
    """One city for all checks. Prometheus finds its targets 5 s after its start: promtool is at work meanwhile."""
    TOLD.clear()
    with cities.city("alert", None) as city:
        if any(item.name == LIVE for item in request.session.items):
            with suppress(LabError):  # the first check says what is wrong with the rules, the last one meets it again
                city.start()
        yield city


@pytest.fixture
def town(city: Any) -> Iterator[Town]:
    """The city, once every tap fails, one replica is killed, and the pager has had time to ring."""
    expect(not TOLD, sent="prometheus was to be started with the rules", expected="it starts", came=AGAIN, look=LOOK,
           why="a Prometheus that cannot read its rules wakes nobody")  # fmt: skip
    if "prometheus" not in {state.name for state in city.states() if state.state == "ready"}:
        city.start()
    with Town(city) as town:
        eventually(town.is_watched, SECONDS)
        town.order(503, 1, 2)
        city.kill("taps", 2)
        town.rings("firing BudgetBurnsFast", "firing TargetDown")
        yield town


def test_what_is_not_there_is_noticed(city: Any) -> None:
    """A replica that answers no scrape, and series that nobody tells any more, wake somebody."""
    one = first_wrong(city, GONE)
    expect(
        one.right,
        sent=one.sent,
        expected=one.expected,
        came=one.wrong,
        look=place(one),
        why=one.why,
    )


def test_riders_who_cannot_unlock_wake_somebody(city: Any) -> None:
    """A page comes in time when taps fail and when they are slow, and ends soon after the fault."""
    one = first_wrong(city, SPENT)
    expect(
        one.right,
        sent=one.sent,
        expected=one.expected,
        came=one.wrong,
        look=place(one),
        why=one.why,
    )


def test_an_objective_is_the_citys(city: Any) -> None:
    """All taps count, whichever replica answered them, and nothing that is no tap."""
    one = first_wrong(city, ONE_BAD)
    expect(
        one.right,
        sent=one.sent,
        expected=one.expected,
        came=one.wrong,
        look=place(one),
        why=one.why,
    )


def test_nobody_is_woken_for_nothing(city: Any) -> None:
    """Nothing fires on a blip, on an ordinary day, at night, or after a restart."""
    one = first_wrong(city, QUIET)
    expect(one.right, sent=one.sent, expected=one.expected, came=one.wrong, look=place(one), why=one.why)


def test_the_budget_says_how_fast_is_too_fast(city: Any) -> None:
    """Each objective burns by its own budget; a slow burn is a ticket, by the long window."""
    one = first_wrong(city, BURNS)
    expect(
        one.right,
        sent=one.sent,
        expected=one.expected,
        came=one.wrong,
        look=place(one),
        why=one.why,
    )


def test_work_that_is_not_done_is_noticed(city: Any) -> None:
    """A page comes when rides end and none is billed, and not when there is nothing to bill."""
    one = first_wrong(city, STANDING)
    expect(
        one.right,
        sent=one.sent,
        expected=one.expected,
        came=one.wrong,
        look=place(one),
        why=one.why,
    )


def test_the_pager_rings_and_is_told_when_it_is_over(town: Town) -> None:
    """In the running city the pager rings for taps that fail and for a killed replica, and hears when that is over."""
    rang = town.pages()
    expect({"firing BudgetBurnsFast", "firing TargetDown"} <= set(rang), sent="PUT /fault to both replicas of taps, so "
           "that each tap is answered 503; then kill -9 of one of them", expected="within seconds: firing "
           "BudgetBurnsFast, firing TargetDown", came=f"the pager was told {json.dumps(rang)}", look=LOOK,
           service="prometheus", why="rules are worth what arrives at the person who can help")  # fmt: skip
    town.order(200, 1)
    town.city.launch("taps")
    over = town.rings("resolved BudgetBurnsFast", "resolved TargetDown")
    expect(over, sent="taps are well again, and the replica lives", expected="the pager hears within seconds that both "
           "are resolved", came=f"it was told {json.dumps(town.pages())}", look=LOOK, service="prometheus",
           why="who is not told that it is over gets up for nothing")  # fmt: skip
