"""A small certificate authority: short-lived certificates whose name is a SPIFFE ID (X.509-SVID, spiffe.io).

The name stands as a URI among the certificate's alternative names, nowhere else: the common name says nothing. Whoever
trusts an authority believes every name that it signs; two authorities in one bundle is how a new one takes over.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from .resources.messages import Message
from .resources.security import identity_secret, trust_secret
from .spiffe import TRUST_DOMAIN
from .spiffe import spiffe_name as spiffe_name

CERTIFICATE_SECONDS = 3600.0
AUTHORITY_DAYS = 30
BACKDATED_SECONDS = 60.0  # clocks differ: a certificate is valid a little before it was issued
RENEW_AT = 0.5  # of its life: the other half is for a plane that is away


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, both as PEM; valid until `expires`."""

    certificate: str
    private_key: str
    expires: datetime

    def secret(self) -> Message:
        """Return it as the Secret with which an Envoy proves who it is."""
        return identity_secret(self.certificate, self.private_key)


class Authority:
    """Signs certificates with a key that it has made itself; `pem` is its own certificate, for those who trust it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None, certificate: x509.Certificate | None = None):
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self._certificate = certificate or self._sign_own()
        self._issued: dict[str, tuple[Certificate, datetime]] = {}  # by service, with when to renew
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, seconds: float = CERTIFICATE_SECONDS) -> Certificate:
        """Return a new certificate for a SPIFFE ID; with negative `seconds` it has expired so long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        expires = now + timedelta(seconds=seconds)
        begins = min(now, expires) - timedelta(seconds=BACKDATED_SECONDS)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _begun(x509.Name([]), self._certificate.subject, key.public_key(), begins, expires)
            .add_extension(uri, critical=True)  # critical because there is no other name (RFC 5280 section 4.2.1.6)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(ours, critical=False)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return Certificate(signed.public_bytes(serialization.Encoding.PEM).decode(), _pem_of(key), expires)

    def identity(self, service: str, seconds: float = CERTIFICATE_SECONDS) -> Certificate:
        """Return the certificate of a service: the same one until half of its life is over, then a new one."""
        now = datetime.now(UTC)
        kept = self._issued.get(service)
        if kept is None or now >= kept[1]:
            renew = now + timedelta(seconds=seconds * RENEW_AT)
            kept = self._issued[service] = self.issue(spiffe_name(service), seconds), renew
        return kept[0]

    def secrets(
        self, service: str, seconds: float = CERTIFICATE_SECONDS, also: Sequence[Authority] = ()
    ) -> list[Message]:
        """Return both Secrets of a sidecar: who it is, and whom it trusts: this authority and those in `also`."""
        return [self.identity(service, seconds).secret(), trust_secret(bundle(self, *also))]

    def save(self, path: Path) -> None:
        """Keep key and certificate in one file, readable by its owner alone; it is there whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staged = tempfile.mkstemp(dir=path.parent)  # of mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(_pem_of(self._key) + self.pem)
        os.replace(staged, path)

    def _sign_own(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, TRUST_DOMAIN)])
        begins = datetime.now(UTC) - timedelta(seconds=BACKDATED_SECONDS)
        public = self._key.public_key()
        uri = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{TRUST_DOMAIN}")])
        builder = (
            _begun(name, name, public, begins, begins + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(uri, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())


def open_authority(path: Path) -> Authority:
    """Return the authority that is kept in the file, or a new one that is kept there from now on.

    A plane that is started again must find the old one: all the certificates out there were signed by it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        authority = Authority()
        authority.save(path)
        return authority
    key = serialization.load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} holds no key of an authority")
    return Authority(key, x509.load_pem_x509_certificate(content[content.index(b"-----BEGIN CERTIFICATE") :]))


def bundle(*authorities: Authority) -> str:
    """Return the certificates of several authorities, as PEM: who trusts the bundle trusts each of them."""
    return "".join(authority.pem for authority in authorities)


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
