"""Checks of task 5.4: whatever goes wrong in whichever step, a start ends well or is undone, and the laws hold."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest

from lab_services.bikeshare.streams import token
from lab_services.checks import eventually, expect, rows, together

pytestmark = pytest.mark.city(started=False)  # a fixture starts it, with a spy at its broker

STEPS = ("wallet.hold", "stations.reserve", "locks.unlock", "rides.start")
UNDO = {"wallet.hold": "wallet.release", "stations.reserve": "stations.cancel"}
STATES = {
    "wallet.hold": "holding", "stations.reserve": "reserving", "locks.unlock": "unlocking", "rides.start": "starting",
    "stations.cancel": "cancelling", "wallet.release": "releasing",
}  # fmt: skip
AT = {"wallet": "wallet", "stations": "docks", "locks": "docks", "rides": "rides"}
NEEDS = {"stations.cancel": {"locks.unlock": "refuse"}, "wallet.release": {"stations.reserve": "refuse"}}
HEARERS = {"COMMANDS": ("wallet", "docks", "rides"), "REPLIES": ("starts",)}
STEP_SECONDS, LONG_SECONDS = 0.3, 60.0  # a step that is silent soon, and a patience that does not end within a check
SEEN_SECONDS, STILL_SECONDS = 6.5, 2.5  # in which something happens; after which nothing will
CENTS, DEPOSIT = 500, 100_000
MOVES, ORCHESTRATOR, HOLDS = "starts_moves.py: next_state", "starts_orchestrator.py: take, enter", "starts_holds.py"
web = httpx.Client(timeout=4, trust_env=False)


@dataclass(frozen=True, eq=False)
class Case:
    """A ride in which something goes wrong at one command, and what has to come of it."""

    ride_id: str
    stands: str  # the command that something happens to
    drills: dict[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = STEPS  # in the order in which each is said first
    end: str = "started"


def case(action: str, what: str, given_up: Iterable[str] = ()) -> Case:
    """Generate a case: this command is refused, deaf or mute; `given_up` are the steps that are undone for it."""
    drills = {**NEEDS.get(action, {}), action: what}
    refused = next((step for step in STEPS[:3] if drills.get(step) == "refuse"), "")
    ride_id = f"{action.partition('.')[2]}-{what}"
    if not refused and action not in given_up:
        return Case(ride_id, action, drills)
    said = STEPS[: STEPS.index(refused or action) + 1]
    undone = [UNDO[step] for step in reversed(said) if step != refused]
    return Case(ride_id, action, drills, (*said, *undone), "refused")


class Town:
    """The city, a spy at its broker, and the rides of a check."""

    def __init__(self, city: Any, spy: Any) -> None:
        self.city, self.spy = city, spy
        self.cases: dict[str, Case] = {}
        self._impatient = time.monotonic()
        self._bikes = count(1)
        self._commands: list[dict[str, Any]] = []  # as far as they have been read from the stream

    def begin(self, *cases: Case) -> None:
        """Order the drills of these cases, then wish to start their rides, each with a bike of its own."""
        for each in cases:
            for action, what in each.drills.items():
                web.put(f"{self.city[at(action)].url}/drills/{each.ride_id}/{action}/{what}").raise_for_status()
        for each in cases:
            self.cases[each.ride_id] = each
            self.put(each.ride_id, "ada", f"b-{next(self._bikes):02}").raise_for_status()

    def put(self, ride_id: str, rider_id: str, bike_id: str, cents: int = CENTS) -> httpx.Response:
        """Wish to start a ride."""
        wish = {"rider_id": rider_id, "bike_id": bike_id, "cents": cents}
        return web.put(f"{self.city['starts'].url}/starts/{ride_id}", json=wish)

    def wait_at_most(self, step_seconds: float, start_seconds: float) -> None:
        """Set the patience of starts: with a step, and with a whole start."""
        wish = {"step_seconds": step_seconds, "start_seconds": start_seconds}
        self._impatient = time.monotonic()
        web.put(f"{self.city['starts'].url}/patience", json=wish).raise_for_status()

    def lift(self, *cases: Case) -> None:
        """End the drills of these cases: what was not heard is carried out, what was not said is said."""
        for each in cases:
            web.delete(f"{self.city[at(each.stands)].url}/drills/{each.ride_id}/{each.stands}").raise_for_status()

    def end(self, *cases: Case) -> None:
        """End the drills of these cases, and wait until the rides are at their ends."""
        self.lift(*cases)
        self.not_ended(list(cases))

    def state(self, ride_id: str) -> str:
        """Return the state of a start."""
        return str(web.get(f"{self.city['starts'].url}/starts/{ride_id}").json()["state"])

    def stand(self, *cases: Case) -> list[str]:
        """Wait until each ride stands at the command of its drill; return what does not, in words."""
        wanted = {each.ride_id: STATES[each.stands] for each in cases}

        def there() -> str:
            found = self.under_way()
            if wanted.items() <= found.items():
                said = self.said()
                heard = all(each.stands in dict(said.get(each.ride_id, [])) for each in cases)
                return "all stand there" if heard else ""
            return "" if wanted.keys() <= found.keys() else "one has ended"

        eventually(there, SEEN_SECONDS)
        return self.elsewhere(cases)

    def elsewhere(self, cases: Iterable[Case]) -> list[str]:
        """Say which rides do not stand at the command of their drill."""
        found, said = self.under_way(), self.said()
        return [
            f"ride {each.ride_id} has to wait in {STATES[each.stands]} until {each.stands} is answered; "
            f"it is {found.get(each.ride_id, 'at its end')}, and was told {short(said.get(each.ride_id, []))}"
            for each in cases
            if found.get(each.ride_id) != STATES[each.stands]
        ]

    def said(self) -> dict[str, list[tuple[str, str]]]:
        """Return the commands of each ride in their order: action and id."""
        kept = self.spy.stream("COMMANDS")
        for number in range(len(self._commands) + 1, (kept.state.last_seq if kept else 0) + 1):
            self._commands.append(json.loads(self.spy.jetstream("get_msg", "COMMANDS", number).data))
        found: dict[str, list[tuple[str, str]]] = {}
        for event in self._commands:
            found.setdefault(event["data"]["ride_id"], []).append((event["type"], event["id"]))
        return found

    def not_ended(self, cases: list[Case]) -> list[str]:
        """Tell which rides are not at an end; wait for it, unless the command of a drill is said again."""

        def over() -> bool:
            under_way, said = self.under_way(), self.said()
            times = [[action for action, _ in said.get(each.ride_id, [])].count(each.stands) for each in cases]
            return max(times) > 1 or not under_way.keys() & {each.ride_id for each in cases}

        eventually(over, SEEN_SECONDS)
        return [f"ride {each} is {state}" for each, state in self.under_way().items()
                if each in {case.ride_id for case in cases}]  # fmt: skip

    def not_repeated(self, cases: Iterable[Case]) -> list[str]:
        """Wait until the command of each drill was said again; tell which was not, far too often, or as another."""
        rides = {each.ride_id for each in cases}

        def times() -> dict[Case, int]:
            said = self.said()
            return {each: [action for action, _ in said.get(each.ride_id, [])].count(each.stands) for each in cases}

        eventually(lambda: min(times().values()) > 1 or not rides <= self.under_way().keys(), SEEN_SECONDS)
        most = (time.monotonic() - self._impatient) / STEP_SECONDS + 2
        texts = {each: f"ride {each.ride_id}: {each.stands} was said {n} times" for each, n in times().items()}
        found = [texts[each] for each, n in times().items() if n < 2]
        found += [f"{texts[each]}, which floods the city" for each, n in times().items() if n > most]
        return found + [text for each in rides for text in under_several_ids(each, self.said().get(each, []))]

    def tell(self, action: str, *ride_ids: str) -> None:
        """Say a command of these rides to its participant, as the orchestrator does."""
        for ride_id in ride_ids:
            data = {"ride_id": ride_id, "rider_id": "ada", "bike_id": "b-01", "cents": CENTS}
            event = {"id": f"{ride_id}.{action}", "type": action, "version": 1, "data": data}
            content = json.dumps(event | {"time": "2026-06-01T12:00:00Z"}).encode()
            subject = f"command.{action}.{token(ride_id)}"
            eventually(partial(self.spy.keep, subject, content), SEEN_SECONDS)  # a wallet that starts makes the stream

    def quiet(self) -> bool:
        """Tell whether no start is on its way and no message waits; wait for it as long as anything moves."""
        pictures: dict[Any, float] = {}

        def look() -> str:
            kept = [self.spy.stream(name).state.last_seq for name in HEARERS]
            left, waiting = self.unfinished(), self.waiting()
            since = pictures.setdefault((*left, *kept), time.monotonic())
            if not left and not waiting:
                return "quiet"
            return "" if waiting or time.monotonic() < since + STILL_SECONDS else "nothing moves"

        return eventually(look, SEEN_SECONDS) == "quiet"

    def under_way(self) -> dict[str, str]:
        """Return the state of each start that is not at an end."""
        answer = web.get(f"{self.city['starts'].url}/starts").raise_for_status()
        return {each["ride_id"]: each["state"] for each in answer.json()["starts"]}

    def unfinished(self, stuck: bool = False) -> list[str]:
        """Return the rides that are not at an end, or those that are stuck."""
        answer = web.get(f"{self.city['starts'].url}/starts", params={"stuck": stuck}).raise_for_status()
        return [each["ride_id"] for each in answer.json()["starts"]]

    def waiting(self) -> int:
        """Count the messages that somebody has still to handle."""
        states = [self.spy.consumer(stream, name) for stream, names in HEARERS.items() for name in names]
        return sum(state.num_pending + state.num_ack_pending for state in states if state)

    def handled(self) -> bool:
        """Wait until the orchestrator has no reply left to handle; tell whether that came about."""

        def left() -> int:
            state = self.spy.consumer("REPLIES", "starts")
            return int(state.num_pending + state.num_ack_pending)

        return bool(eventually(lambda: not left(), SEEN_SECONDS))

    def answered(self, times: int) -> bool:
        """Wait until there are so many replies, and tell whether there are."""
        return bool(eventually(lambda: self.spy.stream("REPLIES").state.last_seq >= times, SEEN_SECONDS))

    def replies(self) -> list[dict[str, Any]]:
        """Return all replies; whoever is killed behind a reply says it twice."""
        return [json.loads(message.data) for message in self.spy.kept("REPLIES")]

    def disturb(self, cases: Iterable[Case]) -> None:
        """Say replies that must change nothing: to what is over, of nobody's ride, unreadable ones, and copies."""
        for each in cases:
            self.reply(each.ride_id, STEPS[1] if each.stands == STEPS[0] else STEPS[0], "refused")
        for bad in UNREADABLE:
            self.spy.keep("reply.wallet.hold.nobody", bad)
        self.reply("nobody", STEPS[0], "done")
        self.copy_replies()

    def copy_replies(self) -> None:
        """Say every reply once more, as a participant does that dies between its answer and its acknowledgement."""
        for message in self.spy.kept("REPLIES"):
            if message.data not in UNREADABLE:
                self.spy.keep(message.subject, message.data)

    def reply(self, ride_id: str, action: str, outcome: str) -> None:
        """Say a reply that no participant has said."""
        data = {"ride_id": ride_id, "command": f"{ride_id}.{action}"}
        event = {"id": f"{ride_id}.{action}.reply", "type": f"{action}.{outcome}", "version": 1, "data": data}
        content = json.dumps(event | {"time": "2026-06-01T12:00:00Z"}).encode()
        self.spy.keep(f"reply.{action}.{token(ride_id)}", content)

    def findings(self) -> list[str]:
        """Say in words what is wrong with each ride and with the city, once all is quiet."""
        quiet, said = self.quiet(), self.said()
        found = [text for each in self.cases.values() for text in self._wrong_with(each, said.get(each.ride_id, []))]
        found += [f"law: {broken}" for broken in self.city.laws().broken]
        return found if quiet else [*found, f"it does not become quiet: {self.waiting()} messages wait"]

    def _wrong_with(self, each: Case, said: list[tuple[str, str]]) -> Iterator[str]:
        name, order = f"ride {each.ride_id}", tuple(dict.fromkeys(action for action, _ in said))
        if (state := self.state(each.ride_id)) != each.end:
            yield f"{name} is {state}, not {each.end}"
        if order != each.commands:
            yield f"{name} was told {short(order)}; in place of {short(each.commands)}"
        yield from under_several_ids(each.ride_id, said)
        facts = self.facts(each.ride_id)
        right = {"holds": 1, "reservations": 0, "bikes": 1, "movements": 1, "rides": 1} if each.end == "started" else {}
        for table, number in facts.items():
            if number != right.get(table, 0):
                yield f"{name} has to be {each.end}; {WORDS[table]}: {number}, not {right.get(table, 0)}"

    def facts(self, ride_id: str) -> dict[str, int]:
        """Count what the participants have stored of a ride."""
        queries = {"holds": ("wallet", " AND state = 'open'"), "reservations": ("docks", ""), "bikes": ("docks", ""),
                   "movements": ("docks", ""), "rides": ("rides", "")}  # fmt: skip
        sql = "SELECT 1 FROM {} WHERE ride_id = ?{}"
        return {table: len(rows(self.city[where].data / f"{where}.db", sql.format(table, more), ride_id))
                for table, (where, more) in queries.items()}  # fmt: skip

    def balances(self) -> dict[str, int]:
        """Return what is left in each wallet."""
        found = rows(self.city["wallet"].data / "wallet.db", "SELECT rider_id, balance_cents FROM wallets")
        return {row["rider_id"]: row["balance_cents"] for row in found}


