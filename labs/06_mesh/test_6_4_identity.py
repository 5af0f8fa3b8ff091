"""Checks of task 6.4, from outside in: what gets through that should not, and what does not that should."""

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from cryptography import x509

from lab_services.bikeshare.interfaces import compiled
from lab_services.checks import eventually, expect
from lab_services.checks.mesh_outsider import Impostor, Outsider, Said, Visit
from lab_services.mesh.authority import Authority, Certificate, open_authority, spiffe_name
from lab_services.mesh.registry import read
from lab_services.mesh.tokens import TokenIssuer, open_token_issuer

TLS, POLICY = "identity.py", "identity_policy.py"
MESSAGES, _ = compiled("bikeshare/locks/v1/locks.proto")
LOCKS = "/bikeshare.locks.v1.LocksService/"
RIDERS, AUDIENCE = "riders.bikeshare.example", "bikeshare"
CERTIFICATE_SECONDS = 600  # as in lab.toml, shape identity
CHANGE_SECONDS = 4.0  # from a change at the plane until every Envoy obeys: mostly 0.2
OTHERS = 0o077  # the rights of other users
CALL_OF_GRPC = b"PRI * HTTP/2.0"  # what a call begins with, once the caller believes that this is locks
VISIT_SECONDS, PACE_SECONDS, MORE_CALLS = 1.0, 0.02, 5
ELSEWHERE = "a token for another audience"
EXPIRED = -120.0  # seconds of life; JWT and certificates forgive some difference of clocks
ALLOWED = [
    "rides: locks Unlock",
    "stations: locks ListLocks",
    "stations: locks GetLock",
    "edge: rides GET /rides",
    "edge: rides GET /rides/r-none",
    "edge: rides PUT /rides/r-none",
]
NOT_LISTED = [
    *(f"rides: locks {what}" for what in ("Lock", "LockSession", "GetLock", "UnlockAll", "Unlock/all", "GET Unlock")),
    *(f"stations: locks {what}" for what in ("Unlock", "LockSession", "GetBattery", "GET ListLocks")),
    "edge: locks Unlock",
    *(f"edge: rides {what}" for what in ("DELETE /rides/r-1", "PUT /rides", "GET /rides-export", "GET /openapi.json")),
    "rides: rides GET /rides",
    "stations: rides PUT /rides/r-none",
]
NEARLY = (
    "bikeshare.example/rides-evil",
    "bikeshare.example/depot/rides",
    "bikeshare.example/Rides",
    "village.example/rides",
)


