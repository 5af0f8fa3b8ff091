"""The registry of the mesh: which replicas there are, where they listen and in which state they are.

The lab writes the file whose path is in MESH_FILE, whole and by a rename, whenever one of them comes, goes or changes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

READY, DRAINING, DOWN = "ready", "draining", "down"
WATCH_SECONDS = 0.03  # between two looks at the file: a look is one stat


@dataclass(frozen=True)
class Workload:
    """One replica and its Envoy: `pricing-2`. Ports are on 127.0.0.1; `app` is a path, or empty beside nothing.

    `state` is "ready", "draining" (finishes what it has, gets nothing new) or "down".
    """

    service: str
    replica: int
    node: str
    speaks: str
    state: str
    inbound: int
    admin: int
    outbound: int = 0
    grpc_outbound: Mapping[str, int] = field(default_factory=dict)
    app: str = ""
    calls: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def from_dict(fields: Mapping[str, object]) -> Workload:
        """Return the workload of one entry of the file; what this version does not know is left out."""
        known = {name: fields[name] for name in Workload.__dataclass_fields__ if name in fields}
        return Workload(**(known | {"calls": tuple(known.get("calls") or ())}))  # type: ignore[arg-type]


def read(path: Path) -> tuple[Workload, ...]:
    """Return the workloads of the file, by service and replica; a file that is not there yet has none.

    Raises:
        ValueError: the file is not the JSON of a registry.
    """
    try:
        entries = json.loads(path.read_text())
    except FileNotFoundError:
        return ()
    try:
        found = [Workload.from_dict(entry) for entry in entries]
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no registry of a mesh: {error}") from error
    return tuple(sorted(found, key=lambda workload: (workload.service, workload.replica)))


def of_service(workloads: Iterable[Workload], service: str, **labels: str) -> tuple[Workload, ...]:
    """Return the replicas of a service, in any state, that carry these labels."""
    return tuple(w for w in workloads if w.service == service and labels.items() <= w.labels.items())


async def watch(path: Path) -> AsyncIterator[tuple[Workload, ...]]:
    """Yield the workloads now, and again whenever the file has been replaced."""
    seen: tuple[int, int, int] | None = None
    first = True
    while True:
        mark = _mark(path)  # before the reading: what is replaced meanwhile is read once more
        if first or mark != seen:
            yield read(path)
            seen, first = mark, False
        await asyncio.sleep(WATCH_SECONDS)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_ino, facts.st_mtime_ns, facts.st_size
