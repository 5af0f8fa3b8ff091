"""Which call goes where: envoy.config.route.v3, as dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .messages import Message, exact, percent

NO_LIMIT = "0s"


def route_configuration(name: str, virtual_hosts: Sequence[Message], **fields: Any) -> Message:
    """Return RouteConfiguration: the first virtual host whose domain fits, in it the first route that fits."""
    return {"name": name, "virtual_hosts": list(virtual_hosts), **fields}


def virtual_host(name: str, routes: Sequence[Message], *, domains: Sequence[str] = (), **fields: Any) -> Message:
    """Return VirtualHost; without `domains` it is for calls to http://<name>, with any port."""
    return {"name": name, "domains": list(domains) or [name, f"{name}:*"], "routes": list(routes), **fields}


def match(
    prefix: str = "/", *, path: str = "", method: str = "", headers: Mapping[str, str] | None = None, **fields: Any
) -> Message:
    """Return RouteMatch: calls below `prefix`, or to `path` alone, with this method and exactly these header values."""
    wanted = dict(headers or {}) | ({":method": method} if method else {})
    place = {"path": path} if path else {"prefix": prefix}
    found = [{"name": name, "string_match": exact(value)} for name, value in wanted.items()]
    return {**place, **({"headers": found} if found else {}), **fields}


def route(
    to: str | Mapping[str, int],
    *,
    by_hash: bool = False,
    when: Message | None = None,
    rest: Message | None = None,
    **do: Any,
) -> Message:
    """Return Route to a cluster, or to several by weight: `route({"pricing_v1": 90, "pricing_v2": 10})`.

    `by_hash` is for weights: see `weighted`. `when` is a RouteMatch (without it: every call), `do` are fields of
    RouteAction (timeout, retry_policy, request_mirror_policies, hash_policy), `rest` are further fields of Route
    (typed_per_filter_config).
    """
    where: Message = {"cluster": to} if isinstance(to, str) else {"weighted_clusters": weighted(to, by_hash=by_hash)}
    return {"match": when or match(), "route": {**where, **do}, **(rest or {})}


def weighted(shares: Mapping[str, int], *, by_hash: bool = False) -> Message:
    """Return WeightedCluster: each call goes to one of these clusters, as often as its weight among all says.

    Which one is chance, for each call anew. With `by_hash` the route's hash_policy chooses: calls that are alike for it
    go to the same cluster, as long as the weights stay, and only those for which it has no value are left to chance.
    """
    clusters = [{"name": name, "weight": weight} for name, weight in shares.items()]
    return {"clusters": clusters, **({"use_hash_policy": True} if by_hash else {})}


def mirror(cluster: str, share: float = 100) -> Message:
    """Return RequestMirrorPolicy: send a copy of `share` percent of the calls there as well, and drop its answers."""
    return {"cluster": cluster, "runtime_fraction": {"default_value": percent(share)}}


def answer(status: int, text: str, *, when: Message | None = None) -> Message:
    """Return Route that Envoy answers itself (DirectResponseAction)."""
    return {"match": when or match(), "direct_response": {"status": status, "body": {"inline_string": text}}}


def not_in_the_mesh() -> Message:
    """Return VirtualHost for every name that no other has: 502, so that a typo is no call to the outside."""
    return virtual_host("not_in_the_mesh", [answer(502, "not in the mesh\n")], domains=["*"])


def retry_policy(retry_on: str, retries: int, *, per_try: str = "", other_host: bool = True, **fields: Any) -> Message:
    """Return RetryPolicy: after a failure named in `retry_on` ("5xx,reset"), try again `retries` times at most.

    `per_try` limits each attempt; the route's timeout limits them all together. With `other_host` a second attempt
    looks for a replica that has not failed this call yet. Whether a call may be sent twice at all, Envoy does not know.
    """
    policy: Message = {"retry_on": retry_on, "num_retries": retries}
    if per_try:
        policy["per_try_timeout"] = per_try
    if other_host:
        kind = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
        seen = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": kind}}
        policy |= {"retry_host_predicate": [seen], "host_selection_retry_max_attempts": 3}
    return policy | fields


def hash_on_header(name: str) -> list[Message]:
    """Return a RouteAction's hash_policy: calls with the same value of this header are alike.

    A cluster with lb_policy RING_HASH or MAGLEV sends them to the same replica; weights with `by_hash`, to the same
    cluster. Nothing else asks for it.
    """
    return [{"header": {"header_name": name}}]


def local_route(cluster: str, *, remove: Sequence[str] = (), routes: Sequence[Message] = ()) -> Message:
    """Return the RouteConfiguration of an inbound listener: `routes` first, then everything to the application.

    Headers in `remove` never reach the application, whoever sends them. Only the caller's Envoy limits the time: two
    limits for one call would only hide each other.
    """
    there = virtual_host("application", [*routes, route(cluster, timeout=NO_LIMIT)], domains=["*"])
    return route_configuration("inbound", [there], **({"request_headers_to_remove": list(remove)} if remove else {}))