class Town:
    """The city of task 6.4, and what an attacker knows of it, with certificates of the city's own authority."""

    def __init__(self, city: Any) -> None:
        self.city = city
        self.mesh = city["plane"].data / "mesh.json"
        self.nodes = {node.service: node for node in read(self.mesh)}
        self.web = httpx.Client(base_url=city["edge"].url, trust_env=False, timeout=5)
        self.plane = city["plane"].url
        self.riders = open_token_issuer(city["plane"].data / "riders.pem", RIDERS)

    def authority(self, part: str = "current") -> Authority:
        """Return an authority of the city: a stolen key, or a service that was taken over."""
        return open_authority(self.city["plane"].data / "authorities" / f"{part}.pem")

    def certificate(self, name: str, seconds: float = 300) -> Certificate:
        """Return a certificate of the city for a service, or for any name."""
        return self.authority().issue(name if "://" in name else spiffe_name(name), seconds)

    def call(self, who: Outsider, service: str, what: str, **headers: str) -> Said:
        """Call a sidecar: an rpc of locks (`Unlock`), or method and path at rides (`GET /rides`)."""
        port, told = self.nodes[service].inbound, {name.replace("_", "-"): value for name, value in headers.items()}
        method, _, path = what.rpartition(" ")
        if service == "rides":
            return who.call(port, method, path, headers={"x-rider": "ada", **told}, body=b"{}")
        wish = MESSAGES.UnlockRequest(lock_id="l-02", ride_id="r-outside")
        if path == "LockSession":
            opens = MESSAGES.SESSION_COMMAND_OPEN
            wish = MESSAGES.LockSessionRequest(command=opens, lock_id="l-02", ride_id="r-outside")
        return who.call(port, method or "POST", LOCKS + path, headers=told, grpc=wish.SerializeToString())

    def calls(self, lines: Sequence[str], **headers: str) -> dict[str, Said]:
        """Make calls that are written so: who: service what, with certificates of the city."""
        found = {}
        for line in lines:
            who, _, call = line.partition(": ")
            service, _, what = call.partition(" ")
            found[line] = self.call(Outsider(self.certificate(who)), service, what, **headers)
        return found

    def ride(self, call: str, token: str | None = None, says: str = "mayor", lock: str = "l-01") -> httpx.Response:
        """Come in at the edge with method and path: as ada, or with this token; `says` is our own x-rider."""
        method, path = call.split()
        token = self.riders.token("ada", AUDIENCE) if token is None else token
        headers = {"x-rider": says} | ({"authorization": f"Bearer {token}"} if token else {})
        return self.web.request(method, path, json={"lock_id": lock} if method == "PUT" else None, headers=headers)

    def troubles(self) -> dict[str, Any]:
        """Return what went wrong between the plane and its Envoys, by node."""
        nodes = httpx.get(f"{self.plane}/mesh", trust_env=False).json()["nodes"]
        refused = {n: [s["kind"] for s in one["subscriptions"] if s["state"] == "refused"] for n, one in nodes.items()}
        return {
            name: one.get("error") or refused[name] for name, one in nodes.items() if "error" in one or refused[name]
        }

    def step(self, step: str) -> None:
        """Let the operator take a step in the change of authorities."""
        httpx.post(f"{self.plane}/authorities/{step}", trust_env=False).raise_for_status()

    def lets_in(self, authority: Authority) -> bool:
        """Tell whether both sidecars talk to somebody with a certificate of this authority."""
        edge, rides = (Outsider(authority.issue(spiffe_name(name))) for name in ("edge", "rides"))
        return bool(self.call(edge, "rides", "GET /rides").status and self.call(rides, "locks", "Unlock").status)

    def shown(self, service: str) -> x509.Certificate:
        """Return the certificate that a sidecar shows; one that expired long ago when it shows none."""
        found = Outsider(self.certificate("edge")).looks(self.nodes[service].inbound)
        return found or _parsed(Authority().issue(spiffe_name(service), EXPIRED))

    def secrets(self) -> list[tuple[str, str]]:
        """Return what each Envoy holds now, as PEM: those whom it believes, and its own certificate."""
        found = []
        for service in ("edge", "rides", "locks"):
            address = f"http://127.0.0.1:{self.nodes[service].admin}/config_dump?resource=dynamic_active_secrets"
            held = [one.get("secret", {}) for one in httpx.get(address, trust_env=False).json().get("configs", [])]
            trusted = [_inline(one.get("validation_context", {}).get("trusted_ca", {})) for one in held]
            own = [_inline(one.get("tls_certificate", {}).get("certificate_chain", {})) for one in held]
            found.append(("".join(trusted), "".join(own)))
        return found

    def held_by_all(self, authority: Authority, wanted: bool = True) -> bool:
        """Wait until every Envoy believes an authority, or none does; tell whether that came."""
        pem = authority.pem.strip()
        return eventually(lambda: [pem in held for held, _ in self.secrets()] == [wanted] * 3, CHANGE_SECONDS)

    def signed_by(self, authority: Authority) -> bool:
        """Wait until every Envoy has a certificate of an authority, and shows it; tell whether that came."""

        def look() -> bool:
            own = [_signed(x509.load_pem_x509_certificate(pem.encode()), authority) for _, pem in self.secrets() if pem]
            return own == [True] * 3 and all(_signed(self.shown(name), authority) for name in ("rides", "locks"))

        return eventually(look, CHANGE_SECONDS)

    @contextmanager
    def locks_elsewhere(self, port: int) -> Iterator[None]:
        """Let the registry say that the locks are at another port of this machine, as an attacker would."""
        before = self.mesh.read_text()
        entries = json.loads(before)
        (own,) = [one for one in entries if one["service"] == "locks"]
        false = own | {"node": "locks-9", "replica": 9, "inbound": port, "admin": 0, "app": "", "state": "ready"}
        self._replace(json.dumps([*(e | ({"state": "down"} if e is own else {}) for e in entries), false]))
        try:
            yield
        finally:
            self._replace(before)
            eventually(lambda: self.ride("PUT /rides/r-1").status_code == 200, CHANGE_SECONDS)

    def _replace(self, content: str) -> None:
        fresh = self.mesh.with_suffix(".false")
        fresh.write_text(content)
        fresh.replace(self.mesh)