NOT_NOW = ("rides.start", "stations.cancel", "wallet.release")
MANY_REPLIES = (
    "6 rides, one waiting at each command; then each reply so far once more, a refusal of a step that is over, a reply "
    "of a ride that nobody knows, and 4 that nobody can read"
)
RELEASES = (
    "releases of early-1 and early-2 before their holds, a hold of usual-1; kill -9 of wallet, launch; all three "
    "holds; 2 releases of usual-1, 1 of early-1"
)
EARLY = [
    "early-1: wallet.hold.refused", "early-1: wallet.release.done", "early-2: wallet.hold.refused",
    "early-2: wallet.release.done", "usual-1: wallet.hold.done", "usual-1: wallet.release.done",
]  # fmt: skip
UNREADABLE = (b"", b"\xff{", b'{"id": "r"}', b"{}" + b" " * 70_000)
GONE = "the rider has gone home: whoever opens the bolt now gives the bike to anybody"
WORDS = {"holds": "amounts still held", "reservations": "bikes still kept for it", "bikes": "bikes out with it",
         "movements": "bolts opened", "rides": "rides under way"}  # fmt: skip


def at(action: str) -> str:
    """Return the service that carries out an action."""
    return AT[action.partition(".")[0]]


def short(said: Iterable[tuple[str, str]] | Iterable[str]) -> str:
    """Return commands as words, each once, in the order in which they were said first: hold, reserve."""
    actions = (each if isinstance(each, str) else each[0] for each in said)
    return ", ".join(dict.fromkeys(action.partition(".")[2] for action in actions)) or "nothing"


