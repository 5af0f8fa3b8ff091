"""Checks of task 7.2: the trace of a ride, as the trace store tells it: whole, its own, and in nobody's way."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest

from lab_services.checks import DropAnswer, eventually, expect, together
from lab_services.telemetry.reading import Span, Trace, find_traces, read_trace

SETUP, CALLS, CONTEXT = "trace_setup.py: start", "trace_calls.py", "trace_context.py"
SHOWN_SECONDS = 2.5  # DELAY_SECONDS is 0.1
MOST_TRACES = 200
ANSWER_SECONDS = 3.0  # a collector that hangs keeps an export for 10 s, the exporter's own limit
END_SECONDS = 3.0  # then a process is killed
HANG_SECONDS = 60.0
RIDER, CARD = "ada.lovelace@example.org", "4000-0012-3456-7899"
RIDES = ("r-1", "r-2", "r-3")
SERVICES = ("rides", "billing", "wallet")
EDGES = {
    "rides client -> server wallet",
    "rides client -> server locks",
    "rides producer -> consumer billing",
    "billing client -> server wallet",
}
HIGH_TRACE, OTHER_TRACE, CALLER = "f" * 32, "e" * 32, "b" * 16  # a sampler that counts would not take so high a number


class Story:
    """All spans of one ride: in one trace, or in several where one links to another."""

    def __init__(self, traces: tuple[Trace, ...]) -> None:
        self.traces = traces
        self.spans = [span for trace in traces for span in trace.spans]
        self._by_id = {(span.trace_id, span.span_id): span for span in self.spans}

    def cause(self, span: Span) -> Span | None:
        """Return the span that has caused this one: its parent, or the one that it links to."""
        causes = [(span.trace_id, span.parent), *span.links]
        return next((self._by_id[each] for each in map(tuple, causes) if each in self._by_id), None)

    def edges(self) -> set[str]:
        """Return who has caused something in another service, by what kind of span, and of what kind that is."""
        pairs = [(self.cause(span), span) for span in self.spans]
        return {
            f"{above.service} {above.kind} -> {span.kind} {span.service}"
            for above, span in pairs
            if above and above.service != span.service
        }

    def beginnings(self) -> list[str]:
        """Return the spans that nothing in the story has caused."""
        return sorted(f"{span.service}: {span.name}" for span in self.spans if self.cause(span) is None)

    def faults(self, ride: str, edges: set[str] = EDGES, begins: str = "rides: PUT /rides/{ride_id}") -> dict[str, Any]:
        """Return what is wrong with the story of a ride."""
        rides = {each for trace in self.traces for each in rides_in(trace)}
        found = {
            "edges that are missing": sorted(edges - self.edges()),
            "edges that are too many": sorted(self.edges() - edges),
            "spans without a parent in the trace": [each for each in self.beginnings() if each != begins],
            "a root that is missing": [] if begins in self.beginnings() else [begins],
            "other rides in it": sorted(rides - {ride}),
            "spans with something of the rider in them": sorted(
                {f"{s.service}: {s.name}" for s in self.spans if is_private(s)}
            ),
            "errors": sorted(f"{span.service}: {span.name}" for span in self.spans if span.error),
        }
        return {what: fault for what, fault in found.items() if fault}

    def of(self, service: str, kind: str) -> list[Span]:
        """Return the spans of a service of one kind, in the order in which they began."""
        return sorted((s for s in self.spans if (s.service, s.kind) == (service, kind)), key=lambda span: span.start)


def is_private(span: Span) -> bool:
    """Tell whether a span says anything of the rider."""
    told = f"{span.name} {span.attributes} {span.events} {span.resource}"
    return any(word in told for word in (RIDER, CARD))


def marks(span: Span | None) -> str:
    """Return what a span says of an error."""
    if span is None:
        return "no span"
    recorded = any(event.name == "exception" for event in span.events)
    return ("ERROR" if span.error else "fine") + (", exception recorded" if recorded else "")


def told_span(call: Any) -> str:
    """Return the id of the span that the headers of a call name, empty when they name none."""
    parts = call.headers.get("traceparent", "").split("-")
    return str(parts[2]) if len(parts) == 4 else ""


def family(spans: dict[str, Span], ids: list[str]) -> tuple[list[str], str]:
    """Return the marks of those of a story's spans, and whether they have one parent in it."""
    parents = {spans[each].parent if each in spans else "" for each in ids}
    kept = "one parent" if len(parents) == 1 and parents <= spans.keys() else "other parents, or none"
    return [marks(spans.get(each)) for each in dict.fromkeys(ids)], kept