def _inline(source: dict[str, Any]) -> str:
    """Return the content of an Envoy's DataSource."""
    text = source.get("inline_string") or base64.b64decode(source.get("inline_bytes", "")).decode()
    return str(text)


def _parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.certificate.encode())


def _signed(certificate: x509.Certificate, authority: Authority) -> bool:
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))
    except Exception:
        return False
    return True


@pytest.fixture(scope="module")
def city(cities: Any) -> Iterator[Any]:
    """One city for all checks of this task: each leaves it as it was."""
    with cities.city("identity", {}) as running:
        yield running


@pytest.fixture
def town(city: Any) -> Iterator[Town]:
    """The city, looked at from outside, once its Envoys live by what the plane has told them."""
    made = Town(city)
    with made.web:
        eventually(lambda: not made.troubles(), CHANGE_SECONDS)
        troubles = made.troubles()
        expect(not troubles, sent=f"GET {made.plane}/mesh", expected="every Envoy has taken what the plane has for it",
               came=troubles, look=f"{TLS}; {POLICY}; the log of the sidecar has Envoy's words", service="plane",
               why="an Envoy that refuses something goes on with what it had before")  # fmt: skip
        yield made


@pytest.fixture
def impostor(town: Town) -> Iterator[Impostor]:
    """Somebody who poses as the locks."""
    made = Impostor(town.authority())
    yield made
    made.close()


def open_ways(town: Town) -> list[str]:
    """Return the ways to the services, beside the inbound ports of their sidecars, that are open."""
    found = []
    for service in ("rides", "locks"):
        found += [f"a TCP port of {service} itself" for _ in listens(town, service)]
        if Path(town.nodes[service].app).parent.stat().st_mode & OTHERS:
            found += [f"the socket of {service}, for other users"]
        if listens(town, f"{service}_sidecar") != {"127.0.0.1"}:
            found += [f"a port of the sidecar of {service}, for other machines"]
    return found


def listens(town: Town, name: str) -> set[str]:
    """Return the addresses at which a service has TCP ports."""
    processes = [psutil.Process(pid) for pid in town.city[name].pids]
    sockets = [socket for process in processes for socket in process.net_connections("inet")]
    return {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}


def first_fault(town: Town, statuses: list[int]) -> str:
    """Change the certificates, then the authority, step by step; return what was wrong first, or nothing."""
    old, first = town.authority(), town.shown("locks")
    left = (first.not_valid_after_utc - datetime.now(UTC)).total_seconds()
    if not 0 < left <= CERTIFICATE_SECONDS + 1:
        return f"the certificate of locks lives for {left / 3600:.1f} more hours"
    goes_on(statuses)
    if set(statuses) - {200}:
        return "calls fail before anything has changed: make the checks above pass first"
    town.step("renew")
    if not eventually(lambda: town.shown("locks") != first, CHANGE_SECONDS):
        return "after `renew` locks shows the same certificate"
    town.step("prepare")
    new = town.authority("next")
    if not (town.held_by_all(new) and town.lets_in(new)):
        return "after `prepare` not everybody believes the next authority"
    if not _signed(town.shown("locks"), old):
        return "the next authority signs before the switch"
    goes_on(statuses)
    town.step("switch")
    if not town.signed_by(new):
        return "after `switch` not everybody shows a certificate of the authority that is current"
    if not town.lets_in(old):
        return "after `switch` the previous authority is not believed any more"
    goes_on(statuses)
    town.step("retire")
    if not town.held_by_all(old, wanted=False) or town.lets_in(old):
        return "after `retire` the authority that was given up is still believed"
    goes_on(statuses)
    return ""