@pytest.fixture
def town(city: Any, spy_on: Callable[[Any], Any]) -> Town:
    """A city that is running, with a spy at its broker."""
    city.start()
    return Town(city, spy_on(city))


def test_what_is_refused_is_undone(town: Town) -> None:
    """A start goes through its four steps; a step that is refused is the last, and those before it are undone."""
    town.begin(Case("all-well", ""), Case("all.well", ""), *(case(step, "refuse") for step in STEPS[:3]))
    again = town.put("all-well", "ada", "b-01")
    other = town.put("all-well", "ada", "b-02")
    found = town.findings()
    expect(not found, sent="2 rides that go well, and one each whose hold, reserve or unlock is refused",
           expected="each is told its commands in order, and after a refusal what was done is undone in reverse",
           came=found, why="whoever forgets one step keeps a rider's money, or a bike that nobody rides", look=MOVES,
           service="starts")  # fmt: skip
    expect((again.status_code, other.status_code) == (200, 409), sent="the same PUT again, and one with another bike",
           expected="200, 409", came=[again, other], why="a rider who taps twice starts one ride", look=ORCHESTRATOR,
           service="starts")  # fmt: skip


def test_the_last_bike_goes_to_one_rider(town: Town) -> None:
    """Of four who want one bike one rides, and the others have their money back; who cannot pay holds nothing."""
    riders = ("ada", "bo", "chen", "dora")
    answers = together([lambda name=name: town.put(f"last-{name}", name, "b-01") for name in riders])
    town.put("poor-1", "poor", "b-02")
    town.put("stranger-1", "zoe", "b-03")
    quiet, states = town.quiet(), {name: town.state(f"last-{name}") for name in riders}
    left = {name: cents for name, cents in town.balances().items() if name in riders}
    right = {name: DEPOSIT - CENTS * (states[name] == "started") for name in riders}
    won = sorted(states.values()) == ["refused", "refused", "refused", "started"]
    expect(quiet and won and left == right and town.city.laws().kept,
           sent="4 riders want b-01 at once; poor has 100 cents; zoe has no wallet",
           expected=f"one is started, 3 refused, and each who does not ride has {DEPOSIT} cents", look=MOVES,
           came={"states": states, "left": left, "laws": town.city.laws().broken, "PUT": answers[:1]},
           why="the last bike is reserved once; the others do not pay for it, and no bolt opens for them",
           service="starts")  # fmt: skip
    others = [town.state(ride_id) for ride_id in ("poor-1", "stranger-1")]
    expect(others == ["refused", "refused"], sent="the same", expected="poor and zoe: refused", came=others,
           why="a hold that is refused is the end: nothing was done", look=MOVES, service="starts")  # fmt: skip


