"""The control plane of the measurement: the plainest mesh, and mutual TLS between `sealing` and `sealed`.

No sidecar writes an access log here: a line for each call would be work for the lab too, which reads it, on the
processors that are measured.
"""

import os
from dataclasses import replace
from pathlib import Path

from lab_services.mesh.authority import open_authority
from lab_services.mesh.discovery import control_plane
from lab_services.mesh.registry import Workload
from lab_services.mesh.resources import Resources, downstream_tls, listener_inbound, listener_outbound
from lab_services.mesh.sidecars import sidecar

SEALED = ("sealing", "sealed")
AUTHORITY = open_authority(Path(os.environ["DATA_DIR"], "authority.pem"))


def build(node: Workload, workloads: tuple[Workload, ...]) -> Resources:
    """Return the resources of one Envoy."""
    secure = node.service in SEALED
    inbound = listener_inbound(node, tls=downstream_tls() if secure else None)
    return replace(
        sidecar(node, workloads, secure=secure),
        listeners=[inbound, listener_outbound(node)],
        secrets=AUTHORITY.secrets(node.service) if secure else [],
    )


app = control_plane(build)
