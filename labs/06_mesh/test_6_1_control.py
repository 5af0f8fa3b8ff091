"""Checks of task 6.1: Envoys hear at once what concerns them, only that, and only once; calls never notice the rest.

Shares are judged by the binomial distribution: whoever chooses each replica with the same chance fails by chance less
than once in a million runs.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from lab_services.checks import eventually, expect
from lab_services.checks.mesh_probes import Answer, MeshProbe, answered
from lab_services.mesh.chance import binomial_bounds

HOLD_SECONDS = 0.4  # as in lab.toml, shape control_hasty; in the others it is 20
NEWS_SECONDS = 2.0  # it takes 0.05 s
GONE_SECONDS = 2.0  # it takes 0.2 s
QUIET_SECONDS = 0.25  # what is wrong comes within 0.05 s
SPIN_SECONDS = 0.5  # an Envoy asks again 0.1 s after an answer
CALLS, FALSE_ALARM = 90, 1e-8
REFUSALS = 2  # an Envoy may be told again once
CALL_SECONDS = 8.0
PRICING = ("endpoints", "pricing")
QUOTE = "http://pricing/quote"
PLANE, HOSTS = "control_plane.py: discovery", "control_hosts.py: resources"
TYPES = "type.googleapis.com/envoy.config."
MINE = {  # what rides-1 asks for, and the names that it must get
    ("listeners",): {"inbound", "outbound"},
    ("clusters",): {"app", "pricing", "locks"},
    ("routes", "outbound"): {"outbound"},
    PRICING: {"pricing"},
    ("endpoints", "locks"): {"locks"},
}


def node(name: str, state: str = "ready", calls: tuple[str, ...] = (), port: int = 0) -> dict[str, Any]:
    """Return an entry of the registry; nobody ever listens at its ports."""
    service, _, replica = name.partition("-")
    places = {"inbound": port, "outbound": port + 1, "admin": port + 2, "grpc_outbound": {}, "app": f"{name}.sock"}
    told = {"service": service, "replica": int(replica), "node": name, "speaks": "http", "state": state, "labels": {}}
    return {**told, **places, "calls": list(calls)}


TOWN = [
    node("rides-1", calls=("pricing", "locks"), port=2010),
    node("rides-2", calls=("pricing", "locks"), port=2020),
    node("pricing-1", port=2030),
    node("pricing-2", port=2040),
    node("pricing-3", "draining", port=2050),
    node("locks-1", port=2060),
]


@pytest.fixture
def mesh(city: Any) -> Iterator[MeshProbe]:
    """The mesh of the city that runs."""
    probe = MeshProbe(city)
    yield probe
    probe.close()


@pytest.fixture
def plane(mesh: MeshProbe) -> MeshProbe:
    """A control plane alone, which has read the registry of a town whose Envoys the check plays."""
    mesh.write(TOWN)
    eventually(lambda: (answer := mesh.ask("locks-1", "listeners").answer(NEWS_SECONDS)) and answer.names, NEWS_SECONDS)
    return mesh


def told(mesh: MeshProbe, name: str, *wanted: str, have: str = "") -> Answer:
    """Ask, as an Envoy does again after a 304, and return the answer, for which there is no reason to wait."""
    asked = []

    def ask() -> bool:
        asked.append(mesh.ask(name, *wanted, have=have))
        answer = asked[-1].answer(NEWS_SECONDS)
        return answer is None or answer.status != 304

    eventually(ask, NEWS_SECONDS)
    question, answer = asked[-1], asked[-1].answer(0)
    expect(answer and answer.status == 200 and answer.version not in ("", have), sent=question.said,
           came=answer or f"no answer within {NEWS_SECONDS:g} s", expected="an answer at once, in a version that it "
           "has not: " + ("what it asks for has changed" if have else "it has nothing"), look=f"{PLANE}; {HOSTS}",
           service="plane", why="a sidecar that is not told calls replicas that have left, or nobody")  # fmt: skip
    assert answer
    return answer


@pytest.mark.city(shape="control_alone")
def test_a_question_waits_for_its_own_news(plane: MeshProbe) -> None:
    """Who has nothing is told at once; every other question is held, until what it asks for has changed."""
    first = {wanted: told(plane, "rides-1", *wanted) for wanted in MINE}
    names, ports = {wanted: answer.names for wanted, answer in first.items()}, first[PRICING].ports
    expect(names == MINE and ports == {2030, 2040}, sent="rides-1, which calls pricing and locks, asks for everything",
           expected="inbound, outbound; app, pricing, locks; outbound; pricing alone, at 2030 and 2040 (pricing-3, at "
           "2050, is draining); locks alone", came=[str(answer) for answer in first.values()],
           look=f"{HOSTS}; {PLANE}", service="plane", why="an Envoy refuses endpoints that it has not asked for, and "
           "calls each host in them; one that is draining is about to leave")  # fmt: skip
    held = {wanted: plane.ask("rides-1", *wanted, have=answer.version) for wanted, answer in first.items()}
    early = answered(held.values(), QUIET_SECONDS)
    expect(not early, sent="rides-1 has all that, and asks again", expected="its questions are held (long poll)",
           came=early, look=PLANE, service="plane", why="an Envoy asks again 0.1 s after an answer: a hundred of them "
           "with five questions each are 5,000 questions a second, in which nothing is new")  # fmt: skip
    plane.change("pricing-2", state="down")
    news = held.pop(PRICING).answer(NEWS_SECONDS)
    others = answered(held.values(), QUIET_SECONDS)
    expect(news and news.ports == {2030} and news.version not in ("", first[PRICING].version),
           sent="pricing-2 is down", expected="endpoints pricing, at once, in another version: 2030 alone",
           came=news or "no answer", look=f"{PLANE}; {HOSTS}", service="plane",
           why="until its sidecar hears of it, rides calls a replica that is not there")  # fmt: skip
    expect(not others, sent="pricing-2 is down, and rides-1 asks for other things as well", expected="these are held",
           came=others, look=PLANE, service="plane", why="with one version for everything, each replica that comes or "
           "goes has every Envoy of the city load once more all that it has")  # fmt: skip


@pytest.mark.city(shape="control_alone")
def test_a_refused_version_is_not_sent_again(plane: MeshProbe) -> None:
    """An Envoy that refuses asks again in its old version: it waits for a change, and others hear what it refused."""
    old, hers = (told(plane, name, *PRICING).version for name in ("rides-1", "rides-2"))
    plane.change("pricing-2", state="down")
    new = told(plane, "rides-1", *PRICING, have=old).version
    told(plane, "rides-2", *PRICING, have=hers)
    refused = plane.ask("rides-1", *PRICING, have=old)
    early = answered([refused], QUIET_SECONDS)
    expect(not early, sent=f"rides-1, which has {old}, was sent {new}, and asks again: it still has {old}",
           expected="it has refused that, and is held until there is news", came=early, look=PLANE, service="plane",
           why="a plane that compares with what the Envoy has sends what was refused ten times a second")  # fmt: skip
    plane.change("pricing-2", state="ready", inbound=2070)
    news = refused.answer(NEWS_SECONDS)
    expect(news and news.ports == {2030, 2070}, sent="then pricing-2 is ready at another port",
           came=news or "no answer", expected="rides-1 is told at once: 2030 and 2070", look=PLANE, service="plane",
           why="who has refused something wrong waits for what is right")  # fmt: skip
    told(plane, "rides-1", *PRICING)


@pytest.mark.city(shape="control_hasty")
def test_a_held_question_has_an_end(plane: MeshProbe) -> None:
    """After HOLD_SECONDS: 304 to who has what it was sent, a lost answer once more, nothing to who is unknown."""
    old, hers = (told(plane, name, *PRICING).version for name in ("rides-1", "rides-2"))
    plane.change("pricing-2", state="down")
    new, _ = (told(plane, n, *PRICING, have=v).version for n, v in (("rides-1", old), ("rides-2", hers)))
    questions = [plane.ask("rides-1", *PRICING, have=new), plane.ask("rides-2", *PRICING, have=hers)]
    questions += [plane.ask("guest-1", "clusters")]
    came = [question.answer(NEWS_SECONDS) for question in questions]
    held = all(answer and answer.seconds > HOLD_SECONDS / 2 for answer in came)
    expect(held and [(a.status, a.ports) for a in came if a] == [(304, set()), (200, {2030}), (304, set())],
           sent="rides-1 has what it was sent last, rides-2 still what it had before; guest-1 is not in the registry",
           expected=f"after HOLD_SECONDS, {HOLD_SECONDS:g}: 304; port 2030 once more; 304", came=questions, look=PLANE,
           service="plane", why="what was sent may be lost; and who is told that there is nothing forgets what it has: "
           "a plane that has just begun would take the city away from every sidecar")  # fmt: skip


@pytest.mark.city(shape="control_alone")
def test_a_plane_that_begins_anew_tells_what_has_changed(city: Any, plane: MeshProbe) -> None:
    """Each process may count from one; an Envoy that comes with the version of an earlier one is told what is new."""
    for _ in range(2):
        city.kill("plane")
        city.launch("plane")
    have = told(plane, "rides-1", *PRICING).version
    city.kill("plane")
    plane.change("pricing-2", state="down")
    city.launch("plane")
    news = plane.ask("rides-1", *PRICING, have=have).answer(NEWS_SECONDS)
    expect(news and news.ports == {2030}, sent="kill -9 of the plane; pricing-2 is down; the plane is launched, and "
           f"rides-1 asks with version {have} of the process before", expected="what is true now: 2030 alone",
           came=news or "no answer", look=PLANE, service="plane", why="a version that says how often something has "
           "changed begins anew with the process: then another content has the same version")  # fmt: skip


def test_calls_follow_the_replicas(city: Any, mesh: MeshProbe) -> None:
    """Calls are spread over the replicas that are ready; who drains finishes what it has, who is down gets nothing."""
    spread = mesh.replicas("rides-1", QUOTE, CALLS)
    low, high = binomial_bounds(CALLS, 1 / 2, FALSE_ALARM)
    expect(set(spread) == {"1", "2"} and all(low <= n <= high for n in spread.values()), sent=f"{CALLS} calls of rides "
           "to http://pricing", expected=f"both replicas answer, {low} to {high} times each", came=spread, look=HOSTS,
           service="rides_sidecar", why="a replica without calls costs as much as one that works")  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        slow, busy, other = slow_call(city, pool)
        mesh.change(f"pricing-{busy}", state="draining")
        left, after = only(mesh, other), mesh.replicas("rides-1", QUOTE, 20)
        httpx.post(f"{city['pricing'].replica_urls[int(busy) - 1]}/go", trust_env=False)
    expect(left and set(after) == {other} and slow.result().status_code == 200, sent=f"pricing-{busy} has a slow call "
           "and is draining; 20 more calls", expected="none of them goes there, and the slow one ends with 200",
           came=f"{after}; the slow one: {slow.result()}", look=HOSTS, service="rides_sidecar", why="a replica that is "
           "about to leave ends what it has and gets nothing new: so no rider notices it")  # fmt: skip
    city.kill("pricing", int(busy))
    left = only(mesh, other)
    city.launch("pricing")
    back = eventually(lambda: busy in mesh.replicas("rides-1", QUOTE, 12), NEWS_SECONDS)
    expect(left and back, sent=f"kill -9 of pricing-{busy}; then it is launched", expected="soon all calls are "
           f"answered by {other}; after the launch by both", came=f"by {other} alone: {left}; by both: {back}",
           look=f"{HOSTS}; {PLANE}", service="rides_sidecar", why="every second call fails for as long as the sidecars "
           "think that the replica is there")  # fmt: skip


def test_neither_a_refusal_nor_a_dead_plane_stops_calls(city: Any, mesh: MeshProbe) -> None:
    """Envoys live by what they have when they are sent something wrong, and when there is nobody to ask."""
    port = mesh.registry()["pricing-2"]["inbound"]
    mesh.change("pricing-2", inbound=70_000)
    eventually(lambda: refusals(mesh), GONE_SECONDS)
    eventually(lambda: refusals(mesh) > REFUSALS, SPIN_SECONDS)
    times, calls = refusals(mesh), mesh.replicas("rides-1", QUOTE, 30)
    expect(times <= REFUSALS and "1" in calls and set(calls) <= {"1", "2"}, sent="pricing-2 is said to be at port "
           "70000, which no Envoy accepts", expected="its Envoy refuses it once; calls go on", came=f"{calls}; "
           f"refused {times} times in {SPIN_SECONDS:g} s", look=PLANE, service="rides_sidecar", why="a plane that "
           "compares with what the Envoy has sends what was refused ten times a second")  # fmt: skip
    city.kill("plane")
    mesh.change("pricing-2", inbound=port, state="draining")
    calls = mesh.replicas("rides-1", QUOTE, 30)
    city.launch("plane")
    news = only(mesh, "1")
    expect(news and "1" in calls and set(calls) <= {"1", "2"}, sent="kill -9 of the plane; pricing-2 gets its port "
           "back and is draining; 30 calls; the plane is launched", expected="no call fails; after the launch all go "
           "to 1", came=f"{calls}; after the launch all go to 1: {news}", look=f"{PLANE}; {HOSTS}",
           service="rides_sidecar", why="no call passes the plane: without it the city goes on as it was")  # fmt: skip


def only(mesh: MeshProbe, replica: str) -> bool:
    """Wait until this replica answers all calls of rides, and say whether it does."""
    return bool(eventually(lambda: set(mesh.replicas("rides-1", QUOTE, 8)) == {replica}, GONE_SECONDS))


def slow_call(city: Any, pool: ThreadPoolExecutor) -> tuple[Future[httpx.Response], str, str]:
    """Have rides ask for a price that takes long; return its answer, the replica that is at it, and the other one."""
    url = f"{city['rides'].url}/price?slow=true"
    answer = pool.submit(httpx.get, url, trust_env=False, timeout=CALL_SECONDS)
    busy = eventually(lambda: at_work(city) or (answer.done() and "none"), NEWS_SECONDS)
    expect(busy in ("1", "2"), sent="GET /price?slow=true to rides, by its sidecar", expected="rides asks a "
           "replica of pricing", came=(answer.exception() or answer.result()) if answer.done() else "none is asked",
           look=HOSTS, service="rides_sidecar", why="a rider's request comes in by the sidecar of rides and goes on by "
           "that of pricing")  # fmt: skip
    return answer, busy, "2" if busy == "1" else "1"


def at_work(city: Any) -> str:
    """Return the number of the replica of pricing that has a slow call."""
    waiting = [httpx.get(f"{url}/slow", trust_env=False).json() for url in city["pricing"].replica_urls]
    return next((str(number) for number, calls in enumerate(waiting, 1) if calls), "")


def refusals(mesh: MeshProbe) -> int:
    """Return how often the Envoy of rides has refused something."""
    return sum(mesh.counters("rides-1", "update_rejected$").values())