def rides_in(trace: Trace) -> set[str]:
    """Return the rides that a trace speaks of."""
    return {str(span.attributes["ride.id"]) for span in trace.spans if "ride.id" in span.attributes}


def is_caused_by_caller(span: Span) -> bool:
    """Tell whether a span is a child of the check's span, or has a link to it."""
    return (OTHER_TRACE, CALLER) in ((span.trace_id, span.parent), *map(tuple, span.links))


class Weather:
    """A wallet that answers as it is told; 0 breaks off the connection."""

    def __init__(self, answers: dict[str, list[int]]) -> None:
        self._answers = answers

    def __call__(self, call: Any) -> tuple[int, Any]:
        left = self._answers.get(call.path, [])
        status = left.pop(0) if left else 201
        if not status:
            raise DropAnswer
        return status, {}


class Town:
    """The running city, its trace store, and a client."""

    def __init__(self, city: Any) -> None:
        self.city, self.web = city, httpx.Client(timeout=ANSWER_SECONDS, trust_env=False)
        self.store = city["traces"].url
        self.urls = city["rides"].replica_urls

    def put(self, ride: str, trace: str = "", flags: str = "01", replica: int = 0) -> int:
        """Start a ride; return the status, 504 when no answer comes in time."""
        facts = {"rider_id": RIDER, "card": CARD, "lock_id": f"l-{ride.removeprefix('r-'):0>2}"}
        headers = {"traceparent": f"00-{trace}-{CALLER}-{flags}"} if trace else {}
        try:
            return self.web.put(f"{self.urls[replica]}/rides/{ride}", json=facts, headers=headers).status_code
        except httpx.TransportError:
            return 504

    def stories(self, *rides: str) -> dict[str, Story]:
        """Return what the store knows of these rides by now."""
        found = [find_traces(self.store, service=each, limit=MOST_TRACES) for each in SERVICES]
        traces = {trace.trace_id: trace for each in found for trace in each}.values()
        return {ride: Story(tuple(trace for trace in traces if ride in rides_in(trace))) for ride in rides}

    def told(self, *rides: str, **how: Any) -> dict[str, Any]:
        """Wait until the stories of these rides are right, and return what is wrong with which."""
        faults: dict[str, Any] = {}

        def right() -> bool:
            faults.clear()
            faults.update(
                {ride: found for ride, story in self.stories(*rides).items() if (found := story.faults(ride, **how))}
            )
            return not faults

        eventually(right, SHOWN_SECONDS)
        return faults

    def attempts(self, calls: dict[str, list[str]]) -> dict[str, tuple[list[str], str]]:
        """Return by ride the marks of the spans that the headers of its calls have named, and of how many parents.

        A parent counts when it is in the story of the ride. Wait until every span is there.
        """
        found: dict[str, dict[str, Span]] = {}

        def all_there() -> bool:
            stories = self.stories(*calls)
            found.update({ride: {span.span_id: span for span in story.spans} for ride, story in stories.items()})
            ended = all(story.of("rides", "server") for story in stories.values())  # the span that ends last
            return ended and all(set(ids) <= found[ride].keys() for ride, ids in calls.items())

        eventually(all_there, SHOWN_SECONDS)
        return {ride: family(found[ride], ids) for ride, ids in calls.items()}

    def has_charged(self, *rides: str) -> bool:
        """Wait until the wallet has charged these rides."""
        return bool(eventually(lambda: set(rides) <= set(self.charges()), SHOWN_SECONDS))

    def charges(self) -> list[str]:
        """Return the rides that the wallet has charged."""
        return list(self.web.get(f"{self.city['wallet'].url}/charges").json())

    def leaves(self, *services: str) -> None:
        """Send these services a SIGTERM, and return when their processes have gone; what has not is killed."""
        processes = [psutil.Process(pid) for service in services for pid in self.city[service].pids]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        psutil.wait_procs(processes, END_SECONDS)
        for service in services:
            self.city.kill(service)  # nobody takes it for a crash


@pytest.fixture
def town(city: Any) -> Iterator[Town]:
    """The city that has been started."""
    town = Town(city)
    yield town
    town.web.close()


@pytest.fixture
def weather(fake_service: Callable[..., Any]) -> Any:
    """A wallet that breaks off, fails and refuses."""
    answers = {"/holds/r-1": [0, 500, 201], "/holds/r-2": [402], "/holds/r-3": [503, 503, 503]}
    return fake_service("wallet", Weather(answers))