def test_a_reply_counts_once_and_in_its_time(town: Town) -> None:
    """Copies of replies, replies to what is over, of rides that nobody knows, and unreadable ones change nothing."""
    standing = [case(action, "deaf") for action in STATES]
    town.begin(*standing)
    stand_there(town, standing)
    before = town.said()
    town.disturb(standing)
    handled, after = town.handled(), town.said()
    moved = town.elsewhere(standing) + [f"ride {name} was told more" for name in after if after[name] != before[name]]
    expect(handled and not moved, sent=MANY_REPLIES, expected="each is handled, and no ride moves", look=ORCHESTRATOR,
           came=moved or f"{town.waiting()} messages are never acknowledged", service="starts",
           why="a copy that counts skips a step: a bolt opens for a bike that nobody has reserved")  # fmt: skip
    town.lift(*standing)
    town.quiet()
    town.copy_replies()
    all_right(town, "then each ride goes on, and at its end every reply comes once more")
    dead = len(town.spy.kept("DEAD"))
    expect(dead == len(UNREADABLE), sent=f"{len(UNREADABLE)} replies that nobody can read", came=f"{dead} in DEAD",
           expected="each in DEAD, with its reason", why="one bad message must not hold up the others",
           look=ORCHESTRATOR, service="starts")  # fmt: skip


