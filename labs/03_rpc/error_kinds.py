"""The errors that travel: both sides of a connection know these kinds by their names, and no others."""

from typing import Any

DETAIL_CHARACTERS = 300


class Jammed(Exception):
    """The bolt of a lock cannot move."""


class RemoteError(Exception):
    """The other side failed in a way that has no name here."""


KINDS: dict[str, type[Exception]] = {kind.__name__: kind for kind in (Jammed, LookupError, TypeError, ValueError)}


def told(error: Exception) -> dict[str, Any]:
    """Return an error as it travels: its kind and what it says, in characters that UTF-8 has."""
    detail = str(error).encode(errors="replace").decode()
    return {"kind": type(error).__name__, "detail": detail[:DETAIL_CHARACTERS]}
