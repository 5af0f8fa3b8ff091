"""What must not leave a service by its spans and log lines: who rides, who pays, and what opens doors.

Ids of things (rides, bikes, stations, locks) may be seen: by them a trace is found. Riders' ids, texts of errors, query
strings and whole addresses may not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PUBLIC_IDS = ("ride_id", "bike_id", "station_id", "lock_id")
HIDDEN = "[hidden]"
PERSONAL = re.compile(r"authorization|cookie|token|secret|password|card|iban|rider|e?mail|phone", re.I)
PLAIN = (
    "http.response.status",
    "http.request.method",
    "http.route",
    "server.",
    "network.",
    "url.scheme",
    "rpc.",
    "messaging.",
    "error.type",
)  # no free text
_SECRETS = (
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]+", re.I), rf"\1 {HIDDEN}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),  # a JSON Web Token
    (re.compile(r"(\w+://)[^\s/@]+@"), rf"\1{HIDDEN}@"),  # a name and password in an address
    (re.compile(r"(\w+://[^\s?#]*|\s/[^\s?#]*)\?[^\s#]*"), r"\1"),  # a query string
    (re.compile(r"\b\d(?:[ -]?\d){11,18}\b"), HIDDEN),  # a card number has 12 to 19 digits
)


def without_secrets(text: str) -> str:
    """Return a text without tokens, passwords in addresses, query strings and card numbers."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def public_path(path: str, route: str) -> str:
    """Return the path of a request with what names a thing in it, and the name of the parameter for all else.

    `public_path("/wallets/ada", "/wallets/{rider_id}")` is "/wallets/{rider_id}". A path that does not fit its route
    part by part is the route itself.
    """
    parts, names = path.split("/"), route.split("/")
    if len(parts) != len(names):
        return route
    shown = [f"{{{each}}}" for each in PUBLIC_IDS]
    return "/".join(part if name in shown else name for part, name in zip(parts, names, strict=True))


def public_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span that may leave the process.

    A server's url.path keeps the ids of things, without a route it is left out; a client's url.full ends behind the
    port; queries, and header fields that open doors, are left out.
    """
    kept = {
        name: without_secrets(value) if isinstance(value, str) and not name.startswith(PLAIN) else value
        for name, value in attributes.items()
        if name != "url.query" and not (".header." in name and PERSONAL.search(name))
    }
    if "url.path" in kept:
        route = kept.get("http.route")
        path = public_path(str(kept.pop("url.path")), route) if isinstance(route, str) else ""
        kept |= {"url.path": path} if path else {}
    if isinstance(full := kept.get("url.full"), str):
        kept["url.full"] = "/".join([*full.split("/")[:3], ""])
    return kept
