"""What a lab is, as frozen facts: its services, its other shapes, its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab_services.errors import UnknownName

Kind = Literal["run", "use", "server"]


@dataclass(frozen=True)
class ServiceSpec:
    """One service of a lab.

    `kind` says whose program `target` names: run (the learner's "rides:app" or "pricing.ts"), use (a finished
    one of the bikeshare) or server (a third-party one). `needs` are ready before it starts; `calls` need not be.
    `speaks` is http, grpc or tcp (a protocol of its own). `config` is a file of the lab that a server reads.
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
        """Return the services of one shape; None is the lab's own system.

        Raises:
            UnknownName: no shape has that name, or the lab has nothing but shapes and none was named.
        """
        if shape is None and self.services:
            return self.services
        if shape is not None and shape in self.shapes:
            return self.shapes[shape]
        raise UnknownName(
            f"{self.name} has no system without a shape" if shape is None else f"{self.name} has no shape {shape!r}",
            where=f"labs/{self.name}/lab.toml",
            evidence="shapes there are: " + (", ".join(self.shapes) or "none"),
            next_step=f'type open_lab("{self.name}", shape="{next(iter(self.shapes))}")'
            if self.shapes
            else f'type open_lab("{self.name}"), without a shape',
        )
