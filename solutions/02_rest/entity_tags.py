"""Entity tags: what a version of a plan is called, and which versions a client names (RFC 9110, section 8.8.3)."""

# --- your turn 2.3 ---
import re
from hashlib import sha256

from plans_table import Json, as_bytes

ENTITY_TAG = re.compile(r'(W/)?("[^"\s]*")')


def etag_of(plan: Json) -> str:
    """Return the strong entity tag of a plan, with its quotes."""
    # One possibility: a digest of the bytes that are sent. It needs no clock and no memory, and forgets no field.
    return f'"{sha256(as_bytes(plan)).hexdigest()}"'


def matches(field: str, etag: str | None, strong: bool) -> bool:
    """Say whether If-Match (strong) or If-None-Match (not strong) names this tag; None: there is no plan."""
    named = {tag for weak, tag in ENTITY_TAG.findall(field) if not (weak and strong)}  # a W/ never matches strongly
    return etag is not None and (field.strip() == "*" or etag in named)


# --- end 2.3 ---
