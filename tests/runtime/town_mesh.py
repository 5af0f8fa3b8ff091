"""A small mesh on the real runtime: a control plane of fixed answers, and services that know nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil

from lab_services.lab import Lab
from lab_services.runtime.spec_types import ServiceSpec
from tests.runtime.conftest import Maker, service

PLANE = """
import asyncio, hashlib, json, os
from fastapi import FastAPI, Request, Response

TYPE = "type.googleapis.com/envoy."
KINDS = {"listeners": "config.listener.v3.Listener", "clusters": "config.cluster.v3.Cluster"}
WORD = "hello"
app = FastAPI()
sent = {}


@app.get("/health/ready")
def ready(): return {}


def at(place):
    if isinstance(place, str):
        return {"address": {"pipe": {"path": place}}}
    return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": place}}}


def listener(name, port, hosts, node):
    routes = {"virtual_hosts": [
        {"name": host, "domains": domains, "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": host, "timeout": "5s"}}]} for host, domains in hosts]}
    manager = {"@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "route_config": {**routes, "name": name, "response_headers_to_add": [
            {"header": {"key": "x-way", "value": node + " " + name + " " + WORD}}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": TYPE + "extensions.filters.http.router.v3.Router"}}]}
    return {"name": name, **at(port), "enable_reuse_port": False, "filter_chains": [
        {"filters": [{"name": "http", "typed_config": manager}]}]}


def cluster(name, places, speaks):
    two = {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}}}}}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {"cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": at(place)} for place in places]}]},
        **(two if speaks == "grpc" else {})}


def answer(node, kind):
    with open(os.environ["MESH_FILE"]) as file:
        mesh = json.load(file)
    found = [entry for entry in mesh if entry["node"] == node]
    if not found:
        return []
    me, speaks = found[0], {entry["service"]: entry["speaks"] for entry in mesh}
    if kind == "clusters":
        ports = {name: [e["inbound"] for e in mesh if e["service"] == name and e["state"] == "ready"]
                 for name in me["calls"]}
        own = [cluster("app", [me["app"]], me["speaks"])] if me["app"] else []
        return own + [cluster(name, ports[name], speaks[name]) for name in me["calls"]]
    hosts = [(name, [name, name + ":*"]) for name in me["calls"]]
    inside = [("app", ["*"])] if me["app"] else [(me["calls"][0], ["*"])]
    listeners = [listener("inbound", me["inbound"], inside, node)]
    if me["outbound"]:
        listeners.append(listener("outbound", me["outbound"], hosts, node))
    for name, port in me["grpc_outbound"].items():
        listeners.append(listener("grpc_" + name, port, [(name, ["*"])], node))
    return listeners


@app.post("/v3/discovery:{kind}")
async def discovery(kind: str, request: Request):
    asked = await request.json()
    key = asked["node"]["id"], kind
    for _ in range(200):
        resources = [{"@type": TYPE + KINDS[kind], **found} for found in answer(key[0], kind)]
        version = hashlib.sha256(json.dumps(resources).encode()).hexdigest()[:8]
        if not asked.get("version_info") or sent.get(key) != version:
            sent[key] = version
            return {"version_info": version, "type_url": TYPE + KINDS[kind], "resources": resources}
        await asyncio.sleep(0.05)
    return Response(status_code=304)
"""
PRICING = """
import os
from fastapi import FastAPI, Response

app = FastAPI()
WORD = "price"

@app.get("/health/ready")
def ready():
    return {}

@app.get("/")
def price():
    return {"word": WORD, "replica": os.environ["REPLICA"], "pid": os.getpid()}
"""
RIDES = """
import os
import httpx
from fastapi import FastAPI

app = FastAPI()
client = httpx.Client(timeout=5)

@app.get("/health/ready")
def ready(): return {}

@app.get("/env")
def env():
    return dict(os.environ)

@app.get("/")
def ride():
    answer = client.get(os.environ["PRICING_URL"] + "/")
    way = answer.headers.get_list("x-way")
    return {"status": answer.status_code, "way": way, **(answer.json() if answer.is_success else {})}
"""


def meshed(name: str, **fields: object) -> ServiceSpec:
    """Return a service with a sidecar of the plane."""
    return service(name, sidecar="plane", **fields)


def plane(**fields: object) -> ServiceSpec:
    """Return the control plane."""
    return service("plane", **fields)


def edge(*calls: str) -> ServiceSpec:
    """Return the Envoy at which riders come in."""
    return service("edge", kind="server", target="envoy", env={"PLANE": "plane"}, calls=calls)


def make_mesh(make_town: Maker, *more: ServiceSpec, pricing: int = 1, **files: str) -> Lab:
    """Return a lab of rides that calls pricing, each beside a sidecar, and a control plane; it is not started yet."""
    services = (plane(), meshed("rides", calls=("pricing",)), meshed("pricing", replicas=pricing))
    return make_town(*services, *more, **{"plane": PLANE, "rides": RIDES, "pricing": PRICING, **files})


def registry(lab: Lab) -> dict[str, dict[str, Any]]:
    """Return what the control plane is told, by node."""
    found = json.loads((lab["plane"].data / "mesh.json").read_text())
    return {entry["node"]: entry for entry in found}


def node_states(lab: Lab) -> dict[str, str]:
    """Return the state of each node."""
    return {name: entry["state"] for name, entry in registry(lab).items()}


def listening(pids: list[int]) -> dict[str, set[str]]:
    """Return at which addresses of TCP the processes listen, by the name of their program."""
    found: dict[str, set[str]] = {}
    for pid in pids:
        process = psutil.Process(pid)
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.setdefault(Path(process.exe()).name, set()).add(f"{connection.laddr.ip}:{connection.laddr.port}")
    return found