def goes_on(statuses: list[int]) -> None:
    """Wait for some more calls."""
    more = len(statuses) + MORE_CALLS
    eventually(lambda: len(statuses) >= more, CHANGE_SECONDS)


def visit(town: Town, impostor: Impostor, shown: Certificate | None, within: float = VISIT_SECONDS) -> Visit | None:
    """Let rides call the locks while the impostor shows this; return who came first, if anybody."""
    impostor.present(shown)
    town.ride("PUT /rides/r-1")
    return eventually(lambda: next(iter(impostor.visits), None), within)


def is_told(visit: Visit | None) -> bool:
    """Tell whether a caller has begun its call."""
    return visit is not None and visit.told.startswith(CALL_OF_GRPC)


def bad_tokens(town: Town) -> dict[str, str]:
    """Return tokens that prove nothing."""
    elsewhere = open_token_issuer(town.city["plane"].data / "riders.pem", "scooters.example")  # with the same key
    head, _, signature = town.riders.token("ada", AUDIENCE).split(".")
    mayor = town.riders.token("mayor", AUDIENCE).split(".")[1]
    return {
        "no token": "",
        "a word": "ada",
        "an expired token": town.riders.token("ada", AUDIENCE, EXPIRED),
        "a token with a stranger's signature": TokenIssuer(RIDERS).token("ada", AUDIENCE),
        "a token of another issuer": elsewhere.token("ada", AUDIENCE),
        "a token with somebody else's claims": f"{head}.{mayor}.{signature}",
        ELSEWHERE: town.riders.token("ada", "scooters"),
    }


def rider_of(started: httpx.Response) -> str:
    """Return whose ride it is, or in words that it has not started."""
    if started.status_code != 200:
        return f"nobody, for her PUT got {started.status_code}"
    return str(started.json().get("rider"))


def why_of_riders(let_in: dict[str, int], mine: str, wrong: dict[str, int]) -> str:
    """Say what a failure at the edge means."""
    if let_in:
        return f"with {next(iter(let_in))} the edge does not say who may not pass: riders ride on the account of others"
    if mine.startswith("nobody"):
        return "a rider with a good token wants a bike, and gets none"
    if mine != "ada":
        return f"a header of the caller decides that the rider is {mine}: everybody rides on the account of others"
    return f"{next(iter(wrong), 'nothing')}: a rider has other rights than the table gives"