def test_a_killed_orchestrator_goes_on(town: Town) -> None:
    """It is killed while rides stand at each command, before the reply and behind it: the next one goes on."""
    deaf, mute = ([case(action, what) for action in STATES] for what in ("deaf", "mute"))
    town.begin(*deaf, *mute)
    stand_there(town, [*deaf, *mute])
    replies = town.spy.stream("REPLIES").state.last_seq
    town.city.kill("starts")
    town.lift(*mute)
    kept = town.answered(replies + len(mute))
    town.city.launch("starts")
    town.lift(*deaf)
    expect(kept, sent="kill -9 of starts", expected="6 replies meanwhile", came=town.spy.stream("REPLIES").state,
           why="the participants answer whether or not anybody hears it", look=HOLDS, service="wallet")  # fmt: skip
    all_right(town, "12 rides, one at each of the six commands without a reply and one with a reply that nobody has "
              "handled; kill -9 of starts, launch", "what memory has is gone: a start that is not written down stands "
              "still for ever, with money held and a bike kept")  # fmt: skip


def test_an_outage_of_the_broker_is_waited_out(town: Town) -> None:
    """Wishes are taken while the broker is away, and start when it is back, although starts was killed meanwhile."""
    standing = [case(step, "deaf") for step in STEPS]
    town.begin(*standing)
    stand_there(town, standing)
    town.city.kill("broker")
    town.begin(*(Case(f"dark-{number}", "") for number in range(4)))
    town.city.kill("starts")
    town.city.launch("broker")
    town.city.launch("starts")
    town.lift(*standing)
    found = town.findings()
    expect(not found, sent="4 rides stand at the four steps; kill -9 of the broker, 4 more wishes, kill -9 of starts, "
           "launch of both", expected="all 8 start, each by its four commands, each under one id; the laws hold",
           came=found, why="a wish that was answered by 202 is a promise; what is only in memory is said by nobody",
           look=ORCHESTRATOR, service="starts")  # fmt: skip


