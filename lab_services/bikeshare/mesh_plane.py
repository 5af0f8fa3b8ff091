"""The control plane of a finished city: each service reaches those that it calls, each replica in turn."""

from lab_services.mesh.discovery import control_plane
from lab_services.mesh.sidecars import sidecar

app = control_plane(sidecar)
