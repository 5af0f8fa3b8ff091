"""The strangers of the checks: what they show, what they hear, and that a refusal is not taken for an answer."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab_services.checks.fakes import FakeService
from lab_services.checks.mesh_outsider import Impostor, Outsider, Said, Visit
from lab_services.checks.probes import eventually
from lab_services.mesh.authority import Authority, spiffe_name


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The authority that both sides know."""
    return Authority()


@pytest.fixture
def impostor(authority: Authority) -> Iterator[Impostor]:
    """An impostor who asks for certificates of the authority."""
    made = Impostor(authority)
    yield made
    made.close()


def come(impostor: Impostor, who: Outsider) -> tuple[Said, Visit | None]:
    """Call the impostor; return what came of it, and what it has noted."""
    said = who.call(impostor.port, "GET", "/quote", headers={"host": "pricing"})
    return said, eventually(lambda: next(iter(impostor.visits), None))


def test_an_impostor_learns_who_came_and_what_they_said(impostor: Impostor, authority: Authority) -> None:
    """The URI in the caller's certificate and the first bytes of the call are noted; no answer is given."""
    impostor.present(authority.issue(spiffe_name("pricing")))
    said, visit = come(impostor, Outsider(authority.issue(spiffe_name("rides"))))
    assert not said.status and said.refused and visit is not None
    assert visit.caller == spiffe_name("rides") and visit.told.startswith(b"GET /quote HTTP/1.1")


def test_a_caller_without_a_certificate_has_no_name(impostor: Impostor, authority: Authority) -> None:
    """It is heard all the same."""
    impostor.present(authority.issue(spiffe_name("pricing")))
    _, visit = come(impostor, Outsider())
    assert visit is not None and not visit.caller and visit.told.startswith(b"GET /quote")


def test_a_caller_who_refuses_tells_nothing(impostor: Impostor, authority: Authority) -> None:
    """Whoever looks at the certificate and turns away is a visit without a call."""
    impostor.present(Authority().issue(spiffe_name("pricing")))
    careful = Outsider(authority.issue(spiffe_name("rides")))
    assert careful._context is not None
    careful._context.verify_mode = ssl.CERT_REQUIRED
    careful._context.load_verify_locations(cadata=authority.pem)
    said, visit = come(impostor, careful)
    assert "CERTIFICATE_VERIFY_FAILED" in said.refused
    assert visit is not None and not visit.told and visit.refused


def test_what_is_shown_next_has_its_own_visits(impostor: Impostor, authority: Authority) -> None:
    """Without a certificate the impostor speaks plain text, and TLS is not a call."""
    impostor.present(authority.issue(spiffe_name("pricing")))
    come(impostor, Outsider())
    impostor.present(None)
    assert impostor.visits == ()
    _, plain = come(impostor, Outsider(plain=True))
    assert plain is not None and plain.told.startswith(b"GET /quote")
    impostor.present(None)
    _, secure = come(impostor, Outsider())
    assert secure is not None and secure.told.startswith(b"\x16")


def test_a_call_in_plain_text_has_an_answer() -> None:
    """Status, head and body come back; a message of gRPC is framed."""
    service = FakeService("locks", lambda call: (403, {"you said": call.headers["content-type"]}))
    port = int(service.url.rpartition(":")[2])
    said = Outsider(plain=True).call(port, "POST", "/Unlock", grpc=b"\x0a\x01l")
    assert said.status == 403 and said.is_forbidden and b"application/grpc" in said.body and str(said) == "403"
    assert len(service.calls) == 1 and service.calls[0].body == "\0\0\0\0\x03\x0a\x01l"
    service.close()


def test_a_refusal_of_grpc_is_forbidden_too() -> None:
    """gRPC says no with 200 and a status of its own; other statuses are answers, and no answer is none."""
    denied, missing = Said(200, {"grpc-status": "7"}), Said(200, {"grpc-status": "5"})
    assert denied.is_forbidden and str(denied) == "PERMISSION_DENIED"
    assert not missing.is_forbidden and str(missing) == "NOT_FOUND"
    assert not Said(200).is_forbidden and not Said(refused="reset").is_forbidden
    assert str(Said(refused="reset")) == "no answer (reset)"


def test_a_certificate_can_be_looked_at(impostor: Impostor, authority: Authority) -> None:
    """The one that is shown, whoever signed it; nothing where nobody listens."""
    shown = authority.issue(spiffe_name("pricing"), 60)
    impostor.present(shown)
    seen = Outsider(authority.issue(spiffe_name("rides"))).looks(impostor.port)
    assert seen is not None and abs((seen.not_valid_after_utc - shown.expires).total_seconds()) < 2
    impostor.close()
    assert Outsider().looks(impostor.port) is None


def test_a_key_leaves_no_file(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in a file for a moment, because ssl reads it from there alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Outsider(authority.issue(spiffe_name("rides")))
    assert list(tmp_path.iterdir()) == []