def test_silence_is_undone_or_said_again(town: Town) -> None:
    """In silence a hold or a reservation is undone, and all else said again until there is a reply, however late."""
    silent = [case(action, what, UNDO) for action in STATES for what in ("deaf", "mute")]
    silent += [case(action, "refuse") for action in NOT_NOW]
    town.begin(*silent)
    stand_there(town, silent)
    town.wait_at_most(STEP_SECONDS, LONG_SECONDS)
    left = town.not_ended([each for each in silent if each.stands in UNDO])
    expect(not left, sent="4 rides whose hold or reserve is silent: not heard, or done without an answer",
           expected="each is undone and refused meanwhile", came=left,
           why="nobody knows whether a silent step was done: the rider must not wait for ever, nor pay",
           look=f"{MOVES}; {HOLDS}: release", service="starts")  # fmt: skip
    others = [each for each in silent if each.stands not in UNDO]
    said_again(town, "11 rides whose unlock, start, cancel or release has no reply, or is refused for now", others)
    stand_there(town, others)
    town.lift(*silent)
    all_right(town, "12 rides, each silent at one command, not heard or done without an answer; 3 whose start, cancel "
              "or release is refused for now; then all late commands are carried out, and all late answers said",
              "what is late must find that it is over, and what cannot be undone has to be ended")  # fmt: skip


def test_a_start_that_takes_too_long_is_seen_and_opens_no_bolt(town: Town) -> None:
    """What is overdue is listed as stuck, in whichever state; before the pivot it turns back, behind it it goes on."""
    late = [case(action, "deaf", UNDO) for action in STATES]
    town.begin(*late)
    stand_there(town, late)
    early = town.unfinished(stuck=True)
    town.wait_at_most(LONG_SECONDS, 0)
    stuck, number = town.unfinished(stuck=True), web.get(f"{town.city['starts'].url}/metrics").text
    expect(not early and set(stuck) == set(town.cases) and "starts_stuck 6" in number,
           sent="6 rides that stand still, in time and then overdue", look="starts_moves.py: is_stuck",
           expected="in GET /starts?stuck=true first none, then all, and starts_stuck 6", service="starts",
           came={"in time": early, "overdue": stuck, "metrics": number},
           why="a start that stands still holds money and a bike; nobody looks for what nobody shows")  # fmt: skip
    town.end(*late[:2])
    town.wait_at_most(STEP_SECONDS, 0)
    said_again(town, "4 rides that are overdue, and whose unlock, start, cancel or release has no reply", late[2:])
    town.lift(*late[2:])
    all_right(town, "6 rides, each overdue before a reply comes to it", GONE, MOVES)
    left = town.unfinished(stuck=True)
    expect(not left, sent="GET /starts?stuck=true at the end", expected="none", came=left, look=MOVES, service="starts",
           why="an alarm that never ends is switched off")  # fmt: skip


