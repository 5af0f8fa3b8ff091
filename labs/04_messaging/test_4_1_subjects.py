"""Checks of task 4.1: names from outside become subjects and come back, and the broker holds everybody to the table."""

import json
import socket
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from lab_services.checks import Heard, eventually, expect, rows

TOKEN, NAME_OF, FILTERS = "subjects.py: token", "subjects.py: name_of", "subjects.py: filters"
MOST_NAME_BYTES = 300
CALL_SECONDS, BELL_SECONDS, LOGIN_SECONDS = 5.0, 5.0, 5.0
BELL = "check.bell"
EVENTS = ("taken", "returned")
INJECTED = "a\r\nPUB bike.injected.a.taken 1\r\nx"  # a line break in a subject would begin a command of its own
NAMES = (
    "A1", "a1", "A.1", "A_1", "A-1", "A 1", " A1", "A1 ", "A+1", "A%1", "A/1", "A=1", "A~1", "A*", "A>", "A\\1",
    "", " ", "\t", "\n", "\v", "\0", ".", "..", "*", ">", "%", "%2E", "%2e", "%252E", "=", "_", "-", "~", "bike.>",
    "$SYS", "_INBOX.rides.1", INJECTED, "None", "null", "empty", "ss", "\u00df", "\u0130", "i\u0307", "\u3000",
    "\u4e2d\u592e\u7ad9", "\u00e9", "e\u0301", "\U0001f6b2" * 75, "." * 300, "n" * 299 + "a", "n" * 299 + "b",
)  # fmt: skip
HOSTILE = ("", "*", ">", ".", "..", "A1", "a1", "A.1", "A_1", "A 1", "%2E", "bike.>", "$SYS")
PLAIN_MOVES = [(city, station, event) for city in ("ulm", "bern") for station in ("north", "south") for event in EVENTS]
WISHES = [
    {"city": city, "station": station, "event": event}
    for city in (None, "ulm")
    for station in (None, "north")
    for event in (None, "taken")
]


class Town:
    """The people who use the services of the shape, over HTTP."""

    def __init__(self, city: Any, client: httpx.Client) -> None:
        self.city, self.client = city, client
        self.urls = {state.name: state.url for state in city.states()}
        self.told: list[dict[str, str]] = []

    def post(self, service: str, path: str, **fields: Any) -> httpx.Response:
        """Send a request to a service."""
        return self.client.post(f"{self.urls[service]}{path}", json=fields)

    def move(self, city: str, station: str, event: str = "taken") -> str:
        """Let the stations say that a bike moved, and return the subject."""
        bike = f"b-{len(self.told) + 1}"
        said = {"city": city, "station": station, "event": event, "bike_id": bike}
        self.told.append(said)
        return self.said(self.post("stations", "/moves", **said), f"POST /moves {said}")

    def word(self, city: str) -> str:
        """Let the stations say a word to a city, and return the subject."""
        said = {"city": city, "text": f"word {len(self.told) + 1}"}
        self.told.append(said)
        return self.said(self.post("stations", "/words", **said), f"POST /words {said}")

    def said(self, answer: httpx.Response, sent: str) -> str:
        """Return the subject on which the stations have said something."""
        expect(answer.status_code == 201, sent=ascii(sent), expected="201 and the subject", came=answer,
               why="a name comes from outside: there is none that a station may stumble over", look=TOKEN,
               service="stations")  # fmt: skip
        return str(answer.json()["subject"])

    def board(self, **wish: str | None) -> str:
        """Put up a board and return its id."""
        answer = self.post("citymap", "/boards", **wish)
        expect(answer.status_code == 201, sent=ascii(f"POST /boards {wish}"), expected="201", came=answer,
               why="the client takes no filter with an empty token, a blank, or `>` before its end", look=FILTERS,
               service="citymap")  # fmt: skip
        return str(answer.json()["board_id"])

    def shown(self, board_id: str) -> list[dict[str, str]]:
        """Return what a board has heard, in an order of its own."""
        answer = self.client.get(f"{self.urls['citymap']}/boards/{board_id}")
        expect(answer.status_code == 200, sent=f"GET /boards/{board_id}", expected="200", came=answer,
               why="one subject that cannot be read must not darken the board", look=NAME_OF,
               service="citymap")  # fmt: skip
        return in_order(answer.json()["heard"])

    def wanted(self, city: str | None, station: str | None, event: str | None) -> list[dict[str, str]]:
        """Return what a board has to hear, by the names as they were given."""
        wish = {"city": city, "station": station, "event": event}
        set_ones = {key: value for key, value in wish.items() if value is not None}
        return in_order(said for said in self.told if set_ones == {k: said[k] for k in set_ones if k in said})