@pytest.fixture
def silent(fake_service: Callable[..., Any]) -> Iterator[Any]:
    """A trace store that takes connections and never answers."""
    over = threading.Event()
    yield fake_service("traces", lambda call: (503, over.wait(HANG_SECONDS)))
    over.set()


def test_rides_are_one_trace_each(town: Town) -> None:
    """One ride, then eight at once at two replicas: each has its own trace, whole to the last message."""
    status, faults = town.put("r-1"), town.told("r-1")
    expect(status == 201 and not faults, sent="PUT /rides/r-1", expected=f"201; one story that begins with it: "
           f"{sorted(EDGES)}", came=f"{status}; {faults}", look=f"{SETUP}: start; {CALLS}: calling; {CONTEXT}",
           service="rides",
           why="who looks for what a ride has caused finds what is linked, and nothing else; the rider's name and card "
           "are for nobody's eyes")  # fmt: skip
    rides = [f"r-{number}" for number in range(2, 10)]
    came = together([lambda ride=ride, at=at: town.put(ride, replica=at % 2) for at, ride in enumerate(rides)])
    wrong = town.told(*rides)
    expect(not wrong and set(came) == {201}, sent="eight rides at once", expected="201 and a story of its own for each",
           came=f"{came}; {wrong}", look=f"{CONTEXT}: here, there; {SETUP}", service="rides",
           why="a trace with spans of two rides, or a ride without one, misleads whoever looks")  # fmt: skip
    instances = {span.process for story in town.stories(*rides).values() for span in story.of("rides", "server")}
    expect(instances == {("rides", "rides-1"), ("rides", "rides-2")}, sent="nine rides",
           expected="spans of rides-1 and "
           "of rides-2", came=sorted(instances), look=SETUP, service="rides", why="of two replicas one is sick: "
           "who cannot tell them apart restarts both")  # fmt: skip


@pytest.mark.city(replace={"wallet": "weather"})
def test_every_attempt_is_a_span(town: Town, weather: Any) -> None:
    """The wallet breaks off, fails, then holds: three spans under one parent, two errors; a refusal is none."""
    came = [town.put(ride) for ride in RIDES]
    calls = {ride: [told_span(each) for each in weather.calls_to("PUT", f"holds/{ride}")] for ride in RIDES}
    expect(came == [201, 402, 503] and [len(each) for each in calls.values()] == [3, 1, 3], sent="three rides; the "
           "wallet breaks off, answers 500, then 201 / answers 402 / answers 503 three times",
           expected="201, 402, 503 after 3, 1 and 3 attempts", came=f"{came}; {calls}", look=f"{CALLS}: asking",
           service="rides", why="what may go well next time is tried again, a refusal is not")  # fmt: skip
    attempts = town.attempts(calls)
    right = {
        "r-1": (["ERROR, exception recorded", "ERROR", "fine"], "one parent"),
        "r-3": (["ERROR"] * 3, "one parent"),
    }
    expect({ride: attempts[ride] for ride in right} == right, sent="three rides, as above",
           expected="a span of its own for each "
           f"attempt, named in its headers, under one parent in the ride's trace: {right}", came=attempts,
           look=f"{CALLS}: asking", service="rides", why="a ride that took three attempts looks like a slow wallet, "
           "when nobody sees the attempts and what has become of each")  # fmt: skip
    marked = {
        ride: [span.error for span in story.of("rides", "server")] for ride, story in town.stories(*RIDES).items()
    }
    expect(marked == {"r-1": [False], "r-2": [False], "r-3": [True]}, sent="three rides, as above",
           expected="rides' own span is an "
           "error for r-3 alone", came=marked, look=CALLS, service="rides", why="a rider without money is no failure "
           "of the city, and an attempt that was made good is none of the ride")  # fmt: skip