@contextmanager
def riding(town: Town) -> Iterator[list[int]]:
    """Call all the time, and give the statuses: each call is two handshakes."""
    found: list[int] = []
    done = threading.Event()

    def keep_riding() -> None:
        while not done.wait(PACE_SECONDS):
            found.append(town.ride("PUT /rides/r-1").status_code)

    thread = threading.Thread(target=keep_riding)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def test_only_who_has_a_certificate_of_the_city_gets_in(town: Town) -> None:
    """Plain text, no certificate, an expired or a stranger's one get no answer; there is no way around a sidecar."""
    rides = spiffe_name("rides")
    strangers = {
        "plain text": Outsider(plain=True),
        "no certificate": Outsider(),
        "an expired certificate": Outsider(town.authority().issue(rides, EXPIRED)),
        "a certificate of a stranger's authority": Outsider(Authority().issue(rides)),
    }
    calls = [("locks", "Unlock"), ("rides", "GET /rides")]
    said = {f"{who}, {to}": town.call(o, to, what) for who, o in strangers.items() for to, what in calls}
    let_in = {who: str(answer) for who, answer in said.items() if answer.status}
    known = town.calls(["rides: locks Unlock", "edge: rides GET /rides", "stations: locks Unlock"])
    refused = {who: str(answer) for who, answer in known.items() if not answer.status}
    sent = f"calls to the sidecars of locks and rides: {', '.join(strangers)}; then with certificates of the city"
    around = open_ways(town)
    expect(not let_in and not refused and not around, sent=sent, expected="no answer to strangers, an answer to the "
           "services of the city, no way around a sidecar", came=f"strangers with an answer: {let_in or 'none'}; "
           f"services without: {refused or 'none'}; open: {around or 'no other way'}", service="locks_sidecar",
           look=f"{TLS}: inbound_tls, secrets", why=f"{next(iter(let_in))}: that is enough to talk to a service, so "
           "whoever is in the network is in the city" if let_in else "services do not know each other")  # fmt: skip


def test_a_caller_tells_nothing_to_an_impostor(town: Town, impostor: Impostor) -> None:
    """The registry leads rides to somebody who poses as the locks: only who proves to be locks hears of the call."""
    ours, locks = town.authority(), spiffe_name("locks")
    false = {
        "a certificate of the service stations": ours.issue(spiffe_name("stations")),
        "a certificate of the service rides": ours.issue(spiffe_name("rides")),
        "a certificate of the service locks-old": ours.issue(f"{locks}-old"),
        "a certificate of spiffe://village.example/locks": ours.issue("spiffe://village.example/locks"),
        "an expired certificate of locks": ours.issue(locks, EXPIRED),
        "a certificate of locks by a stranger's authority": Authority().issue(locks),
        "no certificate": None,
    }
    with town.locks_elsewhere(impostor.port):
        heard = eventually(lambda: visit(town, impostor, ours.issue(locks), 0.05), CHANGE_SECONDS)
        fooled = [what for what, shown in false.items() if heard and is_told(visit(town, impostor, shown))]
        right = visit(town, impostor, ours.issue(locks)) if heard else None
    expect(right and is_told(right) and right.caller == spiffe_name("rides") and not fooled, sent="calls of rides to "
           f"one who poses as locks, with {', '.join(false)}; then that of locks", expected="the last one hears of "
           "the call, from rides; nobody else does", came=f"has heard of it: {fooled or 'none of the others'}; the "
           f"last one: {right}", look=f"{TLS}: outbound_tls", service="rides_sidecar", why=f"with {fooled[0]} one can "
           "pose as the locks of the city" if fooled else "rides does not prove to locks who it is")  # fmt: skip


def test_nothing_is_allowed_that_is_not_listed(town: Town) -> None:
    """Each service may do at another what the table lists; another path, another method, another service may not."""
    allowed, others = town.calls(ALLOWED), town.calls(NOT_LISTED)
    refused = {line: str(said) for line, said in allowed.items() if said.is_forbidden or not said.status}
    passed = {line: str(said) for line, said in others.items() if not said.is_forbidden}
    expect(not refused and not passed, sent=f"{len(ALLOWED)} calls that the table lists and {len(NOT_LISTED)} that it "
           "does not, with the certificates of their callers (written so: caller: service, call)", expected="the first "
           "get through; the others get 403, or PERMISSION_DENIED", came=f"not listed, and not forbidden: "
           f"{passed or 'none'}; listed, and refused: {refused or 'none'}", look=f"{POLICY}: filters",
           service="locks_sidecar", why=f"{next(iter(passed))} is on no list, and nothing forbids it: what is new or "
           "forgotten has to be refused" if passed else "a service that may not do its work is an outage")  # fmt: skip


