"""Tokens of riders: JSON Web Tokens signed with ES256 (RFC 7519, RFC 7518 section 3.4), and the keys to verify them."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NUMBER_BYTES = 32  # of each of the two numbers of a signature, and of a point of the curve P-256


class TokenIssuer:
    """Whoever has told the riders apart: it signs what it knows about them."""

    def __init__(self, issuer: str, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        self.issuer = issuer
        self._key = key or ec.generate_private_key(ec.SECP256R1())

    def keys(self) -> dict[str, Any]:
        """Return the JSON Web Key Set (RFC 7517): what others need to verify a token, and cannot sign one with."""
        point = self._key.public_key().public_numbers()
        key = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.issuer}
        return {"keys": [key | {"x": _encoded(_number(point.x)), "y": _encoded(_number(point.y))}]}

    def token(self, subject: str, audience: str, seconds: float = 300, **claims: Any) -> str:
        """Return a token about `subject` for `audience`; with negative `seconds` it has expired so long ago."""
        header = {"alg": "ES256", "typ": "JWT", "kid": self.issuer}
        ends = int(time.time() + seconds)
        body = {"iss": self.issuer, "sub": subject, "aud": audience, "exp": ends, **claims}
        signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(body).encode())}"
        one, other = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(_number(one) + _number(other))}"

    def save(self, path: Path) -> None:
        """Keep the key in a file, readable by its owner alone; it is there whole or not at all."""
        form = serialization.PrivateFormat.PKCS8
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staged = tempfile.mkstemp(dir=path.parent)  # of mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(self._key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        os.replace(staged, path)


def open_token_issuer(path: Path, issuer: str) -> TokenIssuer:
    """Return the issuer whose key is kept in the file, or a new one that is kept there from now on.

    Raises:
        ValueError: the file holds no key of an issuer.
    """
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError:
        made = TokenIssuer(issuer)
        made.save(path)
        return made
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError(f"{path} holds no key of an issuer")
    return TokenIssuer(issuer, key)


def _number(number: int) -> bytes:
    return number.to_bytes(NUMBER_BYTES, "big")


def _encoded(content: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
