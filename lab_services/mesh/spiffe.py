"""How services are called in certificates. It stands alone, so that who only needs a name loads no cryptography."""

from __future__ import annotations

TRUST_DOMAIN = "bikeshare.example"


def spiffe_name(service: str) -> str:
    """Return the SPIFFE ID of a service: spiffe://bikeshare.example/pricing."""
    return f"spiffe://{TRUST_DOMAIN}/{service}"