def in_order(messages: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return messages in one order, whatever the order in which they came."""
    return sorted(messages, key=lambda message: sorted(message.items()))


def difference(came: list[dict[str, str]], wanted: list[dict[str, str]]) -> str:
    """Return in ASCII what is missing, too much, or there twice."""
    missing = [each for each in wanted if each not in came]
    strange = [each for each in came if each not in wanted]
    twice = [each for place, each in enumerate(came) if each in came[:place]]
    return ascii({"missing": missing[:3], "too much": strange[:3], "twice": twice[:3]})


@pytest.fixture
def town(city: Any) -> Iterator[Town]:
    """The town of a running city."""
    with httpx.Client(timeout=CALL_SECONDS, trust_env=False) as client:
        yield Town(city, client)


def everything(spy: Any) -> list[Heard]:
    """Return all that a spy who hears `>` was sent since the last time."""
    spy.publish(BELL, b"")
    eventually(lambda: spy.on(BELL), BELL_SECONDS)
    heard = [message for message in spy.heard if message.subject != BELL]
    spy.heard.clear()
    return heard


@pytest.mark.city(skip=["rides", "wallet"])
def test_every_name_comes_back(town: Town) -> None:
    """Whatever a city or a station is called, a board shows its very name."""
    board = town.board()
    for name, other in zip(NAMES, NAMES[7:] + NAMES[:7], strict=True):
        town.move(name, other)
    came, wanted = town.shown(board), town.wanted(None, None, None)
    expect(came == wanted, sent=f"POST /moves for {len(NAMES)} names of cities and stations; one board of everything",
           expected="each move once, with the names of its city and its station as they were given",
           came=difference(came, wanted), why="a rider looks for a station by its name, not by what is left of it",
           look=f"{TOKEN}, name_of", service="citymap")  # fmt: skip
    refused = town.post("stations", "/words", city="n" * 301, text="too long").status_code
    expect(refused == 422, sent="POST /words for a city with a name of 301 bytes", expected="422", came=refused,
           why="NATS hangs up on whoever sends a subject of more than 4,096 bytes", look="subjects.py: Name",
           service="stations")  # fmt: skip


@pytest.mark.city(skip=["rides", "wallet"])
def test_two_names_are_two_subjects(town: Town, spy_on: Any) -> None:
    """Names that differ have subjects that differ, of four tokens and without wildcards; nothing else is said."""
    spy = spy_on(town.city)
    spy.hears(">")
    said = {name: town.move(name, "A1") for name in NAMES}
    tokens = {subject.split(".")[1] for subject in said.values()} - set(NAMES)
    said |= {token: town.move(token, "A1") for token in tokens if len(token.encode()) <= MOST_NAME_BYTES}
    bad = {name: subject for name, subject in said.items() if not well_formed(subject)}
    expect(not bad, sent=f"POST /moves for {len(said)} cities, each at the station A1",
           expected="subjects of four tokens: bike, the city, the station, taken", came=ascii(bad),
           why="a dot makes two tokens, a name with nothing left makes none, and * and > are for those who listen",
           look=TOKEN, service="stations")  # fmt: skip
    alike = {name: subject for name, subject in said.items() if list(said.values()).count(subject) > 1}
    expect(not alike, sent="the same moves; some cities are called as the token of another one",
           expected="a subject of its own for each city", came=ascii(alike),
           why="two cities on one subject: the riders of one are shown the bikes of the other", look=TOKEN)  # fmt: skip
    heard = [message.subject for message in everything(spy)]
    expect(sorted(heard) == sorted(said.values()), sent="the same moves; a spy hears all that is said at the broker",
           expected="these moves and nothing else",
           came=ascii({"said": sorted({*said.values()} - {*heard}), "heard": sorted({*heard} - {*said.values()})}),
           why="a name with a line break can hold a command for the broker", look=TOKEN)  # fmt: skip


def well_formed(subject: str) -> bool:
    """Tell whether this is the subject of a bike taken at the station A1."""
    tokens = subject.split(".")
    safe = all(token and not set(token) & set("*> \t\r\n\v\f\0") for token in tokens)
    return len(tokens) == 4 and tokens[0] == "bike" and tokens[3] == "taken" and safe


@pytest.mark.city(skip=["rides", "wallet"])
def test_each_board_hears_what_it_wants(town: Town) -> None:
    """A board hears each message that it wants once: of a city, a station, an event, and any mixture of them."""
    boards = [(wish, town.board(**wish)) for wish in WISHES]
    for move in PLAIN_MOVES:
        town.move(*move)
    for city in ("ulm", "bern"):
        town.word(city)
    wrong = judged(town, boards)
    expect(not wrong, sent=f"{len(PLAIN_MOVES)} moves and a word to each of two cities; {len(boards)} boards listen",
           expected="each board hears what it wants once; a word: the boards without station and event", came=wrong,
           why="`*` is one token; `>` is one or more at the end: bike.ulm.> does not match bike.ulm", look=FILTERS,
           service="citymap")  # fmt: skip


def judged(town: Town, boards: Iterable[tuple[dict[str, str | None], str]]) -> str:
    """Return in ASCII what is wrong with the first boards that have not heard what they want; nothing if all have."""
    shown = [(wish, town.shown(board), town.wanted(**wish)) for wish, board in boards]
    wrong = [f"{wish!a}: {difference(came, wanted)}" for wish, came, wanted in shown if came != wanted]
    return "\n".join(wrong[:3])


@pytest.mark.city(skip=["rides", "wallet"])
def test_a_name_is_no_wildcard(town: Town) -> None:
    """Boards of cities and stations called "*", ">", "" or "A.1" hear these, and no others."""
    wishes = [dict.fromkeys(("city", "station", "event"))]
    wishes += [{"city": name, "station": None, "event": None} for name in HOSTILE]
    wishes += [{"city": None, "station": name, "event": None} for name in HOSTILE]
    wishes += [{"city": name, "station": name, "event": "taken"} for name in HOSTILE]
    boards = [(wish, town.board(**wish)) for wish in wishes]
    for name in HOSTILE:
        town.word(name)
        town.move(name, "A1", "returned")
        town.move(name, name)
    wrong = judged(town, boards)
    expect(not wrong, sent=f"moves and words of {len(HOSTILE)} cities and stations such as '*', '>', '' and 'A.1'",
           expected="each board hears its own city or station, by its very name", came=wrong,
           why="who calls a station `*` would see the whole city; and the empty name is a name, None is none",
           look=FILTERS, service="citymap")  # fmt: skip


# --- who may say and hear what ---

SERVICES = ("stations", "citymap", "rides", "wallet")
MOVE, WORD, CHARGE, RECORD = "bike.ulm.A1.taken", "bike.ulm", "wallet.charge", "$JS.API.STREAM.CREATE.LOOT"
ANSWERS, CENTS = "_INBOX.rides.", 250
SUBJECTS = (MOVE, WORD, CHARGE, "wallet.refund", "wallet", "bike", "ride.ended", "check.it", "_INBOX.citymap.x",
            "_INBOX.stations.x", "_INBOX.lab.x", RECORD)  # fmt: skip
MAY_SAY = {"stations": {MOVE, WORD}, "citymap": set(), "rides": {CHARGE}, "wallet": set()}
RECORDER = json.dumps({"name": "LOOT", "subjects": ["wallet.>"], "storage": "memory"})  # keep all that is asked of it
EARS = (">", "*", "*.>", "*.*", "*.*.*", "bike.>", "bike.*", "wallet.>", CHARGE, "_INBOX.>", "_INBOX.rides.>",
        "_INBOX.lab.>", "_INBOX.citymap.>", "check.>")  # fmt: skip
WHISPERS = ("wallet.refund", "check.it", "ride.ended", "_INBOX.lab.x", "_INBOX.citymap.x", "_INBOX.stations.x")
OWN = {service: {f"_INBOX.{service}.x"} for service in SERVICES}  # an inbox of one's own harms nobody
OWN["wallet"] |= {"wallet.refund"}
STRANGERS: tuple[dict[str, str], ...] = (
    {}, {"user": "citymap"}, {"user": "citymap", "pass": ""}, {"user": "citymap", "pass": "citymap"},
    {"user": "lab", "pass": "lab"}, {"user": "wallet", "pass": "$WALLET_PASSWORD"}, {"user": "root", "pass": "root"},
)  # fmt: skip
UNREADABLE = (
    ("bike.ulm.A1", b"{}"), ("bike.a.b.c.d", b"{}"), ("bike.%FF.%ZZ.taken", b""), ("bike.=.==.taken", b"[]"),
    ("bike.\u4e2d.zzz.taken", b"x" * 2**20), ("bike.ulm", b'{"id": "1", "type": "city.told", "version": 2}'),
    (CHARGE, b""), (CHARGE, b"x" * 2**20), (CHARGE, b'{"ride_id": "r-9", "rider_id": "nobody", "cents": 1}'),
)  # fmt: skip
FORBIDDEN = (
    "the table in subjects.conf says all that is allowed; `permissions` allow what they do not mention, "
    "and an empty list mentions nothing"
)
USERS = "subjects.conf: the user {}"


def charge(town: Town, ride_id: str) -> int:
    """Let rides charge Ada for a ride and return the status."""
    return town.post("rides", "/charges", ride_id=ride_id, rider_id="ada", cents=CENTS).status_code


def only(may: set[str]) -> str:
    """Return in words what somebody may say or hear."""
    return f"{' and '.join(sorted(may)) or 'nothing'}, and no other subject"


def wrong_subjects(came: set[str], may: set[str]) -> str:
    """Return what was possible and is forbidden, and what is allowed and was not possible."""
    return json.dumps({"forbidden, and it went": sorted(came - may), "allowed, and it did not go": sorted(may - came)})


def test_nobody_says_what_is_not_theirs(town: Town, spy_on: Any) -> None:
    """Whoever gets into a service can say what this service has to say, and nothing else."""
    spy = spy_on(town.city)
    spy.hears(">")
    for service in SERVICES:
        town.post(service, "/intruder/hears", filters=["bike.>"])
        spy.publish(MOVE, b"who hears this?", reply="check.it")  # no reason for anybody to answer
        town.post(service, "/intruder/says", subjects=SUBJECTS, text=RECORDER)
        said = {message.subject for message in everything(spy) if message.data == RECORDER.encode()} & {*SUBJECTS}
        said |= {RECORD} if spy.stream("LOOT") else set()
        expect(said == MAY_SAY[service],
               sent=f"POST /intruder/says to {service}, with {len(SUBJECTS)} subjects; a spy hears all",
               expected=only(MAY_SAY[service]),
               came=wrong_subjects(said, MAY_SAY[service]), why=FORBIDDEN, look=USERS.format(service),
               service=service)  # fmt: skip


def test_nobody_hears_what_is_not_theirs(town: Town, spy_on: Any) -> None:
    """Whoever gets into a service hears what this service has to hear: of no charge, and of no answer to another."""
    spy = spy_on(town.city)
    for service in SERVICES:
        town.post(service, "/intruder/hears", filters=EARS)
    may = {"citymap": {town.move("ulm", "A1"), town.word("ulm")}, "rides": {ANSWERS}, "wallet": {CHARGE}}
    charge(town, "r-1")
    for subject in WHISPERS:
        spy.publish(subject, b"secret")
    for service in SERVICES:
        subjects = town.client.get(f"{town.urls[service]}/intruder/heard").json()
        heard = {ANSWERS if subject.startswith(ANSWERS) else subject for subject in subjects} - OWN[service]
        expect(heard == may.get(service, set()),
               sent=f"POST /intruder/hears to {service}, {len(EARS)} filters; then a move, a word, a charge, secrets",
               expected=only(may.get(service, set())),
               came=wrong_subjects(heard, may.get(service, set())), why=FORBIDDEN, look=USERS.format(service),
               service=service)  # fmt: skip


def login(url: str, **who: str) -> str:
    """Return the first words that the broker says to somebody who comes with this name and password."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), LOGIN_SECONDS) as door:
        answers = door.makefile("rb")
        answers.readline()  # INFO: the broker speaks first
        door.sendall(f"CONNECT {json.dumps({'verbose': False, **who})}\r\nPING\r\n".encode())
        return answers.readline().decode().strip()


@pytest.mark.city(skip=["stations", "citymap", "rides", "wallet"])
def test_strangers_are_turned_away(city: Any) -> None:
    """Without a password, with an empty, a wrong or a guessed one, nobody gets in."""
    url = city["broker"].url
    ours = login(url, user="lab", **{"pass": str(urlsplit(url).password)})
    expect(ours == "PONG", sent="CONNECT as lab, with its password", expected="PONG", came=ours,
           why="the notebook and the checks look on as lab", look=USERS.format("lab"), service="broker")  # fmt: skip
    for who in STRANGERS:
        came = login(url, **who)
        expect("authorization violation" in came.lower(), sent=f"CONNECT {json.dumps(who)}",
               expected="-ERR 'Authorization Violation'", came=came,
               why="who need not say who it is may do what the user may whom the broker takes it for",
               look="subjects.conf", service="broker")  # fmt: skip


def disturb(town: Town, spy: Any) -> None:
    """Let the broker refuse something to each service, and say what nobody can read."""
    for service in SERVICES:
        town.post(service, "/intruder/says", subjects=["check.it"], text="hello")
        town.post(service, "/intruder/hears", filters=[">"])
    for subject, content in UNREADABLE:
        spy.publish(subject, content)


def test_the_city_goes_on(town: Town, spy_on: Any) -> None:
    """After refusals, and messages that cannot be read, each service does its work: a ride is charged once."""
    board = town.board()
    disturb(town, spy_on(town.city))
    for move in PLAIN_MOVES:
        town.move(*move)
    town.word("ulm")
    statuses = [charge(town, ride) for ride in ("r-1", "r-1")]
    came, wanted = town.shown(board), town.wanted(None, None, None)
    expect(came == wanted, sent="refused attempts and unreadable messages; then moves and a word",
           expected="a board of everything shows the moves and the word", came=difference(came, wanted),
           why="the map is dark in the whole city when one message can stop it", look=f"{NAME_OF}, subjects.conf",
           service="citymap")  # fmt: skip
    taken = rows(town.city["wallet"].data, "SELECT ride_id, captured_cents FROM holds ORDER BY ride_id")
    expect(statuses == [201, 201] and taken == [{"ride_id": "r-1", "captured_cents": CENTS}],
           sent="POST /charges to rides for r-1, and for r-1 again",
           expected="201 each time, and one row in the wallet", came={"status": statuses, "wallet": taken},
           why="rides must be able to ask and to hear the answer, and the wallet to hear and to answer",
           look="subjects.conf: the users rides and wallet", service="rides")  # fmt: skip
    laws = town.city.laws()
    expect(laws.kept, sent="the same charges", expected="the laws are kept", came=list(laws.broken),
           why="money neither appears nor vanishes", look="subjects.conf", service="wallet")  # fmt: skip
