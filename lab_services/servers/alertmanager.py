"""Alertmanager: groups the alerts of Prometheus and notifies people; here, the services that it needs or calls.

Without a `config` it notifies each of them at POST /alerts, at once and once: GROUP_WAIT, GROUP_INTERVAL and
REPEAT_INTERVAL in `env` say otherwise. A `config` is an alertmanager.yml of the lab, in which $PAGER_URL is the address
of the service `pager` that it needs or calls, and $NAME a setting of `env`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab_services.errors import PrometheusRefuses
from lab_services.runtime.readiness import http_ready
from lab_services.servers import Server, Wishes, version_of
from lab_services.telemetry import programs

GROUP_WAIT = "0s"  # Alertmanager waits 30 s for more alerts of a group, people's lives being as they are
GROUP_INTERVAL = "1s"  # until a changed group is told again, such as one that is resolved; its own way is 5 minutes
REPEAT_INTERVAL = "1h"
RECEIVER = "lab"
_PLACEHOLDER = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]*)\}|([A-Z][A-Z0-9_]*))")


def find() -> Path:
    """Return the Alertmanager on PATH, under either of its names."""
    return programs.find(programs.ALERTMANAGER)


def configuration(wishes: Wishes) -> dict[str, Any]:
    """Return the configuration of a lab that brings none, as a dictionary."""
    hooks = [{"url": f"{called.url}/alerts", "send_resolved": True} for called in wishes.called]
    route = {
        "receiver": RECEIVER,
        "group_by": ["..."],  # each alert by itself
        "group_wait": wishes.env.get("GROUP_WAIT", GROUP_WAIT),
        "group_interval": wishes.env.get("GROUP_INTERVAL", GROUP_INTERVAL),
        "repeat_interval": wishes.env.get("REPEAT_INTERVAL", REPEAT_INTERVAL),
    }
    return {"route": route, "receivers": [{"name": RECEIVER, "webhook_configs": hooks}]}


def filled_in(config: Path, wishes: Wishes) -> str:
    """Return the lab's own configuration with addresses and settings in place of $PAGER_URL and the like.

    Raises:
        PrometheusRefuses: it names one that nobody has told it.
    """
    known = {f"{called.name.upper()}_URL": called.url for called in wishes.called} | dict(wishes.env)
    text = config.read_text("utf-8", "backslashreplace")

    def fill(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name in known:
            return known[name]
        raise PrometheusRefuses(
            f"{config.name} names ${name}, which Alertmanager is not told",
            where=f"{config.name}, line {text.count(chr(10), 0, match.start()) + 1}",
            evidence="it is told: " + (", ".join(f"${each}" for each in sorted(known)) or "nothing"),
            next_step=f"correct the name in {config.name}, or let Alertmanager call that service in lab.toml",
        )

    return _PLACEHOLDER.sub(fill, text)


def command(program: Path, folder: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """Write alertmanager.yml and return the command line; silences and what was told are kept in `folder`."""
    return fitted(program, folder, port, Wishes())


def fitted(program: Path, folder: Path, port: int, wishes: Wishes) -> tuple[list[str], dict[str, str]]:
    """Do what `command` does with the pager or the configuration of a lab: one node alone, on loopback."""
    text = filled_in(wishes.config, wishes) if wishes.config else json.dumps(configuration(wishes), indent=2)
    config = folder / "alertmanager.yml"
    config.write_text(text, "utf-8")
    argv = [str(program), f"--config.file={config}", f"--storage.path={folder / 'alertmanager'}"]
    alone = "--cluster.listen-address="  # it would open a port for others of its kind, and wait for them
    return [*argv, f"--web.listen-address=127.0.0.1:{port}", alone, "--log.level=warn"], {}


def address(folder: Path, pid: int, port: int) -> str | None:
    """Return the URL."""
    return f"http://127.0.0.1:{port}" if port else None


async def ready(address: str) -> bool:
    """Ask Alertmanager's own readiness page."""
    return await http_ready(address + "/-/ready")


SERVER = Server(
    "alertmanager", "ALERTMANAGER_URL", find, version_of, command, address, ready, fitted, given_port=True, reloads=True
)
