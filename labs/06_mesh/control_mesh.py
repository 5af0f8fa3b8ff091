"""What the control plane knows: the questions that Envoys ask, and the registry as resources, always the newest.

A program that begins `follow` as a task has in `mesh` what each node is to have, from then on.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from control_hosts import resources
from pydantic import BaseModel

from lab_services.mesh.registry import Workload, watch
from lab_services.mesh.resources import Resources

TYPES = {
    "listeners": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "clusters": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "routes": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "endpoints": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
}
NAMES = {"listeners": "name", "clusters": "name", "routes": "name", "endpoints": "cluster_name"}  # fields
Kind = Literal["listeners", "clusters", "routes", "endpoints"]

REGISTRY = Path(os.environ["DATA_DIR"], os.environ["MESH_FILE"])

mesh: dict[str, Resources] = {}  # by node: mesh["rides-1"].endpoints is a list of dictionaries
changed = asyncio.Condition()  # its waiters are woken whenever `mesh` has changed
_errors: dict[str, str] = {}


class Node(BaseModel):
    id: str


class Question(BaseModel):
    """A DiscoveryRequest, as far as it matters here."""

    node: Node
    version_info: str = ""
    resource_names: tuple[str, ...] = ()


async def follow() -> None:
    """Keep `mesh` up to date with the registry; a node for which `resources` raises keeps what it had."""
    async for workloads in watch(REGISTRY):
        async with changed:
            _rebuild(workloads)
            changed.notify_all()


async def wait_for(probe: Callable[[], bool], seconds: float) -> None:
    """Return when `probe()` is true, which is looked at now and at each change of `mesh`; after `seconds` anyway."""
    try:
        async with changed:
            await asyncio.wait_for(changed.wait_for(probe), seconds)
    except TimeoutError:
        pass


def check() -> None:
    """Raise ValueError while `resources` fails for a node."""
    for node, error in _errors.items():
        raise ValueError(f"resources(...) in control_hosts.py fails for {node}: {error}")


def _rebuild(workloads: tuple[Workload, ...]) -> None:
    before = dict(mesh)
    mesh.clear()
    _errors.clear()
    for workload in workloads:
        node = workload.node
        try:
            mesh[node] = resources(workload, workloads)
        except Exception as error:
            logging.exception("no resources for %s", node)
            _errors[node] = f"{type(error).__name__}: {error}"
            mesh.update({node: before[node]} if node in before else {})
