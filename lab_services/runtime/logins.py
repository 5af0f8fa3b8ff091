"""Who is who at a server with users: each service has a name and a password of its own, new for every run.

A configuration of a lab's server (`config = "broker.conf"` in lab.toml) names them as $RIDES_PASSWORD and so on, and
$LAB_PASSWORD for whoever looks on from outside: the notebook and the checks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

LAB = "lab"


class Logins:
    """The passwords of one run."""

    def __init__(self, names: Iterable[str]) -> None:
        # A letter first: NATS reads a value such as 12e4 from the environment as a number.
        self._passwords = {name: f"p{secrets.token_hex(12)}" for name in (*names, LAB)}

    def env(self) -> dict[str, str]:
        """Return what the server reads: one variable for each name."""
        return {f"{name.upper()}_PASSWORD": password for name, password in self._passwords.items()}

    def url(self, address: str, name: str = LAB) -> str:
        """Return the address with the name and password of a service; one without a host stays as it is."""
        parts = urlsplit(address)
        if not parts.netloc:
            return address
        return parts._replace(netloc=f"{name}:{self._passwords[name]}@{parts.netloc}").geturl()