def test_a_release_that_comes_first_is_remembered(city: Any, spy_on: Callable[[Any], Any]) -> None:
    """A hold that comes behind its own release is refused, also after a restart; a release gives back once."""
    city.start(skip=("docks", "rides", "starts"))
    town = Town(city, spy_on(city))
    town.tell("wallet.release", "early-1", "early-2")
    town.tell("wallet.hold", "usual-1")
    answered = town.answered(3)
    town.city.kill("wallet")
    town.city.launch("wallet")
    town.tell("wallet.hold", "early-1", "early-2", "usual-1")
    town.tell("wallet.release", "usual-1", "usual-1", "early-1")
    eventually(lambda: not town.waiting(), SEEN_SECONDS)
    answers = sorted({f"{reply['data']['ride_id']}: {reply['type']}" for reply in town.replies()})
    expect(answered and answers == EARLY, sent=RELEASES, expected=EARLY, came=answers, look=HOLDS, service="wallet",
           why="a hold that comes late belongs to a start that was given up: nobody will ever release it")  # fmt: skip
    sums = (town.balances()["ada"], town.city.laws().kept)
    expect(sums == (DEPOSIT, True), sent=RELEASES, expected=f"ada has {DEPOSIT} cents, the laws are kept", came=sums,
           why="money comes back once, and only what was taken", look=HOLDS, service="wallet")  # fmt: skip


def under_several_ids(ride_id: str, said: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Say which commands of a ride were said under more than one id."""
    ids: dict[str, set[str]] = {}
    for action, command_id in said:
        ids.setdefault(action, set()).add(command_id)
    for action, known in ids.items():
        if len(known) > 1:
            yield f"ride {ride_id} was told {action} under several ids: {', '.join(sorted(known))}"


def said_again(town: Town, sent: str, cases: list[Case]) -> None:
    """Expect that the command of each drill is said again, in its time."""
    wrong = town.not_repeated(cases)
    expect(not wrong, sent=sent, came=wrong,
           expected=f"each of these is said again every {STEP_SECONDS:g} s, as the same command",
           why="a compensation that is said once and lost keeps the money; an open bolt needs its ride, however late",
           look=f"{MOVES}; {ORCHESTRATOR}", service="starts")  # fmt: skip


def stand_there(town: Town, cases: list[Case]) -> None:
    """Expect that each ride has come to the command of its drill, and waits there."""
    elsewhere = town.stand(*cases)
    expect(not elsewhere, sent=f"{len(cases)} rides, each with a participant that does not answer one command",
           expected="each waits in the state of that command", came=elsewhere, service="starts", look=MOVES,
           why="a command follows on the reply to the one before it, and a refusal for now is not the end")  # fmt: skip


def all_right(town: Town, sent: str, why: str = "", look: str = ORCHESTRATOR) -> None:
    """Expect that each ride ends as it has to, by the right commands, and that the books and the laws say so too."""
    found = town.findings()
    if any(text.startswith("law: ") for text in found):
        look = f"{look}; {HOLDS}"
    expect(not found, sent=sent, expected="each ride ends, by its commands in order, each under one id; the laws hold",
           came=found, why=why or "what counts twice is done twice, or skips a step", look=look,
           service="starts")  # fmt: skip
