"""What an Envoy does to a call before it routes it: HTTP filters. Their order is the order in which they act."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .messages import Message, exact, extension, percent

_HTTP = "envoy.extensions.filters.http."
JWT_FILTER = "envoy.filters.http.jwt_authn"
CLAIMS = "claims"  # where `jwt` leaves the token's claims for `claim_is`


def fault_by_header(most: float = 100) -> Message:
    """Return the filter HTTPFault, for calls that ask for it, at most `most` percent of them.

    `x-envoy-fault-abort-request: 503` is answered with 503; `x-envoy-fault-delay-request: 300` waits 300 ms first.
    A call without these headers is left alone.
    """
    share = {"percentage": percent(most)}
    abort = {"header_abort": {}, **share}
    return extension(
        "envoy.filters.http.fault", _HTTP + "fault.v3.HTTPFault", abort=abort, delay={"header_delay": {}, **share}
    )


def local_rate_limit(calls: int, per: str = "1s", **fields: Any) -> Message:
    """Return the filter LocalRateLimit: so many calls, then 429 until `per` is over.

    Each Envoy counts for itself: three replicas let three times as many through.
    """
    on = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return extension(
        "envoy.filters.http.local_ratelimit",
        _HTTP + "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="rate_limit",
        token_bucket={"max_tokens": calls, "tokens_per_fill": calls, "fill_interval": per},
        filter_enabled=on,  # both are 0 percent by default: the filter would count and let everything through
        filter_enforced=on,
        **fields,
    )


def rbac(allow: Mapping[str, Message], **fields: Any) -> Message:
    """Return the filter RBAC: what one of these policies (`policy(...)`) allows may pass, all else is 403.

    An empty mapping allows nothing. `fields` are RBAC's own, such as shadow_rules: what they would refuse is counted.
    """
    rules = {"action": "ALLOW", "policies": dict(allow)}
    return extension("envoy.filters.http.rbac", _HTTP + "rbac.v3.RBAC", rules=rules, **fields)


def policy(who: Sequence[Message], may: Sequence[Message]) -> Message:
    """Return Policy of RBAC: any of these principals may do any of these permissions."""
    if isinstance(who, Mapping) or isinstance(may, Mapping):  # each of its keys would be one of them
        raise TypeError("policy takes two lists: policy([caller(...)], [call_to(...)])")
    return {"principals": list(who), "permissions": list(may)}


def caller(name: str) -> Message:
    """Return Principal: who has proved by its certificate to own this SPIFFE name. A header proves nothing."""
    return {"authenticated": {"principal_name": exact(name)}}


def claim_is(claim: str, value: str) -> Message:
    """Return Principal: whose token (verified by `jwt` before this filter) says so."""
    path = [{"key": CLAIMS}, {"key": claim}]
    return {"metadata": {"filter": JWT_FILTER, "path": path, "value": {"string_match": exact(value)}}}


def anybody() -> Message:
    """Return Principal or Permission that always fits."""
    return {"any": True}


def call_to(*, path: str = "", prefix: str = "", method: str = "") -> Message:
    """Return Permission: calls to exactly this path, or below this prefix, with this method if one is named."""
    rules: list[Message] = []
    if path or prefix:
        rules.append({"url_path": {"path": exact(path) if path else {"prefix": prefix}}})
    if method:
        rules.append({"header": {"name": ":method", "string_match": exact(method)}})
    return {"and_rules": {"rules": rules}} if rules else anybody()


def jwt(
    issuer: str,
    keys: Mapping[str, Any],
    *,
    audience: str,
    headers: Mapping[str, str] | None = None,
    open_to_all: Sequence[str] = (),
    **fields: Any,
) -> Message:
    """Return the filter JwtAuthentication: a valid token of this issuer for this audience, else 401 (403: audience).

    `keys` is the issuer's JSON Web Key Set. `headers` says which claim goes on to the application as which header;
    what a caller wrote there itself is replaced. Calls below a prefix in `open_to_all` need no token.
    """
    provider: Message = {
        "issuer": issuer,
        "audiences": [audience],
        "local_jwks": {"inline_string": json.dumps(dict(keys))},
        "payload_in_metadata": CLAIMS,
        "claim_to_headers": [{"header_name": h, "claim_name": c} for c, h in (headers or {}).items()],
        **fields,
    }
    rules: list[Message] = [{"match": {"prefix": prefix}} for prefix in open_to_all]
    rules.append({"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}})
    kind = _HTTP + "jwt_authn.v3.JwtAuthentication"
    return extension(JWT_FILTER, kind, providers={"issuer": provider}, rules=rules)


def external_authorization(
    cluster: str, *, timeout: str = "0.5s", send: Sequence[str] = (), add: Sequence[str] = (), **fields: Any
) -> Message:
    """Return the filter ExtAuthz: ask a service by HTTP about every call; what is not 200 is the answer to the caller.

    The question has the call's method and path, `authorization` and the headers in `send`; those of its answer in `add`
    go on to the application. When nobody answers the call is refused with 403 (failure_mode_allow=True lets it pass).
    """
    service: Message = {"server_uri": {"uri": f"http://{cluster}", "cluster": cluster, "timeout": timeout}}
    if add:
        service["authorization_response"] = {"allowed_upstream_headers": _named(add)}
    return extension(
        "envoy.filters.http.ext_authz",
        _HTTP + "ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        http_service=service,
        **({"allowed_headers": _named(send)} if send else {}),
        **fields,
    )


def _named(headers: Sequence[str]) -> Message:
    return {"patterns": [exact(name) for name in headers]}
