"""Identity: certificates, paths and tokens decide who may do what, never what a caller says of itself."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab_services.mesh.authority import Authority, Certificate, bundle, spiffe_name
from lab_services.mesh.registry import Workload
from lab_services.mesh.resources import (
    Resources,
    call_to,
    caller,
    claim_is,
    cluster,
    downstream_tls,
    endpoints,
    external_authorization,
    jwt,
    listener_inbound,
    policy,
    rbac,
    trust_secret,
    typed,
)
from lab_services.mesh.sidecars import sidecar
from lab_services.mesh.tokens import TokenIssuer
from tests.mesh.builds import guarding
from tests.mesh.envoys import Replica, Town, until

QUOTE = "http://pricing/quote"
OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ONE_CALL = typed(
    OPTIONS,
    common_http_protocol_options={"max_requests_per_connection": 1},
    explicit_http_config={"http_protocol_options": {}},
)
FORWARDED = "x-forwarded-client-cert"


class Passports:
    """What the plane of a secure town hands out; a test may change it while the town runs."""

    def __init__(self) -> None:
        self.authority = Authority()
        self.trusted: tuple[Authority, ...] = (self.authority,)
        self.names: dict[str, str] = {}  # of services whose certificate has another name than theirs
        self.kept: dict[str, Certificate] = {}
        self.seconds = 3600.0

    def build(self, node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        """Return a mesh of mutual TLS, in which each call is a connection of its own and so a handshake."""
        plain = sidecar(node, workloads, secure=True)
        own = [one | {"typed_extension_protocol_options": {OPTIONS: ONE_CALL}} for one in plain.clusters]
        if node.service not in self.kept:
            name = self.names.get(node.service, spiffe_name(node.service))
            self.kept[node.service] = self.authority.issue(name, self.seconds)
        secrets = [self.kept[node.service].secret(), trust_secret(bundle(*self.trusted))]
        return replace(plain, clusters=own, secrets=secrets)


@pytest.fixture
def passports() -> Passports:
    """What the plane hands out."""
    return Passports()


@pytest.fixture
def secure(passports: Passports, make_town: Callable[..., Town]) -> Town:
    """A town of mutual TLS: rides and riders call pricing."""
    town = make_town(build=passports.build)
    for name in ("rides", "riders"):
        town.add(name, calls=("pricing",))
    town.add("pricing")
    town.ready()
    return town


def from_outside(
    replica: Replica,
    folder: Path,
    certificate: Certificate | None,
    trusted: Authority,
    headers: dict[str, str] | None = None,
) -> int | str:
    """Call a sidecar with this certificate and return the status, or the name of what went wrong."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=trusted.pem)
    if certificate:
        pair = folder / "pair.pem"
        pair.write_text(certificate.certificate + certificate.private_key)
        context.load_cert_chain(pair)
    connection = http.client.HTTPSConnection("127.0.0.1", replica.workload.inbound, context=context, timeout=10)
    try:
        connection.request("GET", "/quote", headers={"host": "pricing", **(headers or {})})
        return connection.getresponse().status
    except (ssl.SSLError, OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def failures(replica: Replica) -> dict[str, int]:
    """Return why handshakes at the inbound listener have failed, without those that have not."""
    found = replica.stats("listener.*ssl.(fail|connection_error)")
    return {name.rpartition(".")[2]: value for name, value in found.items() if value}


def test_the_application_learns_who_calls_from_the_certificate(secure: Town) -> None:
    """The header that names the caller is the sidecar's, whatever the caller has written there itself."""
    spoofed = {FORWARDED: f"URI={spiffe_name('mayor')}"}
    assert secure.call("rides-1", QUOTE, headers=spoofed).status_code == 200
    told = secure.replicas["pricing-1"].seen()[-1].headers[FORWARDED].split(";")
    assert f"URI={spiffe_name('rides')}" in told and f"By={spiffe_name('pricing')}" in told
    assert "mayor" not in str(told) and len(told) == 3  # the third is the certificate's fingerprint


def test_plain_text_is_refused(secure: Town) -> None:
    """Who speaks no TLS gets no answer, and the application no call."""
    pricing = secure.replicas["pricing-1"]
    connection = http.client.HTTPConnection("127.0.0.1", pricing.workload.inbound, timeout=10)
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.request("GET", "/quote")
        connection.getresponse()
    connection.close()
    assert not pricing.seen() and failures(pricing) == {"connection_error": 1}


@pytest.mark.parametrize("fault", ["no certificate", "foreign authority", "expired", "none"])
def test_a_stranger_is_refused_in_the_handshake(fault: str, secure: Town, passports: Passports, tmp_path: Path) -> None:
    """Nobody gets in without a certificate, with one of a foreign authority, or with an expired one; else yes."""
    rides, ours = spiffe_name("rides"), passports.authority
    certificate, reason = {
        "no certificate": (None, "fail_verify_no_cert"),
        "foreign authority": (Authority().issue(rides), "fail_verify_error"),
        "expired": (ours.issue(rides, -5), "fail_verify_error"),
        "none": (ours.issue(rides), ""),
    }[fault]
    pricing = secure.replicas["pricing-1"]
    found = from_outside(pricing, tmp_path, certificate, ours)
    if not reason:
        assert found == 200 and len(pricing.seen()) == 1
        return
    assert isinstance(found, str) and not pricing.seen()
    until(lambda: failures(pricing).get(reason) == 1, what=f"{reason} in {failures(pricing)}")


@pytest.mark.parametrize("fault", ["other name", "foreign authority", "expired"])
def test_a_caller_refuses_a_false_callee(fault: str, passports: Passports, make_town: Callable[..., Town]) -> None:
    """Rides calls only who proves to be pricing; every other answer of a handshake is a 503 and has its counter."""
    counter = "fail_verify_error"
    if fault == "other name":
        passports.names["pricing"], counter = spiffe_name("billing"), "fail_verify_san"
    elif fault == "foreign authority":
        passports.kept["pricing"] = Authority().issue(spiffe_name("pricing"))
    else:
        passports.kept["pricing"] = passports.authority.issue(spiffe_name("pricing"), -5)
    town = make_town(build=passports.build)
    town.add("rides", calls=("pricing",))
    town.add("pricing")
    town.ready()
    assert town.call("rides-1", QUOTE).status_code == 503
    assert town.replicas["rides-1"].stat(f"cluster.pricing.ssl.{counter}") >= 1
    assert not town.replicas["pricing-1"].seen()


@pytest.fixture
def calling(secure: Town) -> Iterator[list[int]]:
    """The statuses of calls that rides makes all the time, each by a handshake of its own."""
    found: list[int] = []
    done = threading.Event()

    def keep_calling() -> None:
        with secure.client("rides-1") as client:
            while not done.is_set():
                found.append(client.get(QUOTE).status_code)

    thread = threading.Thread(target=keep_calling)
    thread.start()
    yield found
    done.set()
    thread.join()


def serial(town: Town, node: str) -> str:
    """Return the number of the certificate that a node's Envoy uses now."""
    (found,) = town.replicas[node].admin("/certs").json()["certificates"][:1]
    return str(found["cert_chain"][0]["serial_number"])


def test_certificates_are_renewed_without_an_error(secure: Town, passports: Passports, calling: list[int]) -> None:
    """Ten times all certificates are replaced while calls go on: each Envoy has the new ones, no call fails."""
    seen = {serial(secure, "pricing-1")}
    for _ in range(10):
        passports.kept.clear()
        secure.use(passports.build)
        until(secure.settled)
        until(lambda: serial(secure, "pricing-1") not in seen)
        seen.add(serial(secure, "pricing-1"))
    until(lambda: len(calling) > 30)
    assert set(calling) == {200} and len(seen) == 11


def test_a_new_authority_takes_over_without_an_error(secure: Town, passports: Passports, calling: list[int]) -> None:
    """All trust both, then all get new certificates, then nobody trusts the old one: in this order no call fails."""
    old, new = passports.authority, Authority()
    for trusted, signs in (((old, new), old), ((old, new), new), ((new,), new)):
        passports.trusted, passports.authority = trusted, signs
        passports.kept.clear()
        secure.use(passports.build)
        until(secure.settled)
        more = len(calling) + 10
        until(lambda more=more: len(calling) > more)
    assert set(calling) == {200}


def test_the_old_authority_is_refused_afterwards(secure: Town, passports: Passports, tmp_path: Path) -> None:
    """A certificate of an authority that is trusted no more is a stranger's."""
    old, passports.authority = passports.authority, Authority()
    passports.trusted = (passports.authority,)
    passports.kept.clear()
    secure.use(passports.build)
    until(secure.settled)
    pricing = secure.replicas["pricing-1"]
    until(
        lambda: (
            from_outside(pricing, tmp_path, passports.authority.issue(spiffe_name("rides")), passports.authority) == 200
        )
    )
    assert from_outside(pricing, tmp_path, old.issue(spiffe_name("rides")), passports.authority) != 200


def test_what_a_caller_may_do_hangs_on_its_name_and_the_path(secure: Town, passports: Passports) -> None:
    """Rides may read a quote; for another path, method or caller, with whatever headers, the answer is 403."""

    def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
        plain = passports.build(node, workloads)
        if node.service != "pricing":
            return plain
        rule = policy([caller(spiffe_name("rides"))], [call_to(path="/quote", method="GET")])
        inbound = listener_inbound(node, filters=[rbac({"rides reads quotes": rule})], tls=downstream_tls())
        return replace(plain, listeners=[inbound])

    secure.use(build)
    until(secure.settled)
    until(lambda: secure.call("riders-1", QUOTE).status_code == 403)
    spoofed = {FORWARDED: f"URI={spiffe_name('rides')}", "x-service-name": "rides"}
    assert secure.call("rides-1", QUOTE).status_code == 200
    assert secure.call("rides-1", "http://pricing/tariff").status_code == 403
    assert secure.call("rides-1", QUOTE, "POST").status_code == 403
    assert secure.call("riders-1", QUOTE, headers=spoofed).status_code == 403
    assert {seen.path for seen in secure.replicas["pricing-1"].seen()} == {"/quote"}


def test_a_token_is_proof_and_a_header_is_none(make_town: Callable[..., Town]) -> None:
    """No token, an expired, a forged or a foreign one: 401 or 403; a right one goes on as the header x-rider."""
    issuer, forger = TokenIssuer("riders"), TokenIssuer("riders")
    door = jwt("riders", issuer.keys(), audience="city", headers={"sub": "x-rider"}, open_to_all=["/tariff"])
    admins = policy([claim_is("role", "admin")], [call_to(prefix="/admin")])
    others = policy([{"any": True}], [call_to(prefix="/quote"), call_to(prefix="/tariff")])
    town = make_town(build=guarding([door, rbac({"admins": admins, "others": others})], remove=["x-service-name"]))
    town.add("rides", calls=("pricing",))
    pricing = town.add("pricing")
    town.ready()

    def call(token: str, path: str = "/quote") -> int:
        headers = {"x-rider": "mayor", "x-service-name": "rides"} | (
            {"authorization": f"Bearer {token}"} if token else {}
        )
        return town.call("rides-1", f"http://pricing{path}", headers=headers).status_code

    assert call("") == 401 and call("not.a.token") == 401
    assert call(issuer.token("ada", "city", -120)) == 401 and call(forger.token("ada", "city")) == 401
    assert call(issuer.token("ada", "village")) == 403
    assert not pricing.seen()
    assert call(issuer.token("ada", "city")) == 200 and pricing.seen()[-1].headers["x-rider"] == "ada"
    assert "x-service-name" not in pricing.seen()[-1].headers
    assert call(issuer.token("ada", "city"), "/admin") == 403
    assert call(issuer.token("eve", "city", role="admin"), "/admin") == 200
    assert call("", "/tariff") == 200 and pricing.seen()[-1].headers.get("x-rider") is None


def test_another_service_may_decide(make_town: Callable[..., Town]) -> None:
    """Each call is shown to guard first: its no is the answer, its yes may add a header, its silence is a no."""

    def more(workloads: tuple[Workload, ...]) -> Resources:
        guards = [one for one in workloads if one.service == "guard"]
        return Resources(clusters=[cluster("guard")], endpoints=[endpoints("guard", guards)])

    door = external_authorization("guard", send=["x-ticket"], add=["x-rider"])
    town = make_town(build=guarding([door], more=more))
    town.add("rides", calls=("pricing",))
    pricing, guard = town.add("pricing"), town.add("guard")
    town.ready()
    assert guard.application is not None
    guard.application.answer_headers = {"x-rider": "ada"}
    guard.application.reply = lambda seen: (200, "") if seen.headers.get("x-ticket") == "valid" else (401, "no ticket")
    refused = town.call("rides-1", QUOTE)
    assert (refused.status_code, refused.text) == (401, "no ticket") and not pricing.seen()
    assert town.call("rides-1", QUOTE, headers={"x-ticket": "valid", "x-rider": "mayor"}).status_code == 200
    assert pricing.seen()[-1].headers["x-rider"] == "ada" and guard.seen()[-1].path == "/quote"
    town.change("guard-1", state="down")
    until(lambda: town.call("rides-1", QUOTE, headers={"x-ticket": "valid"}).status_code == 403)
    before = len(pricing.seen())
    assert town.call("rides-1", QUOTE, headers={"x-ticket": "valid"}).status_code == 403
    assert len(pricing.seen()) == before
