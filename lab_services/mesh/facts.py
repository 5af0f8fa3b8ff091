"""What is known of a running mesh, as plain frozen facts: read by `statistics`, drawn by the view of the mesh."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReplicaFacts:
    """One replica: `state` as in the registry, or "unreachable" when its Envoy does not answer."""

    service: str
    replica: int
    state: str
    version: str = ""


@dataclass(frozen=True)
class HostFacts:
    """What one caller has seen of one replica: attempts, failed attempts, and whether it spares the replica now."""

    replica: int
    calls: int
    errors: int
    spared: bool


@dataclass(frozen=True)
class ArrowFacts:
    """What all replicas of `caller` have sent to one cluster of `callee`, since their Envoys run.

    `calls` were answered to the caller, `errors` of them with 5xx. `retries` are further attempts, `refused` the calls
    that a circuit breaker let fail at once. `versions` are those of the cluster's replicas.
    """

    caller: str
    callee: str
    cluster: str
    calls: int
    errors: int
    retries: int = 0
    refused: int = 0
    versions: tuple[str, ...] = ()
    hosts: tuple[HostFacts, ...] = ()


@dataclass(frozen=True)
class CertificateFacts:
    """A certificate that an Envoy uses, by whose name; `seconds_left` of `seconds` are left, less than 0 if expired."""

    node: str
    name: str
    serial: str
    seconds_left: float
    seconds: float


@dataclass(frozen=True)
class RefusalFacts:
    """How often an Envoy has refused what it was sent of a kind; `now` when it still lives by an older version."""

    node: str
    kind: str
    times: int
    now: bool
    message: str = ""


@dataclass(frozen=True)
class MeshFacts:
    """All of it, each in the order of names."""

    replicas: tuple[ReplicaFacts, ...] = ()
    arrows: tuple[ArrowFacts, ...] = ()
    certificates: tuple[CertificateFacts, ...] = ()
    refusals: tuple[RefusalFacts, ...] = ()
