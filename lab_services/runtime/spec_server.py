"""The rules for a server in a lab.toml: how many nodes it can have, and what may be set in its `env`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from lab_services.runtime.lab_toml import Table, did_you_mean
from lab_services.runtime.spec_types import Kind

DURATION = ("500ms", "5s")  # examples of what stands for any duration from 100 ms
CLUSTERS = {"nats": (3, 5)}  # how many nodes besides one: an even number survives the loss of no more than one fewer
SETTINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "nats": {"SYNC_INTERVAL": ("always",)},
    "envoy": {"PLANE": ()},  # the name of a service: spec_sidecar.py
    "prometheus": {"SCRAPE_INTERVAL": DURATION},
    "alertmanager": {"GROUP_WAIT": DURATION, "GROUP_INTERVAL": DURATION, "REPEAT_INTERVAL": DURATION},
}
CONFIG_READS_ENV = ("nats", "alertmanager")  # a config of theirs may hold $NAMES that stand in `env`
AT_ONCE = ("GROUP_WAIT", "0s")
_DURATION = re.compile(r"[1-9][0-9]{2,4}ms|[1-9][0-9]{0,3}[smh]")  # Prometheus, Configuration: <duration>


def refuse_odd_server(table: Table, kind: Kind, target: str, replicas: int, env: Mapping[str, str]) -> None:
    """Refuse a number of nodes or a setting that a server does not know; anything else is none of its business."""
    if kind != "server":
        return
    name = table.name.rpartition(".")[2]
    possible = CLUSTERS.get(target, ())
    if replicas > 1 and replicas not in possible:
        numbers = " or ".join(map(str, possible))
        raise table.refuse(
            f"the server {name!r} cannot have {replicas} replicas",
            next_step=f"remove 'replicas', or write {numbers}" if possible else "remove 'replicas'",
        )
    if replicas > 1 and "config" in table.entries:
        raise table.refuse(
            f"the server {name!r} reads no 'config' with {replicas} replicas",
            next_step="keep one of them: users are for a broker of one node",
        )
    for setting, value in env.items():
        free = "config" in table.entries and target in CONFIG_READS_ENV
        _refuse_setting(table, name, setting, value, SETTINGS.get(target, {}), free)


def read_config(table: Table, name: str, kind: Kind, folder: Path, require: Callable[[str, Table, Path], str]) -> str:
    """Return the file of the lab that a server reads, or nothing; `require` refuses one that is not there."""
    if "config" not in table.entries:
        return ""
    if kind != "server":
        raise table.refuse(f"the service {name!r} reads no 'config'", next_step="remove it: settings go into 'env'")
    return require(table.text("config"), table, folder)


def _refuse_setting(
    table: Table, name: str, setting: str, value: str, known: Mapping[str, tuple[str, ...]], free: bool
) -> None:
    if setting not in known and not free:
        raise table.refuse(
            f"the server {name!r} obeys no {setting!r} in 'env'{did_you_mean(setting, known)}",
            evidence="it obeys: " + (", ".join(known) or "nothing"),
            next_step=f"remove {setting!r}, or write it into its 'config'",
        )
    if known.get(setting) == DURATION and (_DURATION.fullmatch(value) or (setting, value) == AT_ONCE):
        return
    if known.get(setting) and value not in known[setting]:
        raise table.refuse(
            f"{setting!r} of the server {name!r} is {value!r}",
            next_step=" or ".join(f'{setting} = "{word}"' for word in known[setting]) + ", or remove it",
        )