@pytest.mark.city(skip=["rides", "locks"])
def test_a_message_leaves_nothing_behind(town: Town, spy_on: Callable[[Any], Any]) -> None:
    """A message that cannot be read is an error of its own trace; messages after it without a trace begin new ones."""
    spy = spy_on(town.city)
    strange = {"r-3": None, "r-4": {"traceparent": "00-nonsense-01"}, "r-5": {"nats-msg-id": "5"}}
    spy.keep("ride.started.r-2", b"no json " + CARD.encode(), {"traceparent": f"00-{OTHER_TRACE}-{CALLER}-01"})
    for ride, headers in strange.items():
        spy.keep(f"ride.started.{ride}", b"{}", headers)
    charged = town.has_charged(*strange)
    expect(charged and "r-2" not in town.charges(), sent="ride.started with a body that is no JSON, then one without "
           "headers, one with a malformed traceparent, one with another header", expected="the last three are charged",
           came=town.charges(), look=f"{CONTEXT}: hearing", service="billing", why="no header of a stranger stops the "
           "bills")  # fmt: skip
    own = {"edges": {"billing client -> server wallet"}, "begins": "billing: process ride.started"}
    wrong = town.told(*strange, **own)
    traces = Counter(trace.trace_id for story in town.stories(*strange).values() for trace in story.traces)
    expect(not wrong and len(traces) == 3 and OTHER_TRACE not in traces, sent="three messages",
           expected="three traces, each "
           "begins with its message", came=f"{wrong}; {dict(traces)}", look=f"{CONTEXT}: hearing", service="billing",
           why="a context that stays behind adds each message to the ride before it")  # fmt: skip
    failed = [marks(span) for span in town.stories("r-2")["r-2"].of("billing", "consumer") if is_caused_by_caller(span)]
    expect(failed == ["ERROR, exception recorded"], sent="three messages",
           expected="the work on the unreadable message is a "
           "child of its sender's span, or has a link to it; status ERROR, the exception recorded", came=failed,
           look=f"{CONTEXT}: hearing", service="billing", why="what is given up without an error vanishes")  # fmt: skip


@pytest.mark.city(shape="trace_slow")
def test_the_caller_decides_and_the_last_spans_are_sent(town: Town) -> None:
    """An unsampled ride leaves no span, a sampled one all, also when every process gets a SIGTERM right after it."""
    came = [town.put("r-1", OTHER_TRACE, "00"), town.put("r-2", HIGH_TRACE, "01"), town.put("r-3")]
    charged = town.has_charged("r-1", "r-2", "r-3")
    town.leaves("rides", "billing", "wallet")
    expect(came == [201] * 3 and charged, sent="three rides: unsampled, sampled, and without a traceparent", came=came,
           expected="201 for each, and the wallet charges it", look=SETUP, service="rides",
           why="what a trace says of a ride changes nothing for its rider")  # fmt: skip
    edges = EDGES - {"rides client -> server locks"}  # these locks tell nobody anything
    stories = town.stories(*RIDES)
    wrong = {ride: faults for ride in ("r-2", "r-3") if (faults := stories[ride].faults(ride, edges))}
    expect(not wrong, sent="SIGTERM to rides, billing and wallet", expected="the whole story of r-2 and r-3",
           came=wrong or "both", look="trace_setup.py: start, end", service="rides", why="the last spans of a process "
           "tell why it left; and a trace that was not sampled is not there when its ride has failed")  # fmt: skip
    found = [f"{s.service}: {s.name}" for s in (*read_trace(town.store, OTHER_TRACE).spans, *stories["r-1"].spans)]
    expect(not found, sent="rides, then SIGTERM", expected="no span of r-1, in any trace", came=sorted(set(found)),
           look=SETUP,
           service="rides", why="its caller keeps no span: ours alone are fragments")  # fmt: skip


@pytest.mark.city(replace={"traces": "silent"})
def test_a_collector_that_hangs_holds_up_nobody(town: Town, silent: Any) -> None:
    """The trace store takes connections and never answers: rides are answered, and a process leaves by itself."""
    came = together([lambda n=n: town.put(f"r-{n}", replica=n % 2) for n in range(1, 7)], within=ANSWER_SECONDS + 1)
    caught = eventually(lambda: len(silent.calls_to("POST", "/v1/traces")) >= 3, SHOWN_SECONDS)
    expect(came == [201] * 6 and caught, sent="six rides, while the trace store takes connections and never answers",
           expected=f"201 for each within {ANSWER_SECONDS:g} s; spans are on their way", came=f"{came}; "
           f"{len(silent.calls)} exports", look=SETUP, service="rides", why="tracing looks on: when it fails, the "
           "city goes on")  # fmt: skip
    folder = town.city["rides"].data
    town.leaves("rides")
    left = sorted(path.name for path in folder.glob("left-*.txt"))
    expect(left == ["left-1.txt", "left-2.txt"], sent="then SIGTERM to rides", expected="each replica gives up its "
           "spans, and writes left-<replica>.txt, within 3 s", came=f"{left}; whoever is missing was killed: `end` had "
           "not returned", look="trace_setup.py: end", service="rides", why="with a collector that hangs, every update "
           "of the city would wait for it")  # fmt: skip
