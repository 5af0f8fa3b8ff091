"""Entity tags: what a version of a plan is called, and which versions a client names (RFC 9110, section 8.8.3)."""

# --- your turn 2.3 ---
from plans_table import Json


def etag_of(plan: Json) -> str:
    """Return the strong entity tag of a plan, with its quotes."""
    return f'"{plan["updated_at"]}"'


def matches(field: str, etag: str | None, strong: bool) -> bool:
    """Say whether If-Match (strong) or If-None-Match (not strong) names this tag; None: there is no plan."""
    return etag is not None and etag in field


# --- end 2.3 ---
