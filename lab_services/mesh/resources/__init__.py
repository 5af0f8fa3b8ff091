"""Envoy's messages as plain dictionaries in Envoy's own field names: print one, and it is what Envoy gets.

Each function fills in what every use in this mesh has in common, and takes any further field of the message by its own
name. Nothing is hidden in a class: what a function returns can be read, changed and compared.
"""

from __future__ import annotations

from .clusters import (
    APP,
    app_cluster,
    circuit_breakers,
    cluster,
    endpoints,
    health_check,
    no_panic,
    outlier_detection,
    retry_budget,
    static_cluster,
)
from .filters import (
    anybody,
    call_to,
    caller,
    claim_is,
    external_authorization,
    fault_by_header,
    jwt,
    local_rate_limit,
    policy,
    rbac,
)
from .listeners import (
    OUTBOUND,
    grpc_routes,
    http,
    listener,
    listener_grpc,
    listener_inbound,
    listener_outbound,
)
from .messages import Message, Resources, extension, from_plane, loopback, percent, typed
from .observing import access_log, tracing
from .routes import (
    answer,
    hash_on_header,
    local_route,
    match,
    mirror,
    not_in_the_mesh,
    retry_policy,
    route,
    route_configuration,
    virtual_host,
    weighted,
)
from .security import downstream_tls, identity_secret, trust_secret, upstream_tls

__all__ = [
    "APP",
    "OUTBOUND",
    "Message",
    "Resources",
    "access_log",
    "answer",
    "anybody",
    "app_cluster",
    "call_to",
    "caller",
    "circuit_breakers",
    "claim_is",
    "cluster",
    "downstream_tls",
    "endpoints",
    "extension",
    "external_authorization",
    "fault_by_header",
    "from_plane",
    "grpc_routes",
    "hash_on_header",
    "health_check",
    "http",
    "identity_secret",
    "jwt",
    "listener",
    "listener_grpc",
    "listener_inbound",
    "listener_outbound",
    "local_rate_limit",
    "local_route",
    "loopback",
    "match",
    "mirror",
    "no_panic",
    "not_in_the_mesh",
    "outlier_detection",
    "percent",
    "policy",
    "rbac",
    "retry_budget",
    "retry_policy",
    "route",
    "route_configuration",
    "static_cluster",
    "tracing",
    "trust_secret",
    "typed",
    "upstream_tls",
    "virtual_host",
    "weighted",
]
