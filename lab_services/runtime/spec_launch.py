"""The rules for `launch` and `extra` in a lab.toml: how a service is started, and which packages it finds besides."""

from __future__ import annotations

from lab_services import extras
from lab_services.runtime.lab_toml import Table, did_you_mean
from lab_services.runtime.spec_types import Kind

MODES = ("warm", "cold")


def read_launch(table: Table, name: str, kind: Kind, typescript: bool) -> tuple[str, str]:
    """Return the mode and the extra, which is empty without one; with one it is a fresh interpreter: "cold"."""
    extra = table.text("extra") if "extra" in table.entries else ""
    launch = table.text("launch", "cold" if extra else "warm")
    if launch not in MODES:
        raise table.refuse(f"'launch' of {table.name} is {launch!r}", next_step='write "warm" or "cold"')
    if extra and extra not in extras.names():
        raise table.refuse(
            f"'extra' of {table.name} is {extra!r}, and there is no such extra{did_you_mean(extra, extras.names())}",
            evidence="extras: " + ", ".join(extras.names()),
            next_step="write one of these, or remove 'extra'",
        )
    if extra and (kind == "server" or typescript):
        raise table.refuse(
            f"{name!r} is no Python service, and finds no packages of an extra", next_step="remove 'extra'"
        )
    if extra and launch == "warm":
        raise table.refuse(
            f"{name!r} has an extra and cannot start warm: a fork finds the packages of the course first",
            next_step="remove 'launch'",
        )
    return launch, extra
