"""The registry as it is written, certificates and tokens as others read them, and the plane's bookkeeping."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab_services.mesh.authority import Authority, bundle, open_authority, spiffe_name
from lab_services.mesh.registry import Workload, of_service, read, watch
from lab_services.mesh.resources import endpoints
from lab_services.mesh.subscriptions import Subscription
from lab_services.mesh.tokens import TokenIssuer, open_token_issuer

ONE = Workload("pricing", 1, "pricing-1", "http", "ready", 1, 2, 3, {}, "/a", ("locks",), {"version": "v1"})
TWO = Workload("pricing", 2, "pricing-2", "http", "draining", 4, 5, labels={"version": "v2"})


def test_the_registry_is_read_as_it_was_written(tmp_path: Path) -> None:
    """In the order of services and replicas; fields of a later version are passed over, a missing file is empty."""
    path = tmp_path / "mesh.json"
    assert read(path) == ()
    path.write_text(json.dumps([asdict(TWO), asdict(ONE) | {"weather": "rain"}]))
    assert read(path) == (ONE, TWO) and of_service(read(path), "pricing", version="v2") == (TWO,)
    path.write_text('{"no": "list"}')
    with pytest.raises(ValueError, match="no registry"):
        read(path)


def test_a_change_of_the_registry_is_seen(tmp_path: Path) -> None:
    """The watcher tells what there is, and tells again after the file was replaced, also by one of the same size."""

    async def look() -> None:
        path = tmp_path / "mesh.json"
        changes = watch(path)
        assert await anext(changes) == ()
        for states in ("ready", "other", "ready"):
            staged = tmp_path / "new"
            staged.write_text(json.dumps([asdict(ONE) | {"state": states}]))
            staged.replace(path)
            (found,) = await asyncio.wait_for(anext(changes), 10)
            assert found.state == states
        await changes.aclose()

    asyncio.run(look())


def test_only_ready_replicas_are_endpoints() -> None:
    """Who drains or is down is not among them; labels go along for whoever wants to choose by them."""
    found = endpoints("pricing", (ONE, TWO))["endpoints"][0]["lb_endpoints"]
    assert [one["endpoint"]["address"]["socket_address"]["port_value"] for one in found] == [1]
    assert found[0]["metadata"] == {"filter_metadata": {"envoy.lb": {"version": "v1"}}}


def test_the_name_stands_in_the_certificate_as_a_uri_and_nowhere_else() -> None:
    """No common name; a leaf that signs nothing; signed by the authority."""
    authority = Authority()
    leaf = x509.load_pem_x509_certificate(authority.issue(spiffe_name("pricing"), 60).certificate.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://bikeshare.example/pricing"]
    assert len(names.value) == 1 and names.critical and not list(leaf.subject)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.pem.encode()))


def test_a_certificate_is_kept_until_half_of_its_life_is_over() -> None:
    """The same service gets the same one, unless it is to be renewed; one that has expired began before it ended."""
    authority = Authority()
    assert authority.identity("pricing") is authority.identity("pricing") is not authority.identity("rides")
    assert authority.identity("locks", 0) is not authority.identity("locks", 0)
    old = x509.load_pem_x509_certificate(authority.issue("spiffe://x/y", -3600).certificate.encode())
    assert old.not_valid_before_utc < old.not_valid_after_utc < datetime.now(UTC)


def test_an_authority_is_found_again(tmp_path: Path) -> None:
    """A plane that starts again signs as the one before; nobody else can read the key; a bundle holds both."""
    path = tmp_path / "own" / "authority.pem"
    first = open_authority(path)
    assert open_authority(path).pem == first.pem and path.stat().st_mode & 0o777 == 0o600
    again = x509.load_pem_x509_certificate(open_authority(path).issue("spiffe://x/y").certificate.encode())
    again.verify_directly_issued_by(x509.load_pem_x509_certificate(first.pem.encode()))
    assert len(x509.load_pem_x509_certificates(bundle(first, Authority()).encode())) == 2
    assert [one.name for one in path.parent.iterdir()] == ["authority.pem"]


def test_a_token_holds_what_it_says_and_the_keys_hold_no_secret() -> None:
    """Three parts, the claims in the second; the key set has the public point alone."""
    issuer = TokenIssuer("riders")
    header, body, signature = issuer.token("ada", "city", 60, role="admin").split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert (claims["sub"], claims["aud"], claims["iss"], claims["role"]) == ("ada", "city", "riders", "admin")
    assert len(base64.urlsafe_b64decode(signature + "==")) == 64
    (key,) = issuer.keys()["keys"]
    assert "d" not in key and (key["alg"], key["crv"]) == ("ES256", "P-256")
    point = [int.from_bytes(base64.urlsafe_b64decode(key[name] + "==")) for name in ("x", "y")]
    assert ec.EllipticCurvePublicNumbers(point[0], point[1], ec.SECP256R1()).public_key()
    assert json.loads(base64.urlsafe_b64decode(header + "=="))["alg"] == "ES256"


def test_a_version_is_told_once_to_who_has_another() -> None:
    """A second question with the old version is a refusal: it is told again after 5, 20 and then every 60 seconds."""
    one = Subscription("rides-1", "routes", ("outbound",), confirmed="a", sent="a")
    assert one.pause("a", "b", 0) == 0.0
    one.tell("a", "b", 0)
    assert one.asked("a") and one.refused == "b" and one.confirmed == "a"
    assert one.pause("a", "b", 1) == 4.0 and one.pause("a", "c", 1) == 0.0
    one.tell("a", "b", 5)
    assert one.pause("a", "b", 5) == 20.0
    assert one.pause("a", "a", 5) is None
    one.settle("a")
    assert one.as_dict()["state"] == "confirmed"


def test_who_has_nothing_is_told_at_once_and_then_ever_later() -> None:
    """A new Envoy, or a new subscription of the same one, waits for nothing; one that refuses does not spin."""
    one, now, told = Subscription("rides-1", "routes", ("outbound",)), 0.0, []
    for _ in range(8):
        pause = one.pause("", "a", now)
        assert pause is not None
        now += pause
        told.append(round(pause, 6))
        one.tell("", "a", now)
        one.asked("")
    assert told == [0.0, 0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 2.0] and one.refused == "a"
    assert one.asked("a") and one.as_dict()["state"] == "confirmed"


def test_an_issuer_of_tokens_is_kept(tmp_path: Path) -> None:
    """The second opening finds the key of the first; its file is for its owner alone, and another file is refused."""
    path = tmp_path / "riders" / "riders.pem"
    first, second = open_token_issuer(path, "riders"), open_token_issuer(path, "riders")
    assert first.keys() == second.keys() != TokenIssuer("riders").keys()
    assert path.stat().st_mode & 0o777 == 0o600 and list(path.parent.iterdir()) == [path]
    other = tmp_path / "other.pem"
    key = ec.generate_private_key(ec.SECP384R1())
    form = serialization.PrivateFormat.PKCS8
    other.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    with pytest.raises(ValueError, match="no key of an issuer"):
        open_token_issuer(other, "riders")
