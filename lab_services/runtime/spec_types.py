"""What a lab is, as frozen facts: its services, its other shapes, its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from lab_services.errors import UnknownName

Kind = Literal["run", "use", "server", "sidecar"]


@dataclass(frozen=True)
class ServiceSpec:
    """One service of a lab.

    `kind` says whose program `target` names: run (the learner's "rides:app" or "pricing.ts"), use (a finished
    one of the bikeshare) or server (a third-party one). `needs` are ready before it starts; `calls` need not be.
    `speaks` is http, grpc or tcp (a protocol of its own). `config` is a file of the lab that a server reads.
    `extra` names the extra of the course whose packages it imports. `metrics` is where Prometheus finds its figures: a
    path at its own address, or METRICS_PORT for `metrics = true` (spec_metrics.py).
    `sidecar` is the control plane of the Envoy beside each replica, `labels` are told to that plane and that Envoy.
    `telemetry` is the service that its spans are sent to; the program is instrumented without a change of its code.
    Such an Envoy has a spec too, of the kind sidecar; no lab.toml writes it, and `target` names its application.
    """

    name: str
    kind: Kind
    target: str
    needs: tuple[str, ...]
    calls: tuple[str, ...]
    env: Mapping[str, str]
    replicas: int
    launch: str
    speaks: str = "http"
    config: str = ""
    sidecar: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""
    metrics: str = ""
    telemetry: str = ""

    @property
    def plane(self) -> str:
        """The control plane that configures this Envoy, or the Envoy beside this service; empty without a mesh."""
        return self.env.get("PLANE", "") if (self.kind, self.target) == ("server", "envoy") else self.sidecar

    @property
    def is_envoy(self) -> bool:
        """True for an Envoy that a control plane configures: a sidecar, or an edge, which stands beside nothing."""
        return bool(self.plane) and self.kind in ("server", "sidecar")

    @property
    def has_users(self) -> bool:
        """True for a broker whose configuration says who may do what: each caller has a password."""
        return bool(self.config) and (self.kind, self.target) == ("server", "nats")

    @property
    def waits_for(self) -> tuple[str, ...]:
        """What has to be ready before it starts: its needs, its sidecar, and before an Envoy its control plane."""
        if not self.plane:
            return self.needs
        return tuple(dict.fromkeys((*self.needs, self.plane if self.is_envoy else sidecar_name(self.name))))

    @property
    def starts_after(self) -> tuple[str, ...]:
        """What is started before it: all it waits for, and who takes its spans, who may be dead: that costs nothing."""
        return tuple(dict.fromkeys((*self.waits_for, *filter(None, (self.telemetry,)))))


@dataclass(frozen=True)
class TaskSpec:
    """One task: the learner's files, its checks, those that are red on the starter, its hints from soft to plain."""

    id: str
    title: str
    shape: str | None
    files: tuple[str, ...]
    checks: tuple[str, ...]
    red: tuple[str, ...]
    hints: tuple[str, ...]
    hints_for: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class LabSpec:
    """One lab as its lab.toml describes it; nothing in it can be changed."""

    name: str
    folder: Path
    title: str
    minutes: int
    laws: bool
    services: Mapping[str, ServiceSpec]
    shapes: Mapping[str, Mapping[str, ServiceSpec]]
    tasks: Mapping[str, TaskSpec]

    def system(self, shape: str | None) -> Mapping[str, ServiceSpec]:
        """Return the services of one shape, each sidecar behind its service; None is the lab's own system.

        Raises:
            UnknownName: no shape has that name, or the lab has nothing but shapes and none was named.
        """
        if shape is None and self.services:
            return with_sidecars(self.services)
        if shape is not None and shape in self.shapes:
            return with_sidecars(self.shapes[shape])
        raise UnknownName(
            f"{self.name} has no system without a shape" if shape is None else f"{self.name} has no shape {shape!r}",
            where=f"labs/{self.name}/lab.toml",
            evidence="shapes there are: " + (", ".join(self.shapes) or "none"),
            next_step=f'type open_lab("{self.name}", shape="{next(iter(self.shapes))}")'
            if self.shapes
            else f'type open_lab("{self.name}"), without a shape',
        )


def sidecar_name(service: str) -> str:
    """Return how the Envoys beside a service are called in lab.status()."""
    return f"{service}_sidecar"


def with_sidecars(services: Mapping[str, ServiceSpec]) -> Mapping[str, ServiceSpec]:
    """Return the services and, behind each that asks for one, its sidecar with as many replicas."""
    found: dict[str, ServiceSpec] = {}
    for name, spec in services.items():
        found[name] = spec
        if spec.sidecar and spec.kind != "sidecar":
            beside, needs = sidecar_name(name), (spec.sidecar,)
            found[beside] = ServiceSpec(
                beside, "sidecar", name, needs, (), {}, spec.replicas, "warm", sidecar=spec.sidecar, labels=spec.labels
            )
    return services if len(found) == len(services) else MappingProxyType(found)
