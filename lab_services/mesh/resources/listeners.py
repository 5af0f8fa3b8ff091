"""Where an Envoy listens, and what happens to a call there before it is routed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..registry import Workload
from .clusters import APP
from .messages import Message, extension, from_plane, loopback
from .routes import local_route

_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
OUTBOUND = "outbound"


def listener(name: str, port: int, http: Message, *, tls: Message | None = None, **fields: Any) -> Message:
    """Return envoy.config.listener.v3.Listener on loopback; `tls` is what `downstream_tls` returns.

    A second Envoy on the port is refused: with Linux' default for Envoy both would take part of the connections.
    """
    chain: Message = {"filters": [http]}
    if tls is not None:
        chain["transport_socket"] = tls
    return {
        "name": name,
        "address": loopback(port),
        "enable_reuse_port": False,
        "filter_chains": [chain],
        **fields,
    }


def http(stat_prefix: str, routes: Message | str, *, filters: Sequence[Message] = (), **fields: Any) -> Message:
    """Return the network filter HttpConnectionManager.

    `routes` is a RouteConfiguration, or the name of one that the plane hands out. `filters` act in their order, before
    the router, which is always the last: what stands behind it would never see a call. `fields` are Envoy's own, such
    as access_log.
    """
    found: Message = {"route_config": routes}
    if isinstance(routes, str):
        found = {"rds": {"route_config_name": routes, "config_source": from_plane()}}
    return extension(
        "envoy.filters.network.http_connection_manager",
        _CONNECTION_MANAGER,
        stat_prefix=stat_prefix,
        http_filters=[*filters, ROUTER],
        **found,
        **fields,
    )


def listener_inbound(
    workload: Workload,
    *,
    filters: Sequence[Message] = (),
    tls: Message | None = None,
    routes: Message | str | None = None,
    **fields: Any,
) -> Message:
    """Return the Listener at which others reach this replica; without `routes` every call goes to the application.

    A header that says who the caller is (x-forwarded-client-cert) is taken away, and with `tls` written anew from the
    certificate that the caller has proved to own.
    """
    fields = {
        "forward_client_cert_details": "SANITIZE_SET" if tls else "SANITIZE",
        "set_current_client_cert_details": {"uri": True},
    } | fields
    there = routes if routes is not None else local_route(APP)
    return listener("inbound", workload.inbound, http("inbound", there, filters=filters, **fields), tls=tls)


def listener_outbound(workload: Workload, *, filters: Sequence[Message] = (), **fields: Any) -> Message:
    """Return the Listener that this replica's application uses as its HTTP proxy; the plane hands out its routes."""
    return listener(OUTBOUND, workload.outbound, http(OUTBOUND, OUTBOUND, filters=filters, **fields))


def listener_grpc(workload: Workload, callee: str, *, filters: Sequence[Message] = (), **fields: Any) -> Message:
    """Return the Listener that leads the application's gRPC calls to one callee; the plane hands out its routes."""
    name = grpc_routes(callee)
    return listener(name, workload.grpc_outbound[callee], http(name, name, filters=filters, **fields))


def grpc_routes(callee: str) -> str:
    """Return the name of the routes that a gRPC listener asks the plane for."""
    return f"{OUTBOUND}_{callee}"
