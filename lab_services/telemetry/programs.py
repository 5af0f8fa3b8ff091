"""Where Prometheus, promtool and Alertmanager come from: no Python package carries them, so they are sought on PATH."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from lab_services.errors import MissingProgram

PROMETHEUS = ("prometheus",)
PROMTOOL = ("promtool",)
ALERTMANAGER = ("alertmanager", "prometheus-alertmanager")  # Debian calls it by the longer name
DEBIAN = "sudo apt-get install --no-install-recommends prometheus prometheus-alertmanager"
MAC = "brew install prometheus"
CONDA = "conda install -c conda-forge prometheus"
BY_HAND = "Alertmanager: put the program of https://prometheus.io/download on PATH, {who} has none"


def find(names: tuple[str, ...]) -> Path:
    """Return the first of these programs that is on PATH.

    Raises:
        MissingProgram: none is there, with the command that installs Prometheus, promtool and Alertmanager.
    """
    found = next(filter(None, map(shutil.which, names)), None)
    if found:
        return Path(found)
    raise MissingProgram(
        f"the program {names[0]} is not installed",
        where=names[0],
        evidence=f"looked for {' and '.join(names)} in the folders of PATH",
        next_step=install_command(),
    )


def install_command() -> str:
    """Return what to type on this system for all three programs; what no package brings is said besides."""
    if os.environ.get("CONDA_PREFIX"):
        return f"{CONDA}\n{BY_HAND.format(who='conda-forge')}"
    if sys.platform == "darwin":
        return f"{MAC}\n{BY_HAND.format(who='brew')}"
    return f"{DEBIAN}\n(in a conda environment: {CONDA})"