def test_a_caller_is_whom_its_certificate_names(town: Town) -> None:
    """With another name in the certificate, or nearly the right one, no header that says `rides` opens a lock."""
    forged = f"By={spiffe_name('locks')};URI={spiffe_name('rides')}"
    names = ["stations", "edge", *(f"spiffe://{name}" for name in NEARLY)]
    lines = [f"{name}: locks Unlock" for name in names]
    said = town.calls(lines, x_service_name="rides", x_forwarded_client_cert=forged)
    said |= town.calls([f"{name}: rides GET /rides/r-1" for name in ("stations", "rides")], x_service_name="edge")
    own = town.calls(["rides: locks Unlock", "edge: rides GET /rides"], x_service_name="mayor")
    passed = [line for line, answer in said.items() if not answer.is_forbidden]
    refused = [line for line, answer in own.items() if answer.status != 200 or answer.is_forbidden]
    expect(not passed and not refused, sent=f"Unlock with certificates of {', '.join(names)}, and headers that say "
           "rides; with those of rides and edge, and headers that say mayor", expected="403 or PERMISSION_DENIED; the "
           "last ones get through", came=f"not forbidden: {passed or 'none'}; refused: {refused or 'none'}",
           look=f"{POLICY}: filters", service="locks_sidecar", why=f"{next(iter(passed or refused), '')}: whoever is "
           "taken for another service has all its rights; a header or half a name is no proof")  # fmt: skip


def test_a_rider_is_whom_the_token_names(town: Town) -> None:
    """Nobody gets in at the edge without a good token; with one, x-rider is its claim, whatever the caller says."""
    tokens = bad_tokens(town)
    came = {what: town.ride("PUT /rides/r-bad", token, lock="l-04").status_code for what, token in tokens.items()}
    let_in = {what: status for what, status in came.items() if status != (403 if what == ELSEWHERE else 401)}
    mine = rider_of(town.ride("PUT /rides/r-ada", says="bea", lock="l-03"))
    bea, eve = (town.riders.token(name, AUDIENCE, role=role) for name, role in (("bea", "rider"), ("eve", "operator")))
    tried = {
        "bea reads the ride of ada": (town.ride("GET /rides/r-ada", bea, says="ada"), 403),
        "ada reads her ride": (town.ride("GET /rides/r-ada"), 200),
        "bea reads all rides": (town.ride("GET /rides", bea), 403),
        "eve, an operator, reads all rides": (town.ride("GET /rides", eve), 200),
        "ada deletes her ride": (town.ride("DELETE /rides/r-ada"), 403),
    }
    wrong = {what: answer.status_code for what, (answer, status) in tried.items() if answer.status_code != status}
    expect(not let_in and mine == "ada" and not wrong, sent=f"to the edge: {', '.join(tokens)}; the token of ada with "
           f"the header x-rider: bea; then {', '.join(tried)}", expected="401, for another audience 403; the ride is "
           f"ada's; in this order {[status for _, status in tried.values()]}", came=f"another answer: "
           f"{let_in or 'none'}; the rider is {mine}; then another answer: {wrong or 'none'}",
           look=f"{POLICY}: filters", service="edge",
           why=why_of_riders(let_in, mine, wrong))  # fmt: skip


def test_authorities_change_without_a_failed_call(town: Town) -> None:
    """Certificates are renewed, then another authority takes over: no call fails, the old one is known no more."""
    with riding(town) as statuses:
        fault = first_fault(town, statuses)
    lost = sorted(set(statuses) - {200})
    expect(not fault and not lost, sent="to the plane: renew, prepare, switch, retire, each after the Envoys have "
           f"obeyed the one before, and {len(statuses)} calls of ada meanwhile", expected="certificates that live for "
           f"{CERTIFICATE_SECONDS} s at most, signed by `current`; `previous`, `current` and `next` are believed; no "
           "call fails", came=f"{fault or 'all of that'}; statuses other than 200: {lost or 'none'}",
           look=f"{TLS}: secrets", service="plane", why=f"{fault or 'a call failed'}: a change of certificates that "
           "hurts is put off until they have expired, or have been stolen")  # fmt: skip
