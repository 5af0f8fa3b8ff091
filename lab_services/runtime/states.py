"""What the supervisor knows of one service, as a fact that travels over the pipe."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

STARTING = "starting"
READY = "ready"
STOPPED = "stopped"  # by lab.stop() or never started
KILLED = "killed"  # by lab.kill(): on purpose
PAUSED = "paused"  # by lab.pause()
CRASHED = "crashed"  # by itself
UNREADY = "not ready"  # runs, but does not answer as ready
REPLACED = "replaced"  # another address stands in for it (a fake in a check)


@dataclass(frozen=True)
class ReplicaState:
    """One process of a service: its number from 1, its address (empty when it has none of its own), its pid."""

    number: int
    state: str
    url: str = ""
    pid: int = 0


@dataclass(frozen=True)
class ServiceState:
    """One service of the running system.

    `note` is one sentence for a person: why it crashed, or that the last save could not be used and the
    previous version still serves. `kind` is run, use, server, sidecar or runtime (balancer, weather).
    """

    name: str
    kind: str
    state: str
    url: str = ""
    needs: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    replicas: tuple[ReplicaState, ...] = ()
    restarts: int = 0
    note: str = ""
    edges: tuple[str, ...] = field(default=())  # names of services reached through a fault proxy

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(fields: dict[str, Any]) -> ServiceState:
        """Rebuild the state that `as_dict` took apart."""
        tuples = {key: tuple(fields[key]) for key in ("needs", "calls", "edges")}
        replicas = tuple(ReplicaState(**replica) for replica in fields["replicas"])
        return ServiceState(**{**fields, **tuples, "replicas": replicas})
