"""MESH_FILE: who is in the mesh and in what state, as a JSON list that a control plane reads.

The file is replaced whole (rename) whenever something in it has changed, so a reader never sees half of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab_services.runtime.mesh_nodes import READY, MeshNode

FILE = "mesh.json"  # in the data folder of the control plane


def entry(node: MeshNode, calls: Iterable[str], replaced_by: str = "") -> dict[str, Any]:
    """Return what a control plane is told of one node.

    `inbound`, `outbound`, `admin` are ports on 127.0.0.1 (0: there is none), `app` is the socket file of the
    application (empty for an edge). Of a service that another address stands in for, only that is told, as `inbound`.
    """
    spec = node.spec
    fields: dict[str, Any] = {
        "service": spec.name,
        "replica": node.number,
        "node": node.name,
        "speaks": spec.speaks,
        "state": node.state,
        "inbound": node.inbound.number,
        "outbound": node.outbound.number if node.outbound else 0,
        "grpc_outbound": {name: port.number for name, port in node.grpc_outbound.items()},
        "admin": node.admin.number,
        "app": str(node.socket.path) if node.socket else "",
        "calls": list(calls),
        "labels": dict(spec.labels),
    }
    if replaced_by:
        port = urlsplit(replaced_by if "//" in replaced_by else f"//{replaced_by}").port or 0
        fields |= {"state": READY, "inbound": port, "outbound": 0, "grpc_outbound": {}, "admin": 0, "app": ""}
    return fields


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    """Replace the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(entries, indent=1))
    os.replace(fresh, path)
